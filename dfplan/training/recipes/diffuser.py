"""The recipe of Diffuser (arXiv 2205.09991), a baseline.

The settings are those of the authors' maze2d configuration. Batch size and learning rate are in
:class:`~dfplan.training.settings.TrainSettings`; the authors use two batches of 32 an update and a
constant rate of 2e-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dfplan.diffusion.schedules import MAX_NOISE_LEVELS, cosine_schedule
from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.unet import TemporalUnet
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.tokens.layout import MAX_LENGTH
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import ACTION, WIDTH, TransitionWindows, transition_limits
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class DiffuserConfig(LoopRecipe):
    """Full-sequence diffusion of transitions (action, position, velocity) with a temporal U-Net.

    Attributes:
        horizon: H, transitions in a plan, one environment step apart.
        noise_levels: K, also the number of sampling steps.
        width: channels of the U-Net at its finest resolution.
        multiples: channels at each resolution, as multiples of ``width``.
    """

    horizon: int = 256
    noise_levels: int = 256
    width: int = 32
    multiples: tuple[int, ...] = (1, 4, 8)

    def __post_init__(self) -> None:
        require_numbers(vars(self), "horizon", integer=True, minimum=2, maximum=MAX_LENGTH)
        require_numbers(
            vars(self), "noise_levels", integer=True, minimum=1, maximum=MAX_NOISE_LEVELS
        )
        require_numbers(vars(self), "width", integer=True, minimum=1)
        multiples = {f"multiple {place}": each for place, each in enumerate(self.multiples)}
        require_numbers(multiples, integer=True, minimum=1)
        object.__setattr__(self, "multiples", tuple(multiples.values()))
        stride = 2 ** (len(self.multiples) - 1)
        if self.horizon % stride:
            raise ConfigError(f"horizon must be a multiple of {stride}; got {self.horizon}.")

    @property
    def name(self) -> str:
        return "diffuser"

    def untrained(self) -> TemporalUnet:
        """Build the network with random weights."""
        return TemporalUnet(WIDTH, self.noise_levels, self.width, self.multiples)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the mean squared error of the clean transitions.

        All transitions of a window have the same noise level, except the first and the last. These
        are clean with action 0, as in planning, and do not count.
        """
        windows = TransitionWindows(trajectories, self.horizon)
        limits = transition_limits(statistics)
        schedule = cosine_schedule(self.noise_levels)

        def draw(size: int, generator: torch.Generator) -> Batch:
            return (windows.draw(size, generator),)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            clean = limits.normalize(batch[0])
            clean[..., ACTION].clamp_(-1.0, 1.0)  # as the simulators clip actions
            clean[:, [0, -1], ACTION] = 0.0
            common = torch.randint(1, self.noise_levels + 1, (len(clean), 1), generator=generator)
            level = common.repeat(1, self.horizon)
            level[:, [0, -1]] = 0
            noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            device = next(network.parameters()).device
            noisy = schedule.add_noise(clean, noise, level).to(device)
            denoised: torch.Tensor = network(noisy, level.to(device))
            return (denoised - clean.to(device))[:, 1:-1].square().mean()

        return Objective(draw, loss)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> DiffuserPlanner:
        """Build the planner of a checkpoint, whose network runs on ``device``."""
        network = checkpoint.restore(self.untrained, device)

        def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            clean: torch.Tensor = network(x.to(device), level.to(device))
            return clean.to(x.device)

        return DiffuserPlanner(
            denoiser,
            self.horizon,
            cosine_schedule(self.noise_levels),
            checkpoint.statistics,
            maze=checkpoint.maze,
        )


DIFFUSER = {
    "umaze": DiffuserConfig(horizon=128, noise_levels=64),
    "medium": DiffuserConfig(horizon=256, noise_levels=256),
    "large": DiffuserConfig(horizon=384, noise_levels=256),
}
"""The authors' settings for each maze of D4RL."""
