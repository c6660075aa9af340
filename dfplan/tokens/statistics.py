"""Statistics of the training data, which are stored in the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from dfplan.blocks import SegmentRows, segment_blocks
from dfplan.boundary import isolated
from dfplan.errors import ConfigError
from dfplan.observations import PLANAR
from dfplan.record import Record
from dfplan.tokens.contacts import find_contacts
from dfplan.tokens.free_region import Clearance, FreeRegion, free_region
from dfplan.tokens.layout import POSITION, Feature
from dfplan.tokens.motion import Motion, fit_motion, require_resolved
from dfplan.tokens.normalizer import Normalizer, fit_normalizer
from dfplan.tokens.roadmap import BIN_CELLS, Roadmap, fit_roadmap
from dfplan.tokens.support import Support, fit_support
from dfplan.types import Trajectories

_MAX_REWARD_SCALE = 1e3  # rewards between this and its inverse need no other unit
_LARGEST_REWARD = float(np.finfo(np.float32).max)

_SHAPES = {
    "support.origin": ((2,), torch.float32),
    "support.resolution": ((), torch.float64),
    "motion": ((4,), torch.float64),
    "reward_unit": ((), torch.float64),
    "clearance": ((2,), torch.float64),
}
_POSITIVE = ("std", "support.resolution", "reward_unit", "observation.std")


@dataclass(frozen=True)
class Statistics(Record):
    """The scale of the columns of frames, the visited region, its roadmap, and the body's motion.

    Attributes:
        normalizer: mean and standard deviation of each column, the position first.
        support: the visited region.
        motion: the fitted point mass.
        reward_unit: unit of the rewards for value learning. It is 1, except for very small or very
            large rewards.
        roadmap: where the data goes from where, and how fast; None in checkpoints without it.
        contacts: where an obstacle stopped the body, float32 [Q, 2].
        clearance: how far plans stay from the edge of the visited region and from contacts.
        observation: mean and standard deviation of each column of the observation; None for
            positions and velocities alone.

    Raises:
        ConfigError: the roadmap is of another frame than the visited region.
    """

    normalizer: Normalizer
    support: Support
    motion: Motion
    reward_unit: float = 1.0
    roadmap: Roadmap | None = None
    contacts: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    clearance: Clearance = field(default_factory=Clearance)
    observation: Normalizer | None = None

    def __post_init__(self) -> None:
        roadmap, support = self.roadmap, self.support
        if roadmap is None:
            return
        size = BIN_CELLS * support.resolution
        if roadmap.size != size or roadmap.origin.tolist() != support.origin.tolist():
            raise ConfigError(
                "The roadmap and the visited region must be of the same data. The roadmap has "
                f"bins of {roadmap.size:.4g} from {roadmap.origin.tolist()}; the region needs "
                f"bins of {size:.4g} from {support.origin.tolist()}."
            )

    @cached_property
    def free_region(self) -> FreeRegion:
        """Where plans may pass: the visited region, with clearance from contacts and jumps."""
        departures = np.zeros((0, 2)) if self.roadmap is None else self.roadmap.departures
        return free_region(self.support, self.contacts, departures, self.clearance)

    @isolated()
    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Convert to named tensors for a checkpoint; :meth:`from_tensors` is the inverse."""
        motion = self.motion
        tensors = {
            "mean": self.normalizer.mean,
            "std": self.normalizer.std,
            "support.origin": self.support.origin,
            "support.resolution": torch.tensor(self.support.resolution, dtype=torch.float64),
            "support.visited": self.support.visited,
            "motion": torch.tensor(
                [motion.dt, motion.drag, motion.gain, motion.limit], dtype=torch.float64
            ),
        }
        if self.reward_unit != 1:
            tensors["reward_unit"] = torch.tensor(self.reward_unit, dtype=torch.float64)
        if len(self.contacts) or self.clearance != Clearance():
            tensors["contacts"] = torch.from_numpy(self.contacts)
            tensors["clearance"] = torch.tensor(
                [self.clearance.edge, self.clearance.contact], dtype=torch.float64
            )
        if self.observation is not None:
            tensors["observation.mean"] = self.observation.mean
            tensors["observation.std"] = self.observation.std
        if self.roadmap is not None:
            for name in Roadmap.ARRAYS:
                tensors[f"roadmap.{name}"] = torch.from_numpy(getattr(self.roadmap, name))
        return tensors

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, torch.Tensor], width: int = len(POSITION.columns)
    ) -> Statistics:
        """Inverse of :meth:`to_tensors`.

        Args:
            tensors: by name.
            width: W, the number of columns that are normalized; by default the position's.

        Raises:
            KeyError: a tensor is missing; the argument is its name.
            ValueError: a tensor has the wrong shape, type or sign; the argument is its name.
        """
        frame = (width,), torch.float32
        shapes = {**_SHAPES, "mean": frame, "std": frame}
        for name, tensor in tensors.items():
            actual = tensor.shape, tensor.dtype
            if actual != shapes.get(name, actual) or (name in _POSITIVE and not (tensor > 0).all()):
                raise ValueError(name)
            is_grid = tensor.dtype == torch.bool and tensor.ndim == 2 and min(tensor.shape) > 1
            if name == "support.visited" and not is_grid:
                raise ValueError(name)
        support = Support(
            tensors["support.origin"],
            float(tensors["support.resolution"]),
            tensors["support.visited"],
        )
        return cls(
            Normalizer(tensors["mean"], tensors["std"]),
            support,
            Motion(*tensors["motion"].tolist()),
            float(tensors.get("reward_unit", 1.0)),
            _roadmap(tensors, support) if "roadmap.bins" in tensors else None,
            *_clearance(tensors),
            _observation(tensors),
        )


