"""The recipe of goal-conditioned behavior cloning (GCBC), a baseline that makes no plans."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dfplan.errors import require_flags, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.learned import LearnedPolicy, policy_inputs
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import require_planar
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class CloningConfig(LoopRecipe):
    """Regression of the recorded actions on the observation and a later position as the goal.

    The goal of a row is the position at a later row of the same segment (hindsight relabeling), as
    in GCBC of OGBench (arXiv 2410.20092, after arXiv 1912.06088).

    Attributes:
        velocities: whether the policy gets the velocity, which the data must then hold.
        discount: the goal is ``k`` rows later with probability ``(1 - discount) * discount ** (k -
            1)``; goals after the end of the segment become its last row. Without a discount, goals
            are uniform over the rest of the segment, as in OGBench; this makes little sense in the
            streams of D4RL, which never end.
        width: width of the hidden layers.
        layers: number of hidden layers.
    """

    velocities: bool = True
    discount: float | None = 0.99
    width: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        require_flags(vars(self), "velocities")
        if self.discount is not None:
            require_numbers(vars(self), "discount", above=0, below=1)
        require_numbers(vars(self), "width", "layers", integer=True, minimum=1)

    @property
    def name(self) -> str:
        return "policy"

    def untrained(self) -> Perceptron:
        """Build the network with random weights."""
        inputs = 6 if self.velocities else 4
        return Perceptron(inputs, 2, self.width, self.layers, bounded=True)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the mean squared error of the actions at random rows of ``trajectories``.

        Raises:
            DataError: the data lacks velocities that the policy needs, or every segment has only
                one row.
        """
        require_planar(trajectories, "behaviour cloning", velocities=self.velocities)
        rows = WindowSampler(trajectories.segments, successors=1, source=trajectories.source)
        positions = trajectories.layout.positions(trajectories.observations)

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, end = rows.draw(size, generator)
            goal = row + self._goal_offsets(end - 1 - row, generator)
            states, goals = trajectories.observations[row], positions[goal]
            actions = np.clip(trajectories.actions[row], -1.0, 1.0)
            return tuple(
                torch.from_numpy(each.astype(np.float32)) for each in (states, goals, actions)
            )

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            states, goals, actions = batch
            device = next(network.parameters()).device
            inputs = policy_inputs(states, goals, statistics, self.velocities)
            error: torch.Tensor = network(inputs.to(device)) - actions.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def _goal_offsets(self, remaining: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """Draw how many rows later the goals are, from 1 to ``remaining``; int [B]."""
        uniform = torch.rand(len(remaining), generator=generator, dtype=torch.float64).numpy()
        if self.discount is None:
            offset = 1 + np.floor(uniform * remaining)
        else:
            offset = 1 + np.floor(np.log1p(-uniform) / math.log(self.discount))
        return np.asarray(np.minimum(offset, remaining), dtype=int)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> LearnedPolicy:
        """Build the policy of a checkpoint, whose network runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)
        return LearnedPolicy(
            lambda inputs: network(inputs.to(device)).cpu(),
            checkpoint.statistics,
            self.velocities,
            maze=checkpoint.maze,
        )
