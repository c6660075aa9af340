"""The recipe of goal-conditioned behaviour cloning, a baseline without a plan."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dfplan.errors import DataError, require_flags, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.learned import LearnedPolicy, policy_inputs
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.forcing import Batch, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class CloningConfig:
    """Regression of the recorded actions on what was seen and where the body went later.

    By hindsight, the goal of a row is the position of a later row of its segment, as in OGBench's
    GCBC (arXiv 2410.20092, after arXiv 1912.06088).

    Attributes:
        velocities: whether the policy is told the velocity; data must have recorded it.
        discount: goals are ``k`` rows later with probability ``(1 - discount) * discount ** (k -
            1)``, what reaches beyond the segment being its last row; without one they are drawn
            evenly from the rest of the segment, which is how OGBench trains GCBC, and makes little
            sense in D4RL's streams that never end.
        width: of the perceptron's hidden layers.
        layers: hidden layers.
    """

    velocities: bool = True
    discount: float | None = 0.99
    width: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        require_flags(vars(self), "velocities")
        if self.discount is not None:
            require_numbers(vars(self), "discount", above=0, below=1)
        require_numbers(vars(self), "width", "layers", whole=True, least=1)

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return "policy"

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> CloningConfig:
        """Rebuild from :meth:`to_json`."""
        return cls(**config)

    def untrained(self) -> Perceptron:
        """A network with random weights."""
        inputs = 6 if self.velocities else 4
        return Perceptron(inputs, 2, self.width, self.layers, bounded=True)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Mean squared error of the actions at random rows of the data.

        Raises:
            DataError: velocities are wanted and were not recorded, or no row has a successor.
        """
        require_velocities(trajectories, self.velocities)
        rows = WindowSampler(trajectories, successors=1)

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, end = rows.draw(size, generator)
            goal = row + self._later(end - 1 - row, generator)
            found = trajectories.observations[row], trajectories.observations[goal, :2]
            actions = np.clip(trajectories.actions[row], -1.0, 1.0)
            states, goals, actions = (each.astype(np.float32) for each in (*found, actions))
            return torch.from_numpy(states), torch.from_numpy(goals), torch.from_numpy(actions)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            states, goals, actions = batch
            device = next(network.parameters()).device
            inputs = policy_inputs(states, goals, statistics, self.velocities)
            error: torch.Tensor = network(inputs.to(device)) - actions.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def _later(self, left: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """How many rows later the goals are, int [B], 1 to ``left`` [B]."""
        share = torch.rand(len(left), generator=generator, dtype=torch.float64).numpy()
        if self.discount is None:
            later = 1 + np.floor(share * left)
        else:
            later = 1 + np.floor(np.log1p(-share) / math.log(self.discount))
        return np.asarray(np.minimum(later, left), dtype=int)

    def policy(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedPolicy:
        """The policy of a trained network, which runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)
        return LearnedPolicy(
            lambda inputs: network(inputs.to(device)).cpu(),
            checkpoint.statistics,
            self.velocities,
            maze=checkpoint.maze,
        )


def require_velocities(trajectories: Trajectories, velocities: bool) -> None:
    """Raise :class:`DataError` where ``velocities`` are wanted and were not recorded."""
    if velocities and trajectories.observations.shape[1] != 4:
        raise DataError(
            f"{trajectories.source} holds positions alone, and the recipe wants velocities, too; "
            "train with velocities=False."
        )
