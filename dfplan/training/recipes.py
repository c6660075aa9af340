"""Recipes: what is trained, on what windows, by which loss.

A recipe binds a network, a way to draw a batch and a loss; the loop trains any of them alike.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from dfplan.data.statistics import Statistics
from dfplan.data.windows import TokenLayout, Windows
from dfplan.diffusion.levels import LevelMixture, draw_levels
from dfplan.diffusion.loss import forcing_loss
from dfplan.diffusion.schedules import NoiseSchedule, interpolation_schedule
from dfplan.diffusion.targets import FLOW
from dfplan.errors import ConfigError
from dfplan.networks.transformer import Transformer
from dfplan.planning.forcing import ForcingPlanner
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Denoiser, Trajectories


class Objective(Protocol):
    """The loss of one random batch; all randomness from ``generator``, on the CPU."""

    def __call__(
        self, network: nn.Module, batch: int, generator: torch.Generator
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class ForcingConfig:
    """Diffusion Forcing with a transformer.

    Attributes:
        tokens: T, the longest plan, its first token included.
        frame_stack: positions in a token.
        stride: environment steps between two positions.
        noise_levels: K.
        width: of the transformer.
        layers: of the transformer.
        heads: of its attention.
        levels: which patterns of noise it is trained on.
    """

    tokens: int = 28
    frame_stack: int = 2
    stride: int = 10
    noise_levels: int = 100
    width: int = 128
    layers: int = 4
    heads: int = 4
    levels: LevelMixture = field(default_factory=LevelMixture)

    def __post_init__(self) -> None:
        TokenLayout(self.tokens, self.frame_stack, self.stride)
        sizes = (self.noise_levels, self.width, self.layers, self.heads)
        if min(sizes) < 1 or self.width % (2 * self.heads):
            raise ConfigError(
                "noise_levels, width, layers and heads must be at least 1, and width a multiple of "
                f"2 * heads; got {', '.join(map(str, sizes))}."
            )

    @property
    def name(self) -> str:
        """What a checkpoint calls this recipe."""
        return "forcing"

    def to_json(self) -> dict[str, Any]:
        """The configuration; :meth:`from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> ForcingConfig:
        """Rebuild from :meth:`to_json`."""
        return cls(**{**config, "levels": LevelMixture(**config["levels"])})

    @property
    def layout(self) -> TokenLayout:
        """How positions become tokens."""
        return TokenLayout(self.tokens, self.frame_stack, self.stride)

    def network(self) -> Transformer:
        """An untrained network."""
        return Transformer(
            self.layout.features, self.noise_levels, self.width, self.layers, self.heads
        )

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """The forcing loss on random windows of ``trajectories``."""
        windows = Windows(trajectories, self.layout)
        schedule = interpolation_schedule(self.noise_levels)
        layout = self.layout

        def loss(network: nn.Module, batch: int, generator: torch.Generator) -> torch.Tensor:
            frames, horizon = windows.draw(batch, generator)
            level, known_goal = draw_levels(
                horizon, layout.tokens, self.noise_levels, self.levels, generator
            )
            clean = layout.to_tokens(statistics.normalizer.normalize(frames))
            repeat_goal(clean, horizon, known_goal)
            noise = torch.randn(clean.shape, generator=generator)
            counted = torch.arange(layout.tokens) <= horizon[:, None]

            denoiser = clean_denoiser(network, schedule)
            return forcing_loss(denoiser, clean, level, counted, schedule, noise)

        return loss

    def planner(self, checkpoint: Checkpoint, device: str = "cpu") -> ForcingPlanner:
        """The planner of a trained network, which runs on ``device``."""
        network = self.network()
        network.load_state_dict(checkpoint.network)
        network.to(device).eval()
        schedule = interpolation_schedule(self.noise_levels)
        return ForcingPlanner(
            clean_denoiser(network, schedule),
            self.layout,
            schedule,
            checkpoint.statistics,
            maze=checkpoint.maze,
        )


def clean_denoiser(network: nn.Module, schedule: NoiseSchedule) -> Denoiser:
    """The denoiser of a network that predicts velocities, wherever it runs; CPU in, CPU out."""
    device = next(network.parameters()).device

    def denoiser(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        velocity = network(x.to(device), level.to(device)).to(x)
        return FLOW.to_clean(x, velocity, level, schedule)

    return denoiser


def repeat_goal(clean: torch.Tensor, horizon: torch.Tensor, known_goal: torch.Tensor) -> None:
    """Make each known goal token its last position repeated, as a planner will give it."""
    row = known_goal.nonzero(as_tuple=True)[0]
    goal = clean[row, horizon[row], -2:]
    clean[row, horizon[row]] = goal.repeat(1, clean.shape[-1] // 2)
