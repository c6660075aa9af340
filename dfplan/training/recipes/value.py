"""The recipe of a learned value: the discounted return from each position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dfplan.blocks import segment_blocks
from dfplan.data.anomalies import nonfinite_rows
from dfplan.errors import DataError, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.rewards import LearnedValue
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.types import Trajectories

_MAX_RATIO = 1e6  # a reward this many times larger than the others hides them in float32


@dataclass(frozen=True)
class ValueConfig(LoopRecipe):
    """Regression of the discounted return on the position.

    This is the value of the behavior that collected the data, not of the optimal one. It is highest
    where that behavior got rewards, and rises toward there along its paths.

    Attributes:
        discount: weight of a reward one step later; 0 learns the reward itself.
        width: width of the hidden layers.
        layers: number of hidden layers.
    """

    discount: float = 0.99
    width: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        require_numbers(vars(self), "discount", minimum=0, below=1)
        require_numbers(vars(self), "width", "layers", integer=True, minimum=1)

    @property
    def name(self) -> str:
        return "value"

    def untrained(self) -> Perceptron:
        """Build the network with random weights."""
        return Perceptron(2, 1, self.width, self.layers)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the mean squared error of the returns at random rows of ``trajectories``.

        The network predicts :func:`discounted_returns` in units of ``statistics.reward_unit``.

        Raises:
            DataError: see :func:`require_rewards`.
        """
        rewards = require_rewards(trajectories) / statistics.reward_unit
        values = torch.from_numpy(discounted_returns(rewards, trajectories.segments, self.discount))
        rows = WindowSampler(trajectories.segments, source=trajectories.source)
        positions = trajectories.layout.positions(trajectories.observations)

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, _ = rows.draw(size, generator)
            return torch.from_numpy(positions[row].astype(np.float32, copy=False)), values[row]

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            positions, returns = batch
            device = next(network.parameters()).device
            estimate = network(statistics.normalizer.normalize(positions).to(device))[..., 0]
            error: torch.Tensor = estimate - returns.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedValue:
        """Build the reward of a checkpoint, whose network runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)
        statistics = checkpoint.statistics

        def value(points: torch.Tensor) -> torch.Tensor:
            normalized = statistics.normalizer.normalize(points)
            estimate: torch.Tensor = network(normalized.to(device))[..., 0].to(points)
            return statistics.reward_unit * estimate

        return LearnedValue(value)


def require_rewards(trajectories: Trajectories) -> np.ndarray:
    """Return the rewards [N] if a value can be learned from them.

    Each reward enters the returns of all earlier rows, so no row of a segment can be left out.

    Raises:
        DataError: the data has no rewards, or not one for each row; or within segments all rewards
            are equal, one is not finite, or one is so large that float32 cannot hold the others
            next to it.
    """
    source, rewards = trajectories.source, trajectories.rewards
    if rewards is None or not rewards.any():
        raise DataError(
            f"{source} holds no rewards, or all are 0, so no value can be learned from it. Store "
            "the reward of each row as rewards [N], or plan with a reward function instead."
        )
    if rewards.shape != (len(trajectories),):
        raise DataError(
            f"{source}: a value needs one reward for each of {len(trajectories)} rows; got rewards "
            f"{list(rewards.shape)}."
        )
    inside = np.concatenate([rewards[rows] for rows in segment_blocks(trajectories.segments)])
    wrong = nonfinite_rows(inside)
    if len(wrong):
        raise DataError(
            f"{source}: rewards must be finite in 32 bits for a value to be learned from them; "
            f"that of row {_row(trajectories, wrong[0])} is {inside[wrong[0]]} ({len(wrong)} such "
            "rows). Correct them, or leave these rows out and end an episode before each."
        )
    if (inside == inside[0]).all():
        raise DataError(
            f"{source}: every reward is {inside[0]:g}, so there is no value to learn. Store the "
            "reward that each row received."
        )
    size = np.abs(inside.astype(np.float64))
    median = float(np.median(size[size > 0]))
    if size.max() > _MAX_RATIO * median:
        raise DataError(
            f"{source}: the reward of row {_row(trajectories, size.argmax())} is "
            f"{inside[size.argmax()]:g}, but the median size of the nonzero rewards is "
            f"{median:.3g}, so this reward alone would determine the value. Correct it; rewards "
            f"may differ by a factor of up to {_MAX_RATIO:g}."
        )
    return rewards


def _row(trajectories: Trajectories, index: np.intp) -> int:
    """Return the row of the data that is number ``index`` of the rows inside segments."""
    blocks = segment_blocks(trajectories.segments)
    rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks])
    return int(rows[index])


def discounted_returns(rewards: np.ndarray, segments: np.ndarray, discount: float) -> np.ndarray:
    """Return the normalized discounted return of each row.

    ``(1 - discount) * sum_k discount ** k * reward[t + k]`` over the rest of the segment of row t.
    Rewards after the segment are unknown and count as 0. The factor ``1 - discount`` keeps the unit
    of one reward: a constant reward ``r`` for ever has the return ``r``.

    Args:
        rewards: float [N].
        segments: first and one-past-last row of each segment, int [S, 2].
        discount: in [0, 1).

    Returns:
        float32 [N]; rows outside of segments are not set.
    """
    from scipy.signal import lfilter  # here, because it takes long to import

    returns = np.empty(len(rewards), dtype=np.float32)
    for first, last in segments:
        backwards = rewards[first:last][::-1].astype(np.float64)
        returns[first:last] = lfilter([1 - discount], [1, -discount], backwards)[::-1]
    return returns
