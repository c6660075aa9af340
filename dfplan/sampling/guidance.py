"""Guidance: wrap a denoiser so that its clean estimate earns more reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError
from dfplan.types import Denoiser

Value = Callable[[torch.Tensor], torch.Tensor]
"""Reward of clean tokens: float [B, T, D] -> [B], differentiable."""


@dataclass(frozen=True)
class GuidanceSettings:
    """How hard a reward pulls.

    Attributes:
        scale: step along the reward's gradient; 0 is no guidance at all.
        iterations: gradient steps on each clean estimate.
        max_move: farthest a number moves in one gradient step, so that a large scale cannot tear
            a plan apart; in units of what is moved: normalized in a token, physical in a polished
            plan.
    """

    scale: float = 1.0
    iterations: int = 1
    max_move: float = 0.1

    def __post_init__(self) -> None:
        if self.scale < 0 or self.iterations < 1 or self.max_move <= 0:
            raise ConfigError(
                "Guidance needs scale >= 0, iterations >= 1 and max_move > 0; got "
                f"{self.scale}, {self.iterations} and {self.max_move}."
            )


def guided(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    *,
    futures: int = 1,
    generator: torch.Generator | None = None,
) -> Denoiser:
    """Move each clean estimate up the gradient of ``value``.

    The gradient is taken with respect to the estimate alone, so no pass back through the network
    is needed (loss-guided diffusion, ICML 2023). It is scaled by ``alpha`` of the token's level:
    an estimate made from pure noise says little about the plan and is not moved. Clean tokens
    stay where they are. Scale 0 returns ``denoiser`` itself.

    With N > 1 this is Monte Carlo guidance (arXiv 2407.01392, section 3.4): a token is guided by
    the expected reward over what may follow, not by one sample of it. Here the futures of all
    tokens are drawn at once: the first is the run's own; for each other one the estimate is
    noised again to the very levels it came from and denoised. The gradients are averaged.

    Args:
        denoiser: what to wrap.
        value: reward of clean tokens.
        schedule: the noise schedule.
        settings: how hard to pull.
        futures: N; the network is called for N sequences a row instead of one.
        generator: draws the noise of the other futures; needed where N > 1.
    """
    if futures < 1 or (futures > 1 and generator is None):
        raise ConfigError(f"Monte Carlo guidance needs N >= 1 and a generator; got N={futures}.")
    if settings.scale == 0:
        return denoiser

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        own = denoiser(x, level)
        samples = own[None]
        if futures > 1:
            others = level.repeat(futures - 1, 1)
            noise = torch.randn((len(others), *x.shape[1:]), generator=generator, dtype=x.dtype)
            redrawn = schedule.add_noise(own.repeat(futures - 1, 1, 1), noise, others)
            samples = torch.cat([samples, denoiser(redrawn, others).view(-1, *own.shape)])
        pull = settings.scale * schedule.alpha[level][..., None] * (level > 0)[..., None]
        return climb(value, samples, pull, settings.iterations, settings.max_move)[0]

    return wrapped


def climb(
    value: Value, x: torch.Tensor, scale: torch.Tensor, iterations: int, max_move: float
) -> torch.Tensor:
    """Gradient ascent on ``value``, at most ``max_move`` a number and iteration.

    Args:
        value: what to climb, [S, ...] -> [S].
        x: where to start, [B, ...], or [N, B, ...] to move all N by their mean gradient.
        scale: step along the gradient, broadcast to ``x``; 0 keeps a number where it is.
        iterations: how often.
        max_move: bound on each move.

    Raises:
        ConfigError: the gradient is not finite.
    """
    for _ in range(iterations):
        flat = x.flatten(0, 1) if x.dim() > scale.dim() else x
        with torch.enable_grad():
            leaf = flat.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(value(leaf).sum(), leaf)
        if not gradient.isfinite().all():
            raise ConfigError(
                "The gradient of a reward must be finite. A square root, a logarithm or a division "
                "at 0 is the usual cause: add a small number inside."
            )
        if x.dim() > scale.dim():
            gradient = gradient.view(x.shape).mean(0)
        x = x + (scale * gradient).clamp(-max_move, max_move)
    return x
