"""Guidance: wrap a denoiser so that its clean estimate earns more reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, require_flags, require_numbers
from dfplan.sampling.loop import sample
from dfplan.sampling.steps import ancestral
from dfplan.types import Denoiser

Value = Callable[[torch.Tensor], torch.Tensor]
"""Reward of clean tokens: float [B, T, D] -> [B], differentiable."""


@dataclass(frozen=True)
class GuidanceSettings:
    """How hard a reward pulls.

    Attributes:
        scale: step along the reward's gradient; 0 is no guidance at all.
        iterations: gradient steps on each clean estimate. Each takes the reward's gradient anew
            where the last one led; through the denoiser it is carried back by the Jacobian of the
            one call that made the estimate, so a further step costs a backward pass and no call.
            One is enough there.
        max_move: farthest a number moves in one gradient step, so that a large scale cannot tear
            a plan apart; in the reward's units.
        through_denoiser: take the gradient with respect to the noisy tokens, back through the
            denoiser, instead of with respect to the clean estimate alone.
        future_steps: network calls in which each future is drawn; 1 estimates futures, more
            sample them (see :func:`guided`).
    """

    scale: float = 1.0
    iterations: int = 1
    max_move: float = 0.1
    through_denoiser: bool = False
    future_steps: int = 1

    def __post_init__(self) -> None:
        require_numbers(vars(self), "scale", least=0)
        require_numbers(vars(self), "iterations", "future_steps", whole=True, least=1)
        require_numbers(vars(self), "max_move", above=0, most=math.inf)
        require_flags(vars(self), "through_denoiser")
        if self.through_denoiser and self.future_steps > 1:
            raise ConfigError(
                f"Guidance with through_denoiser needs future_steps 1; got {self.future_steps}. "
                "Which of two ways a sampled future goes does not show in its own gradient."
            )


def guided(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    *,
    unit: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    futures: int = 1,
    generator: torch.Generator | None = None,
) -> Denoiser:
    """Move each clean estimate up the gradient of ``value``.

    By default the gradient is taken with respect to the estimate alone, so no pass back through
    the network is needed (loss-guided diffusion, ICML 2023). It is scaled by ``alpha`` of the
    token's level: an estimate made from pure noise says little about the plan and is not moved.
    Clean tokens stay where they are. Scale 0 returns ``denoiser`` itself.

    With ``through_denoiser`` it is ``g``, the gradient of ``value(denoiser(x, level))`` with
    respect to the noisy tokens x, and guides as in classifier guidance (arXiv 2105.05233,
    algorithm 2; arXiv 2407.01392, section 3.4): ``noise - scale * sigma * g`` takes the place of
    the estimated noise. As ``x = alpha * clean + sigma * noise`` on every schedule, that is ::

        clean + scale * sigma ** 2 / alpha * g

    A token that earns nothing itself is so guided by what it says of the others. For an optimal
    denoiser, whose Jacobian is ``alpha / sigma ** 2`` times the covariance of the clean tokens
    given x, the move is ``scale`` times that covariance times the reward's gradient: bounded at
    every level, and to first order in ``scale`` right for sampling the data reweighted by
    ``exp(scale * value)``. At pure noise it is 0 / 0, and a trained network's g is not quite 0;
    such a token is not moved, and just below ``max_move`` is what bounds it.

    With N > 1 this is Monte Carlo guidance (arXiv 2407.01392, section 3.4): a token is guided by
    the expected reward over what may follow, not by one sample of it. Here the futures of all
    tokens are drawn at once, and their gradients are averaged, each with respect to its own clean
    estimate or noisy tokens. There are two ways to draw them:

    - ``future_steps`` 1: the first is the run's own estimate; for each other one the estimate is
      noised again to the very levels it came from and denoised. Only these N - 1 vary, so the
      variance of the guidance is ``(N - 1) / N ** 2`` of one's. They are estimates and not
      samples: where the future may go two ways, its estimate from pure noise is the mean of the
      two, whatever the noise, and no average over N finds out what either is worth.
    - more: all N are sampled from x in so many steps of :func:`~dfplan.sampling.steps.ancestral`,
      with many steps draws of the clean tokens given x. Their mean gradient has the expectation
      of the gradient over futures, and 1 / N of its variance. The run's estimate is what is
      moved, and N = 1 is guided by one sampled future. Not for ``through_denoiser``: a sampled
      future that has gone one way no longer depends smoothly on x, so the mean of such gradients
      misses how x sways the chance of each way.

    Args:
        denoiser: what to wrap. For ``through_denoiser`` differentiable in x; its parameters get
            no gradient.
        value: reward of clean tokens.
        schedule: the noise schedule.
        settings: how hard to pull.
        unit: what 1 of each number of a token is in the reward's units, float [D]; by default 1.
            Estimates move along the gradient in those units, so that how tokens are normalized
            does not matter. Through the denoiser it does not anyway, as the covariance tells the
            unit; there it is for ``max_move`` alone.
        weight: by which each row's scale is multiplied, float [B]; by default 1.
        futures: N; the network is called for N sequences a row instead of one, or for
            ``1 + N * future_steps`` where futures are sampled.
        generator: draws the noise of futures; needed where N or ``future_steps`` is above 1.

    Raises:
        ConfigError: no future or no generator for them; when called, a denoiser without a
            gradient, values that are not one a row, or a gradient that is not finite.
    """
    sampled = settings.future_steps > 1
    if futures < 1 or ((futures > 1 or sampled) and generator is None):
        raise ConfigError(f"Monte Carlo guidance needs N >= 1 and a generator; got N={futures}.")
    if settings.scale == 0:
        return denoiser

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        calls = _Calls(denoiser) if settings.through_denoiser else None
        estimate = calls or denoiser
        own = estimate(x, level)
        samples = own[None]
        if sampled and generator is not None:
            left = torch.arange(settings.future_steps, -1, -1, device=x.device)[:, None, None]
            matrix = -(-level.repeat(futures, 1) * left // settings.future_steps)
            start, step = x.repeat(futures, 1, 1), ancestral(schedule)
            drawn = sample(denoiser, start, matrix, step=step, generator=generator)
            samples = drawn.view(-1, *own.shape)
        elif futures > 1:
            others = level.repeat(futures - 1, 1)
            shape = len(others), *x.shape[1:]
            noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
            redrawn = schedule.add_noise(own.repeat(futures - 1, 1, 1), noise, others)
            samples = torch.cat([samples, estimate(redrawn, others).view(-1, *own.shape)])
        share, back = schedule.alpha[level], None
        if calls is not None:
            share = torch.where(share > 0, schedule.sigma[level].square() / share, 0.0)
            back = calls.back
        if weight is not None:
            share = share * weight[:, None]
        pull = settings.scale * share[..., None] * (level > 0)[..., None]
        iterations = settings.iterations
        max_move = torch.tensor(settings.max_move, dtype=x.dtype, device=x.device)
        if unit is not None:
            pull = pull / unit.square() if calls is None else pull
            max_move = max_move / unit
        moved = climb(value, samples, pull, iterations, max_move, back=back)
        return own + (moved - samples)[0] if sampled else moved[0]

    return wrapped


class _Calls:
    """A denoiser that keeps its calls, to carry gradients back to what it was called with."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.noisy: list[torch.Tensor] = []
        self.clean: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            noisy = x.detach().requires_grad_()
            clean = self.denoiser(noisy, level)
        if not clean.requires_grad:
            raise ConfigError(
                "Guidance through the denoiser needs one that is differentiable in the noisy "
                "tokens; this one gives estimates without a gradient. Take no_grad() and detach() "
                "out of it, or set through_denoiser=False."
            )
        self.noisy.append(noisy)
        self.clean.append(clean)
        return clean.detach()

    def back(self, gradient: torch.Tensor) -> torch.Tensor:
        """From the gradient with respect to all estimates, in the order of calls, [S, T, D]."""
        parts = torch.split(gradient, [len(clean) for clean in self.clean])
        return torch.cat(torch.autograd.grad(self.clean, self.noisy, parts, retain_graph=True))


