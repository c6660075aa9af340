"""The recipe of learned inverse dynamics: which action leads where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dfplan.boundary import isolated
from dfplan.errors import require_flags, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.trackers import InverseDynamics, inverse_inputs
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.cloning import require_velocities
from dfplan.training.recipes.forcing import Batch, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class InverseConfig:
    """Regression of the recorded actions on the velocity and the displacement that followed.

    Attributes:
        steps: environment steps of the displacement; the default is the distance between two
            points of dfplan's own plans. On validation starts in umaze 5, 10 and 20 were not told
            apart.
        velocities: whether it is told the velocity; data must have recorded it.
        width: of the perceptron's hidden layers.
        layers: hidden layers.
    """

    steps: int = 10
    velocities: bool = True
    width: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        require_flags(vars(self), "velocities")
        require_numbers(vars(self), "steps", "width", "layers", whole=True, least=1)

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return "inverse"

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> InverseConfig:
        """Rebuild from :meth:`to_json`."""
        return cls(**config)

    def untrained(self) -> Perceptron:
        """A network with random weights."""
        inputs = 4 if self.velocities else 2
        return Perceptron(inputs, 2, self.width, self.layers, bounded=True)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Mean squared error of the actions at random rows of the data.

        Raises:
            DataError: velocities are wanted and were not recorded, or no segment is longer than
                ``steps``.
        """
        require_velocities(trajectories, self.velocities)
        rows = WindowSampler(trajectories, successors=self.steps)
        observations = trajectories.observations

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, _ = rows.draw(size, generator)
            displacement = observations[row + self.steps, :2] - observations[row, :2]
            velocity = observations[row, 2:] if self.velocities else None
            inputs = inverse_inputs(displacement, velocity, statistics.motion, self.steps)
            actions = np.clip(trajectories.actions[row], -1.0, 1.0).astype(np.float32)
            return torch.from_numpy(inputs), torch.from_numpy(actions)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            inputs, actions = batch
            device = next(network.parameters()).device
            error: torch.Tensor = network(inputs.to(device)) - actions.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def tracker(self, checkpoint: Checkpoint, device: str = "cpu") -> InverseDynamics:
        """A tracker that acts by a trained network, which runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)

        @isolated()
        def law(inputs: np.ndarray) -> np.ndarray:
            actions: np.ndarray = network(torch.from_numpy(inputs).to(device)).cpu().numpy()
            return actions

        motion = checkpoint.statistics.motion
        return InverseDynamics(law, motion, self.steps, velocities=self.velocities)
