"""The recipe of learned inverse dynamics: the action that causes a displacement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dfplan.boundary import isolated
from dfplan.errors import require_flags, require_numbers
from dfplan.networks.perceptron import Perceptron
from dfplan.planning.trackers import InverseDynamics, inverse_inputs
from dfplan.tokens.sampler import WindowSampler
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import require_planar
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class InverseConfig(LoopRecipe):
    """Regression of the recorded actions on the velocity and the displacement that followed.

    Attributes:
        steps: environment steps over which the displacement is taken. The default is the distance
            between two points of a plan of the ``forcing`` recipe. On validation starts in umaze,
            the scores with 5, 10 and 20 did not differ significantly.
        velocities: whether the network gets the velocity, which the data must then hold.
        width: width of the hidden layers.
        layers: number of hidden layers.
    """

    steps: int = 10
    velocities: bool = True
    width: int = 128
    layers: int = 3

    def __post_init__(self) -> None:
        require_flags(vars(self), "velocities")
        require_numbers(vars(self), "steps", "width", "layers", integer=True, minimum=1)

    @property
    def name(self) -> str:
        return "inverse"

    def untrained(self) -> Perceptron:
        """Build the network with random weights."""
        inputs = 4 if self.velocities else 2
        return Perceptron(inputs, 2, self.width, self.layers, bounded=True)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the mean squared error of the actions at random rows of ``trajectories``.

        Raises:
            DataError: the data lacks velocities that the network needs, or no segment is longer
                than ``steps``.
        """
        require_planar(trajectories, "inverse dynamics", velocities=self.velocities)
        rows = WindowSampler(
            trajectories.segments, successors=self.steps, source=trajectories.source
        )
        positions = trajectories.layout.positions(trajectories.observations)
        recorded = trajectories.layout.velocities(trajectories.observations)

        def draw(size: int, generator: torch.Generator) -> Batch:
            row, _ = rows.draw(size, generator)
            displacement = positions[row + self.steps] - positions[row]
            velocity = recorded[row] if self.velocities and recorded is not None else None
            inputs = inverse_inputs(displacement, velocity, statistics.motion, self.steps)
            actions = np.clip(trajectories.actions[row], -1.0, 1.0).astype(np.float32)
            return torch.from_numpy(inputs), torch.from_numpy(actions)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            inputs, actions = batch
            device = next(network.parameters()).device
            error: torch.Tensor = network(inputs.to(device)) - actions.to(device)
            return error.square().mean()

        return Objective(draw, loss)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> InverseDynamics:
        """Build the tracker of a checkpoint, whose network runs on ``device``."""
        network = checkpoint.restore(self.untrained, device).requires_grad_(requires_grad=False)

        @isolated()
        def predict(inputs: np.ndarray) -> np.ndarray:
            actions: np.ndarray = network(torch.from_numpy(inputs).to(device)).cpu().numpy()
            return actions

        motion = checkpoint.statistics.motion
        return InverseDynamics(predict, motion, self.steps, velocities=self.velocities)