def climb(
    value: Value,
    x: torch.Tensor,
    scale: torch.Tensor,
    iterations: int,
    max_move: float | torch.Tensor,
    *,
    settling: bool = False,
    back: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Gradient ascent on ``value``, at most ``max_move`` a number and iteration.

    Args:
        value: what to climb, [S, ...] -> [S].
        x: where to start, [B, ...], or [N, B, ...] to move all N by their mean gradient.
        scale: step along the gradient, broadcast to ``x``; 0 keeps a number where it is.
        iterations: how often.
        max_move: bound on each move, broadcast to ``x``.
        settling: whether the bound falls linearly, to ``max_move / iterations`` in the last
            iteration. Where a scale times the curvature is above 2, x would otherwise jump to and
            fro across the top by as much as the bound, for ever.
        back: carries the gradient with respect to x, [S, ...], back to what x was made from, of
            the same shape; ``x`` is moved along what it returns.

    Raises:
        ConfigError: values of another shape, or a gradient that is not finite.
    """
    for iteration in range(iterations):
        flat = x.flatten(0, 1) if x.dim() > scale.dim() else x
        with torch.enable_grad():
            leaf = flat.detach().requires_grad_()
            earned = value(leaf)
            if earned.shape != leaf.shape[:1]:
                raise ConfigError(
                    f"A value gives one number a sequence, [{len(leaf)}] for these; got "
                    f"{list(earned.shape)}. Sum or average over the others."
                )
            (gradient,) = torch.autograd.grad(earned.sum(), leaf)
        if back is not None:
            gradient = back(gradient)
        if not gradient.isfinite().all():
            with torch.enable_grad(), torch.autograd.set_detect_anomaly(mode=True, check_nan=False):
                value(leaf)  # a reward that looks at its own gradient now raises, and is named
            raise ConfigError(
                "Guidance needs a finite gradient; got one that is not. A square root, a logarithm "
                "or a division at 0 in a reward is the usual cause; else a weight, a setting or "
                "the denoiser is not finite or too large."
            )
        if x.dim() > scale.dim():
            gradient = gradient.view(x.shape).mean(0)
        share = 1 - iteration / iterations if settling else 1.0
        farthest = share * torch.as_tensor(max_move, dtype=x.dtype, device=x.device)
        x = x + torch.minimum(torch.maximum(scale * gradient, -farthest), farthest)
    return x
