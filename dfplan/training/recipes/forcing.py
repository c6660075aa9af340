"""Recipes: what is trained, on what windows, by which loss.

A recipe binds a network, a way to draw a batch and a loss; the loop trains any of them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from dfplan.diffusion.levels import LevelMixture, draw_levels
from dfplan.diffusion.loss import forcing_loss, named_weight
from dfplan.diffusion.schedules import MOST_LEVELS, noise_schedule
from dfplan.diffusion.targets import named_target
from dfplan.errors import ConfigError, require_flags, require_numbers, unknown_name
from dfplan.networks.gru import GRU
from dfplan.networks.transformer import Transformer
from dfplan.networks.unet import TemporalUnet
from dfplan.planning.single import ForcingPlanner
from dfplan.sampling.denoiser import NetworkDenoiser
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.windows import TokenLayout, Windows
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Trajectories

Batch = tuple[torch.Tensor, ...]
"""What is drawn of the data for one step."""


@dataclass(frozen=True)
class Objective:
    """The loss of a random batch, in two parts, so that the next batch is drawn meanwhile.

    Attributes:
        draw: (size of the batch, generator) to a batch, on the CPU; looks at the data and at
            nothing that changes.
        loss: (network, batch, generator) to the loss; goes on with the batch's generator.
    """

    draw: Callable[[int, torch.Generator], Batch]
    loss: Callable[[nn.Module, Batch, torch.Generator], torch.Tensor]

    def __call__(self, network: nn.Module, size: int, generator: torch.Generator) -> torch.Tensor:
        """The loss of one random batch."""
        return self.loss(network, self.draw(size, generator), generator)


@dataclass(frozen=True)
class ForcingConfig:
    """Diffusion Forcing; with other training levels, its rivals.

    With :data:`~dfplan.diffusion.levels.FULL_SEQUENCE` it is full-sequence diffusion, with
    :data:`~dfplan.diffusion.levels.TEACHER_FORCING` next-token diffusion, which ``clean_past``
    trains with a target for each token of a window in place of one.

    Attributes:
        tokens: T, the longest plan, its first token included.
        frame_stack: positions in a token.
        stride: environment steps between two positions.
        noise_levels: K.
        width: of a token inside the network; the U-Net's finest resolution has a quarter of it.
        layers: of the network; the U-Net has its own number.
        heads: of a transformer's attention; ``width`` is a multiple of twice as many.
        levels: which patterns of noise it is trained on.
        network: a key of :data:`NETWORKS`. A causal one does not see a goal from before it.
        window: tokens that a token of the causal transformer sees, itself included; by default
            all.
        schedule: a key of :data:`~dfplan.diffusion.schedules.SCHEDULES`.
        target: what the network predicts, a key of :data:`~dfplan.diffusion.targets.TARGETS`.
        weight: of the loss, a key of :data:`~dfplan.diffusion.loss.WEIGHTS`.
        clean_past: denoise each token, from its own level, behind the clean tokens before it
            rather than noisy ones. For the causal transformer, whose step then takes twice the
            work. Weights go by the noisy tokens' levels alone, so ``fused_snr`` underrates the
            past.
    """

    tokens: int = 28
    frame_stack: int = 2
    stride: int = 10
    noise_levels: int = 100
    width: int = 128
    layers: int = 4
    heads: int = 4
    levels: LevelMixture = field(default_factory=LevelMixture)
    network: str = "transformer"
    window: int | None = None
    schedule: str = "interpolation"
    target: str = "flow"
    weight: str = "clipped_snr"
    clean_past: bool = False

    def __post_init__(self) -> None:
        vars(self).update(vars(self.layout))  # as Python's own numbers
        if self.network not in NETWORKS:
            raise unknown_name("network", self.network, NETWORKS)
        require_flags(vars(self), "clean_past")
        require_numbers(vars(self), "width", "layers", "heads", whole=True, least=1)
        require_numbers(vars(self), "noise_levels", whole=True, least=1, most=MOST_LEVELS)
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width must be a multiple of 2 * heads; got {self.width} and {self.heads}."
            )
        if self.window is not None:
            require_numbers(vars(self), "window", whole=True, least=1)
            if self.network != "causal_transformer":
                raise ConfigError(
                    "A window is for the network causal_transformer; got "
                    f"{self.window} for {self.network}."
                )
        if self.clean_past and self.network != "causal_transformer":
            raise ConfigError(
                f"clean_past is for the network causal_transformer; got {self.network}. Others "
                "are trained on a clean past by the levels of TEACHER_FORCING."
            )
        noise_schedule(self.schedule, 1)
        named_target(self.target)
        named_weight(self.weight)

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

    def untrained(self) -> nn.Module:
        """A network with random weights."""
        return NETWORKS[self.network](self)

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """The forcing loss on random windows of ``trajectories``."""
        windows = Windows(trajectories, self.layout)
        schedule = noise_schedule(self.schedule, self.noise_levels)
        target, weight, layout = named_target(self.target), named_weight(self.weight), self.layout

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            frames, horizon = batch
            level, known_goal = draw_levels(
                horizon, layout.tokens, self.noise_levels, self.levels, generator
            )
            clean = layout.to_tokens(statistics.normalizer.normalize(frames))
            repeat_goal(clean, horizon, known_goal)
            noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            counted = torch.arange(layout.tokens) <= horizon[:, None]

            device = next(network.parameters()).device
            told = partial(network, clean=clean.to(device)) if self.clean_past else network
            denoiser = NetworkDenoiser(told, target, schedule, device)
            return forcing_loss(denoiser, clean, level, counted, schedule, noise, weight)

        return Objective(windows.draw, loss)

    def denoiser(self, checkpoint: Checkpoint, device: str = "cpu") -> NetworkDenoiser:
        """The denoiser of a trained network, which runs on ``device``."""
        network = checkpoint.restore(self.untrained, device)
        schedule = noise_schedule(self.schedule, self.noise_levels)
        target = named_target(self.target)
        return NetworkDenoiser(network, target, schedule, device)

    def planner(self, checkpoint: Checkpoint, device: str = "cpu") -> ForcingPlanner:
        """The planner of a trained network, which runs on ``device``."""
        denoiser = self.denoiser(checkpoint, device)
        return ForcingPlanner(
            denoiser,
            self.layout,
            denoiser.schedule,
            checkpoint.statistics,
            maze=checkpoint.maze,
        )


NETWORKS: dict[str, Callable[[ForcingConfig], nn.Module]] = {
    "transformer": lambda config: Transformer(
        config.layout.features, config.noise_levels, config.width, config.layers, config.heads
    ),
    "causal_transformer": lambda config: Transformer(
        config.layout.features,
        config.noise_levels,
        config.width,
        config.layers,
        config.heads,
        causal=True,
        window=config.window,
    ),
    "gru": lambda config: GRU(
        config.layout.features, config.noise_levels, config.width, config.layers
    ),
    "unet": lambda config: TemporalUnet(
        config.layout.features, config.noise_levels, config.width // 4, level_per_token=True
    ),
}
"""Untrained networks by name."""


def repeat_goal(clean: torch.Tensor, horizon: torch.Tensor, known_goal: torch.Tensor) -> None:
    """Make each known goal token its last position repeated, as a planner will give it."""
    row = known_goal.nonzero(as_tuple=True)[0]
    goal = clean[row, horizon[row], -2:]
    clean[row, horizon[row]] = goal.repeat(1, clean.shape[-1] // 2)
