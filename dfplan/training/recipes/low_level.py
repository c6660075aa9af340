"""The low-level policy of a two-level planner: regression of the recorded actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dfplan.errors import ConfigError, DataError, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.observations import ObservationLayout
from dfplan.planning.trackers.low_level import LowLevelPolicy
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.training.objective import Batch
from dfplan.types import Trajectories


@dataclass(frozen=True)
class LowLevelConfig:
    """Regression of the recorded actions on the observation and the displacement that followed.

    Hindsight tells the policy where a body went, as in goal-conditioned supervised learning (arXiv
    1912.06088). The place is the position a random number of environment steps later.

    Attributes:
        action_size: A, how many numbers an action has.
        nearest: the least number of steps to the place.
        farthest: the largest number.
        width: width of the hidden layers.
        layers: number of hidden layers.
        rows: of the data, in each training step.
    """

    action_size: int
    nearest: int = 5
    farthest: int = 25
    width: int = 256
    layers: int = 3
    rows: int = 2048

    def __post_init__(self) -> None:
        require_numbers(vars(self), *vars(self), integer=True, minimum=1)
        if self.nearest > self.farthest:
            raise ConfigError(
                f"nearest must be at most farthest; got {self.nearest} and {self.farthest}."
            )

    def untrained(self, observation: ObservationLayout) -> Perceptron:
        """Build the network with random weights."""
        return Perceptron(
            observation.width, self.action_size, self.width, self.layers, bounded=True
        )

    def policy(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        statistics: Statistics,
        observation: ObservationLayout,
        device: str = "cpu",
    ) -> LowLevelPolicy:
        """The policy of a network. Its unit is the farthest that a body moves in ``farthest``."""
        unit = self.farthest * statistics.motion.max_step
        return LowLevelPolicy(network, statistics, observation, unit, self.action_size, device)

    def draws(
        self, trajectories: Trajectories, statistics: Statistics
    ) -> Callable[[torch.Generator], Batch]:
        """Draw inputs [rows, S] and actions [rows, A].

        Raises:
            DataError: the actions have another size, observations have no more than position and
                velocity, or no segment is longer than ``farthest``.
        """
        actions, layout, source = trajectories.actions, trajectories.layout, trajectories.source
        if actions.shape[1] != self.action_size:
            raise DataError(
                f"{source}: the low-level policy is for actions of {self.action_size} numbers; got "
                f"{actions.shape[1]}. Train another recipe."
            )
        if statistics.observation is None:
            raise DataError(
                f"{source}: a low-level policy needs observations of more than position and "
                f"velocity; they have {layout}. Leave low_level out."
            )
        sampler = WindowSampler(trajectories.segments, successors=self.farthest, source=source)
        positions = layout.positions(trajectories.observations)
        policy = self.policy(lambda inputs: inputs, statistics, layout)

        def draw(generator: torch.Generator) -> Batch:
            row, _ = sampler.draw(self.rows, generator)
            steps = torch.randint(
                self.nearest, self.farthest + 1, (self.rows,), generator=generator
            ).numpy()
            inputs = policy.inputs(
                trajectories.observations[row], positions[row + steps] - positions[row]
            )
            wanted = np.clip(actions[row], -1.0, 1.0).astype(np.float32)
            return torch.from_numpy(inputs), torch.from_numpy(wanted)

        return draw


class TwoLevels(nn.Module):
    """A denoiser, and a low-level policy that is trained together with it."""

    def __init__(self, denoiser: nn.Module, low_level: nn.Module) -> None:
        super().__init__()
        self.denoiser, self.low_level = denoiser, low_level

    def forward(self, *values: torch.Tensor, level: str = "denoiser", **options: Any) -> Any:
        """The denoiser's prediction, or actions with ``level="low_level"``."""
        return getattr(self, level)(*values, **options)
