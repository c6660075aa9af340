"""The recipe of Diffuser (arXiv 2205.09991), a baseline.

Settings are those of its authors' maze2d configuration. Trained by the same loop as everything
else, of which :class:`~dfplan.training.loop.TrainSettings` says the batch size (theirs is 32, two
batches an update) and the learning rate (theirs is 2e-4, without decay).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from dfplan.diffusion.schedules import MOST_LEVELS, cosine_schedule
from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.unet import TemporalUnet
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import TransitionWindows, transition_limits
from dfplan.tokens.windows import LONGEST
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.recipes.forcing import Batch, Objective
from dfplan.types import Trajectories


@dataclass(frozen=True)
class DiffuserConfig:
    """Full-sequence diffusion of transitions with a temporal U-Net.

    Attributes:
        horizon: H, transitions of a plan, one environment step apart.
        noise_levels: K; sampling takes as many steps.
        width: channels of the U-Net at its finest resolution.
        multiples: channels at each of its resolutions, in widths.
    """

    horizon: int = 256
    noise_levels: int = 256
    width: int = 32
    multiples: tuple[int, ...] = (1, 4, 8)

    def __post_init__(self) -> None:
        require_numbers(vars(self), "horizon", whole=True, least=2, most=LONGEST)
        require_numbers(vars(self), "noise_levels", whole=True, least=1, most=MOST_LEVELS)
        require_numbers(vars(self), "width", whole=True, least=1)
        multiples = {f"multiple {place}": each for place, each in enumerate(self.multiples)}
        require_numbers(multiples, whole=True, least=1)
        object.__setattr__(self, "multiples", tuple(multiples.values()))
        stride = 2 ** (len(self.multiples) - 1)
        if self.horizon % stride:
            raise ConfigError(f"horizon must be a multiple of {stride}; got {self.horizon}.")

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return "diffuser"

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> DiffuserConfig:
        """Rebuild from :meth:`to_json`."""
        return cls(**{**config, "multiples": tuple(config["multiples"])})

    def untrained(self) -> TemporalUnet:
        """An untrained network."""
        return TemporalUnet(6, self.noise_levels, self.width, self.multiples)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Mean squared error of the clean transitions, all noised alike.

        The first and the last transition are given, as when planning: clean, their actions 0.
        """
        windows = TransitionWindows(trajectories, self.horizon)
        limits = transition_limits(statistics)
        schedule = cosine_schedule(self.noise_levels)

        def draw(size: int, generator: torch.Generator) -> Batch:
            return (windows.draw(size, generator),)

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            clean = limits.normalize(batch[0])
            clean[..., :2].clamp_(-1.0, 1.0)  # the simulators do so, too
            clean[:, [0, -1], :2] = 0.0
            common = torch.randint(1, self.noise_levels + 1, (len(clean), 1), generator=generator)
            level = common.repeat(1, self.horizon)
            level[:, [0, -1]] = 0
            noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            device = next(network.parameters()).device
            noisy = schedule.add_noise(clean, noise, level).to(device)
            denoised: torch.Tensor = network(noisy, level.to(device))
            return (denoised - clean.to(device))[:, 1:-1].square().mean()

        return Objective(draw, loss)

    def planner(self, checkpoint: Checkpoint, device: str = "cpu") -> DiffuserPlanner:
        """The planner of a trained network, which runs on ``device``."""
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
"""Diffuser's horizon and number of steps for each of D4RL's mazes."""
