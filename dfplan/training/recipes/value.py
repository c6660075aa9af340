"""The recipe of a learned value: what the data was paid from each place on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter
from torch import nn

from dfplan.blocks import segment_blocks
from dfplan.data.anomalies import nonfinite_rows
from dfplan.errors import DataError, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.rewards import LearnedValue
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.forcing import Batch, Objective
from dfplan.types import Trajectories

_MOST = 1e6  # a reward that is so many times the others hides them from 32-bit numbers


@dataclass(frozen=True)
class ValueConfig:
    """Regression of the discounted rewards that followed each recorded position.

    What is learned is the value of the behavior that collected the data, not of the best one; it
    is highest where that behavior was paid, and rises toward there along the ways it took.

    Attributes:
        discount: of a reward one step later; 0 learns the reward itself.
        width: of the perceptron's hidden layers.
        layers: hidden layers.
    """

    discount: float = 0.99
    width: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        require_numbers(vars(self), "discount", least=0, below=1)
        require_numbers(vars(self), "width", "layers", whole=True, least=1)

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return "value"

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> ValueConfig:
        """Rebuild from :meth:`to_json`."""
        return cls(**config)

    def untrained(self) -> Perceptron:
        """A network with random weights."""
        return Perceptron(2, 1, self.width, self.layers)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Mean squared error of :func:`values_to_go` at random positions of the data.

        The network is trained on values in ``statistics.reward_unit``.

        Raises:
            DataError: the data was never paid, or always the same, or some of its rewards are none
                that can be learned from.
        """
        rewards = require_rewards(trajectories) / statistics.reward_unit
        values = torch.from_numpy(values_to_go(rewards, trajectories.segments, self.discount))
        rows = WindowSampler(trajectories)

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, _ = rows.draw(size, generator)
            positions = trajectories.observations[row, :2].astype(np.float32, copy=False)
            return torch.from_numpy(positions), values[row]

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            positions, paid = batch
            device = next(network.parameters()).device
            estimate = network(statistics.normalizer.normalize(positions).to(device))[..., 0]
            error: torch.Tensor = estimate - paid.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def reward(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedValue:
        """The reward of a trained network, which runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)
        statistics = checkpoint.statistics

        def value(points: torch.Tensor) -> torch.Tensor:
            known = statistics.normalizer.normalize(points)
            found: torch.Tensor = network(known.to(device))[..., 0].to(points)
            return statistics.reward_unit * found

        return LearnedValue(value)


def require_rewards(trajectories: Trajectories) -> np.ndarray:
    """The rewards [N] of data that a value can be learned from.

    A reward counts for all rows before it, so none of a segment can be left out.

    Raises:
        DataError: there are none, or not one for each row, or all are alike; within segments one is
            not finite, or so large that beside it the others are nothing.
    """
    source, rewards = trajectories.source, trajectories.rewards
    if rewards is None or not rewards.any():
        raise DataError(
            f"{source} holds no rewards, or all are 0, so no value can be learned from it. Store "
            "the reward of each row as rewards [N], or plan by a reward of your own."
        )
    if rewards.shape != (len(trajectories),):
        raise DataError(
            f"{source}: a value needs one reward for each of {len(trajectories)} rows; got rewards "
            f"{list(rewards.shape)}."
        )
    paid = np.concatenate([rewards[rows] for rows in segment_blocks(trajectories.segments)])
    wrong = nonfinite_rows(paid)
    if len(wrong):
        raise DataError(
            f"{source}: rewards must be finite, in 32 bits, for a value to be learned from them; "
            f"that of row {_row(trajectories, wrong[0])} is {paid[wrong[0]]} ({len(wrong)} such "
            "rows). Write what was paid there, or leave these rows out and end an episode before "
            "each."
        )
    if (paid == paid[0]).all():
        raise DataError(
            f"{source}: every reward is {paid[0]:g}, so no place is worth more than another and "
            "there is no value to learn. Store what each row was paid."
        )
    size = np.abs(paid.astype(np.float64))
    usual = float(np.median(size[size > 0]))
    if size.max() > _MOST * usual:
        raise DataError(
            f"{source}: the reward of row {_row(trajectories, size.argmax())} is "
            f"{paid[size.argmax()]:g}, while half of those that are not 0 are within {usual:.3g}, "
            f"so it alone would make the value. Mend it; rewards may differ by a factor of "
            f"{_MOST:g}."
        )
    return rewards


def _row(trajectories: Trajectories, place: np.intp) -> int:
    """The row at ``place`` of those inside of segments."""
    blocks = segment_blocks(trajectories.segments)
    rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
    return int(rows[place])


def values_to_go(rewards: np.ndarray, segments: np.ndarray, discount: float) -> np.ndarray:
    """What each row was paid from there on, as a discounted mean; ``rewards`` [N] -> float32 [N].

    ``(1 - discount) * sum_k discount ** k * reward[t + k]`` over the rest of the row's segment;
    nothing is known of what follows a segment, and it counts as 0. In units of one step's
    reward, so that a place paid for ever is worth what it pays a step.
    """
    values = np.empty(len(rewards), dtype=np.float32)
    for first, last in segments:
        paid = rewards[first:last].astype(np.float64)
        values[first:last] = lfilter([1 - discount], [1, -discount], paid[::-1])[::-1]
    return values