@isolated()
def fit_statistics(
    trajectories: Trajectories, features: Sequence[Feature] = (POSITION,)
) -> Statistics:
    """Compute the statistics of ``trajectories``.

    Args:
        trajectories: the data.
        features: what a frame holds; the normalizer is of these columns.

    Raises:
        DataError: no motion can be fitted (:func:`~dfplan.tokens.motion.fit_motion`), float32
            cannot represent the positions, or the data lacks a feature.
    """
    observations, segments = trajectories.observations, trajectories.segments
    positions = SegmentRows(trajectories.layout.positions(observations), segments)
    planar = trajectories.layout == PLANAR
    motion = fit_motion(trajectories)
    farthest = max(float(np.abs(block).max()) for block in positions)
    require_resolved(farthest, motion, trajectories.source)
    support = fit_support(positions, motion.max_step)
    return Statistics(
        _fit_normalizer(trajectories, features),
        support,
        motion,
        _reward_unit(trajectories),
        fit_roadmap(trajectories, support),
        find_contacts(trajectories, motion),
        observation=None if planar else fit_normalizer(SegmentRows(observations, segments)),
    )


def _clearance(tensors: dict[str, torch.Tensor]) -> tuple[np.ndarray, Clearance]:
    """Contacts and clearance of a checkpoint, with the errors of ``from_tensors``."""
    if "contacts" not in tensors and "clearance" not in tensors:
        return np.zeros((0, 2), np.float32), Clearance()
    contacts = tensors["contacts"]
    if contacts.ndim != 2 or contacts.shape[1] != 2 or contacts.dtype != torch.float32:
        raise ValueError("contacts")
    try:
        return contacts.numpy(), Clearance(*tensors["clearance"].tolist())
    except ConfigError as error:
        raise ValueError("clearance") from error


def _observation(tensors: dict[str, torch.Tensor]) -> Normalizer | None:
    """The scale of the observation in a checkpoint, with the errors of ``from_tensors``."""
    if "observation.mean" not in tensors and "observation.std" not in tensors:
        return None
    mean, std = tensors["observation.mean"], tensors["observation.std"]
    for name, tensor in (("mean", mean), ("std", std)):
        if tensor.dtype != torch.float32 or tensor.ndim != 1 or tensor.shape != mean.shape:
            raise ValueError(f"observation.{name}")
    return Normalizer(mean, std)


def _roadmap(tensors: dict[str, torch.Tensor], support: Support) -> Roadmap:
    """The roadmap in the tensors of a checkpoint, with the errors of ``from_tensors``."""
    arrays = {}
    for name, (kind, shape) in Roadmap.ARRAYS.items():
        array = tensors[f"roadmap.{name}"].numpy()
        fits = len(shape) == array.ndim and all(
            want in (None, size) for want, size in zip(shape, array.shape, strict=True)
        )
        if array.dtype != kind or not fits:
            raise ValueError(f"roadmap.{name}")
        arrays[name] = array
    roadmap = Roadmap(
        support.origin.numpy().astype(np.float64), BIN_CELLS * support.resolution, **arrays
    )
    if problem := roadmap.problem(support):
        raise ValueError(f"roadmap.{problem}")
    return roadmap


def _fit_normalizer(trajectories: Trajectories, features: Sequence[Feature]) -> Normalizer:
    """The normalizer of all columns of a frame."""
    parts = []
    for feature in features:
        if feature.normalize == "none":
            zeros = torch.zeros(len(feature.columns), dtype=torch.float32)
            part = Normalizer(zeros, zeros + 1)
        else:
            part = fit_normalizer(SegmentRows(feature.of(trajectories), trajectories.segments))
        parts.append((part.mean.repeat(feature.steps), part.std.repeat(feature.steps)))
    means, deviations = zip(*parts, strict=True)
    return Normalizer(torch.cat(means), torch.cat(deviations))


def _reward_unit(trajectories: Trajectories) -> float:
    """The largest absolute reward if it is very small or very large, else 1."""
    rewards = trajectories.rewards
    if rewards is None:
        return 1.0
    sizes = (np.abs(rewards[rows]) for rows in segment_blocks(trajectories.segments))
    largest = max(float(size.max(initial=0, where=size <= _LARGEST_REWARD)) for size in sizes)
    usual = 1 / _MAX_REWARD_SCALE <= largest <= _MAX_REWARD_SCALE
    return 1.0 if usual or not largest else largest
