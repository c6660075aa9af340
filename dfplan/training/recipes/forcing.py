"""The recipe of Diffusion Forcing (arXiv 2407.01392)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.diffusion.levels import LevelMixture, draw_levels
from dfplan.diffusion.loss import WEIGHTS, forcing_loss
from dfplan.diffusion.schedules import MAX_NOISE_LEVELS, SCHEDULES, noise_schedule
from dfplan.diffusion.targets import TARGETS
from dfplan.errors import ConfigError, require_flags, require_name, require_numbers
from dfplan.networks.gru import GRU
from dfplan.networks.transformer import Transformer
from dfplan.networks.unet import TemporalUnet
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import Calibration
from dfplan.regions import RegionTables
from dfplan.registry import Registry
from dfplan.sampling.denoiser import NetworkDenoiser
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import POSITION, Feature, TokenLayout, tokens_from_json
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.windows import TokenWindows
from dfplan.training.checkpoint import Checkpoint
from dfplan.training.objective import Batch, LoopRecipe, Objective
from dfplan.training.recipes.low_level import LowLevelConfig, TwoLevels
from dfplan.types import Trajectories

_TOKEN_CONTENT = ("features", "observation")


@dataclass(frozen=True)
class ForcingConfig(LoopRecipe):
    """Diffusion Forcing, or one of its baselines, which differ in the training levels.

    With :data:`~dfplan.diffusion.levels.FULL_SEQUENCE` levels it is full-sequence diffusion, with
    :data:`~dfplan.diffusion.levels.TEACHER_FORCING` levels it is next-token diffusion.

    Attributes:
        features: what a frame of a token holds; see :func:`~dfplan.tokens.layout.token_features`.
        observation: the columns of the observations that features are taken from.
        tokens: T, length of the longest plan, including its first token.
        frame_stack: frames in a token.
        stride: environment steps between two frames.
        noise_levels: K, number of noise levels.
        width: features of a token inside the network; the finest resolution of the U-Net has
            ``width / 4``.
        layers: number of layers; the U-Net ignores it.
        heads: attention heads of the transformer; ``width`` must be a multiple of ``2 * heads``.
        levels: noise levels drawn in training.
        network: ``transformer``, ``causal_transformer``, ``gru`` or ``unet``, or another key of
            :data:`NETWORKS`. In a causal network, tokens before the goal do not see it.
        window: tokens that each layer of the causal transformer attends to, including the token
            itself; by default all.
        schedule: noise schedule: ``interpolation``, ``cosine``, ``linear`` or ``sigmoid``
            (:data:`~dfplan.diffusion.schedules.SCHEDULES`).
        target: what the network predicts: ``x0``, ``eps``, ``v`` or ``flow``
            (:data:`~dfplan.diffusion.targets.TARGETS`).
        weight: weight of the loss: ``uniform``, ``min_snr``, ``clipped_snr`` or ``fused_snr``
            (:data:`~dfplan.diffusion.loss.WEIGHTS`).
        parallel_teacher_forcing: denoise each token, from its own level, given the clean tokens
            before it instead of noisy ones. All tokens of a window are trained at once, which
            doubles the work of a step. Only for the causal transformer. ``fused_snr`` then
            underestimates what is known of the past, because it only sees the noisy levels.
        low_level: a policy that follows the plans, learned from the same data, for bodies whose
            actions are no forces in the plane. By default there is none.
        ahead: environment steps of the plans of the trained planner
            (:attr:`~dfplan.planning.settings.PlannerSettings.ahead`), for tokens that hold actions;
            by default plans lead to the goal.
    """

    can_continue = True

    features: tuple[Feature, ...] = (POSITION,)
    observation: ObservationLayout = PLANAR
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
    parallel_teacher_forcing: bool = False
    low_level: LowLevelConfig | None = None
    ahead: int | None = None

    def __post_init__(self) -> None:
        # Checked, and NumPy's numbers as Python's.
        vars(self).update(vars(self.layout))
        require_flags(vars(self), "parallel_teacher_forcing")
        require_numbers(vars(self), "width", "layers", "heads", integer=True, minimum=1)
        require_numbers(
            vars(self), "noise_levels", integer=True, minimum=1, maximum=MAX_NOISE_LEVELS
        )
        require_name("network", self.network, NETWORKS)
        require_name("noise schedule", self.schedule, SCHEDULES)
        require_name("target", self.target, TARGETS)
        require_name("loss weight", self.weight, WEIGHTS)
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"width must be a multiple of 2 * heads; got {self.width} and {self.heads}."
            )
        if self.ahead is not None:
            require_numbers(
                vars(self), "ahead", integer=True, minimum=1, maximum=self.layout.longest_horizon
            )
        if self.window is not None:
            require_numbers(vars(self), "window", integer=True, minimum=1)
        causal = {"window": self.window, "parallel_teacher_forcing": self.parallel_teacher_forcing}
        for name, value in causal.items():
            if value and self.network != "causal_transformer":
                raise ConfigError(
                    f"{name} is only for the network causal_transformer; got {name}={value} for "
                    f"{self.network}."
                )

    @property
    def name(self) -> str:
        return "forcing"

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON, without what tokens hold; see :attr:`stored_tokens`."""
        config = super().to_json()
        return {name: value for name, value in config.items() if name not in _TOKEN_CONTENT}

    @classmethod
    def from_json(
        cls, config: dict[str, Any], tokens: dict[str, Any] | None = None
    ) -> ForcingConfig:
        """Rebuild the recipe from :meth:`to_json` and :attr:`stored_tokens`."""
        nested: dict[str, Any] = {"levels": LevelMixture(**config["levels"])}
        if config.get("low_level") is not None:
            nested["low_level"] = LowLevelConfig(**config["low_level"])
        return super().from_json({**config, **nested, **tokens_from_json(tokens)})

    @property
    def stored_tokens(self) -> dict[str, Any] | None:
        """What tokens hold, as JSON; None for positions alone."""
        return self.layout.to_json()

    @property
    def layout(self) -> TokenLayout:
        """How frames become tokens."""
        return TokenLayout(
            self.tokens, self.frame_stack, self.stride, self.features, self.observation
        )

    def untrained(self) -> nn.Module:
        """Build the network with random weights."""
        network = NETWORKS[self.network](self)
        if self.low_level is None:
            return network
        return TwoLevels(network, self.low_level.untrained(self.observation))

    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the forcing loss on random windows of ``trajectories``.

        A low-level policy adds the mean squared error of its actions.
        """
        windows = TokenWindows(trajectories, self.layout)
        schedule = noise_schedule(self.schedule, self.noise_levels)
        target, weight, layout = TARGETS[self.target], WEIGHTS[self.weight], self.layout

        def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> torch.Tensor:
            frames, horizon, *rows = batch
            level, known_goal = draw_levels(
                horizon, layout.tokens, self.noise_levels, self.levels, generator
            )
            clean = layout.to_tokens(statistics.normalizer.normalize(frames))
            hide_unknown(clean, horizon, known_goal, layout)
            noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
            mask = torch.arange(layout.tokens) <= horizon[:, None]

            device = next(network.parameters()).device
            predict: Callable[..., torch.Tensor] = network
            if self.parallel_teacher_forcing:
                predict = partial(network, clean=clean.to(device))
            denoiser = NetworkDenoiser(predict, target, schedule, device)
            total = forcing_loss(denoiser, clean, level, mask, schedule, noise, weight)
            if rows:
                inputs, actions = (part.to(device) for part in rows)
                total = total + F.mse_loss(network(inputs, level="low_level"), actions)
            return total

        if self.low_level is None:
            return Objective(windows.draw, loss)
        draw_rows = self.low_level.draws(trajectories, statistics)

        def draw(size: int, generator: torch.Generator) -> Batch:
            return *windows.draw(size, generator), *draw_rows(generator)

        return Objective(draw, loss)

    def denoiser(self, checkpoint: Checkpoint, device: str = "cpu") -> NetworkDenoiser:
        """Build the denoiser of a checkpoint, whose network runs on ``device``."""
        return self._denoiser(checkpoint.restore(self.untrained, device), device)

    def _denoiser(self, network: nn.Module, device: str) -> NetworkDenoiser:
        network = network.denoiser if isinstance(network, TwoLevels) else network
        schedule = noise_schedule(self.schedule, self.noise_levels)
        return NetworkDenoiser(network, TARGETS[self.target], schedule, device)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> ForcingPlanner:
        """Build the planner of a checkpoint, whose network runs on ``device``."""
        network, statistics = checkpoint.restore(self.untrained, device), checkpoint.statistics
        denoiser = self._denoiser(network, device)
        model = SequenceModel(denoiser, self.layout, denoiser.schedule, statistics)
        settings = PlannerSettings() if self.ahead is None else _near_future(self.ahead)
        planner = ForcingPlanner(model, settings, maze=checkpoint.maze)
        if self.low_level is not None and isinstance(network, TwoLevels):
            policy = network.low_level.requires_grad_(requires_grad=False)
            planner = replace(
                planner,
                low_level=self.low_level.policy(policy, statistics, self.observation, device),
            )
        if checkpoint.calibration is None:
            return planner
        regions, episodes = (checkpoint.calibration[name] for name in ("regions", "episodes"))
        return replace(
            planner,
            regions=RegionTables.from_json(regions),
            calibration=Calibration.from_json(episodes),
        )


def _near_future(ahead: int) -> PlannerSettings:
    """Settings that are as fast as control needs. The place ahead leaves little to choose."""
    return PlannerSettings(candidates=1, ahead=ahead, refine_steps=0, replans=0)


NETWORKS: Registry[Callable[[ForcingConfig], nn.Module]] = Registry(
    "network",
    {
        "transformer": lambda config: Transformer(
            config.layout.token_width,
            config.noise_levels,
            config.width,
            config.layers,
            config.heads,
        ),
        "causal_transformer": lambda config: Transformer(
            config.layout.token_width,
            config.noise_levels,
            config.width,
            config.layers,
            config.heads,
            causal=True,
            window=config.window,
        ),
        "gru": lambda config: GRU(
            config.layout.token_width, config.noise_levels, config.width, config.layers
        ),
        "unet": lambda config: TemporalUnet(
            config.layout.token_width, config.noise_levels, config.width // 4, level_per_token=True
        ),
    },
)
"""Functions that build an untrained network, by name."""


def hide_unknown(
    clean: torch.Tensor, horizon: torch.Tensor, known_goal: torch.Tensor, layout: TokenLayout
) -> None:
    """Leave in start and goal tokens only what a planner knows of them.

    The first token keeps the observation. A known goal token becomes its last position, repeated.

    Args:
        clean: windows [B, T, D]; changed in place.
        horizon: index of the last token of each window, int [B].
        known_goal: windows whose goal is known, bool [B].
        layout: what tokens hold.
    """
    observed, width = len(layout.observed), layout.width
    if observed < width:
        clean[:, 0].view(len(clean), -1, width)[..., observed:] = 0.0
    row = known_goal.nonzero(as_tuple=True)[0]
    last = clean[row, horizon[row], -width:]
    clean[row, horizon[row]] = layout.goal_token(last[..., layout.position])
