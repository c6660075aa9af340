"""The shipped checkpoints, and loading any checkpoint as what it is: a planner, a policy..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dfplan.boundary import isolated
from dfplan.errors import CheckpointError, ConfigError, unknown_name
from dfplan.files import expanded
from dfplan.mazes import parse_maze
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.rewards import LearnedValue
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import InverseDynamics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.recipes.inverse import InverseConfig
from dfplan.training.recipes.offline import ALGORITHMS, OfflineConfig
from dfplan.training.recipes.value import ValueConfig

_ENDING = ".safetensors"
_FOLDER = Path(__file__).parent
_LOADED_BY = {"value": "load_value", "inverse": "load_inverse"}


def pretrained_names() -> list[str]:
    """Names of the shipped checkpoints."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_ENDING}"))


def checkpoint_path(name: str | Path) -> Path:
    """The file of a shipped checkpoint, or of a run's folder or file.

    Raises:
        ConfigError: neither a file, nor a folder of a run, nor the name of a shipped checkpoint.
    """
    if not (isinstance(name, str | Path) and str(name)):
        raise unknown_name("checkpoint", name, pretrained_names())
    path = expanded(name)
    if path.is_dir():
        return path / f"checkpoint{_ENDING}"
    if path.suffix == _ENDING or path.exists():
        return path
    if str(name) not in pretrained_names():
        raise unknown_name("checkpoint", name, pretrained_names())
    return _FOLDER / f"{name}{_ENDING}"


@isolated()
def load(name: str | Path, device: str = "cpu") -> ForcingPlanner | DiffuserPlanner | LearnedPolicy:
    """A planner from a shipped checkpoint (``"maze2d-large"``), a file or a run's folder.

    A run that learned no plans but a policy (``"runs/bc-umaze"``) gives that policy.

    Args:
        name: see :func:`pretrained_names`, or a path.
        device: where the network runs.

    Raises:
        ConfigError: an unknown name or device.
        CheckpointError: the file is damaged, incomplete, of another version, or neither.
    """
    path, checkpoint = _read(name, device)
    with _fitting(path):
        if checkpoint.recipe == "forcing":
            return ForcingConfig.from_json(checkpoint.config).planner(checkpoint, device)
        if checkpoint.recipe == "diffuser":
            return DiffuserConfig.from_json(checkpoint.config).planner(checkpoint, device)
        if checkpoint.recipe == "policy":
            return CloningConfig.from_json(checkpoint.config).policy(checkpoint, device)
        if checkpoint.recipe in ALGORITHMS:
            return OfflineConfig.from_json(checkpoint.config).policy(checkpoint, device)
    own = _LOADED_BY.get(checkpoint.recipe)
    hint = f" Load it by dfplan.{own}." if own else ""
    raise CheckpointError(
        f"{path} was made by recipe {checkpoint.recipe!r}; planners are made by forcing and "
        f"diffuser, policies by policy, {' and '.join(ALGORITHMS)}.{hint}"
    )


@isolated()
def load_value(name: str | Path, device: str = "cpu") -> LearnedValue:
    """The reward that a run of a ``value-*`` preset has learned, to plan by.

    >>> value = dfplan.load_value("runs/value-umaze")
    >>> plan = dfplan.load("maze2d-umaze").plan(observation, reward=1000 * value)

    The weight is the steps of travel that a value of one is worth in the choice among candidates.
    A plan without a goal goes where one of them happens to lead, so far places want many.

    Args:
        name: a file or a run's folder.
        device: where the network runs.

    Raises:
        ConfigError: no such file, or an unknown device.
        CheckpointError: the file is damaged, incomplete, of another version, or no value.
    """
    path, checkpoint = _read(name, device)
    _require_recipe(path, checkpoint, "value")
    with _fitting(path):
        return ValueConfig.from_json(checkpoint.config).reward(checkpoint, device)


@isolated()
def load_inverse(name: str | Path, device: str = "cpu") -> InverseDynamics:
    """The tracker that a run of an ``inverse-*`` preset has learned; each policy needs its own.

    >>> tracker = dfplan.load_inverse("runs/inverse-umaze")
    >>> policy = dfplan.Policy(dfplan.load("maze2d-umaze"), tracker)

    Args:
        name: a file or a run's folder.
        device: where the network runs.

    Raises:
        ConfigError: no such file, or an unknown device.
        CheckpointError: the file is damaged, incomplete, of another version, or no tracker.
    """
    path, checkpoint = _read(name, device)
    _require_recipe(path, checkpoint, "inverse")
    with _fitting(path):
        return InverseConfig.from_json(checkpoint.config).tracker(checkpoint, device)


def _require_recipe(path: Path, checkpoint: Checkpoint, recipe: str) -> None:
    if checkpoint.recipe != recipe:
        raise CheckpointError(
            f"{path} was made by recipe {checkpoint.recipe!r}; expected {recipe}. Train one: "
            f"dfplan train {recipe}-umaze. Planners are loaded by dfplan.load."
        )


def read_checkpoint(name: str | Path) -> Checkpoint:
    """A shipped checkpoint, or that of a run's folder or file.

    Raises:
        ConfigError: see :func:`checkpoint_path`.
        CheckpointError: see :meth:`~dfplan.training.checkpoint.Checkpoint.load`; or its maze is
            none.
    """
    path = checkpoint_path(name)
    checkpoint = Checkpoint.load(path)
    with _fitting(path):
        if checkpoint.maze is not None:
            parse_maze(checkpoint.maze)  # before it is drawn
    return checkpoint


def _read(name: str | Path, device: str) -> tuple[Path, Checkpoint]:
    """A checkpoint and where it lies, once it is sure that ``device`` is there."""
    path, checkpoint = checkpoint_path(name), read_checkpoint(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no such devices
        raise ConfigError(f"No network can run on device {device!r} here: {error}") from error
    return path, checkpoint


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Turns what goes wrong in rebuilding a network into :class:`CheckpointError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit its own configuration ({error}). Train it again."
        ) from error
