"""Guidance: wrap a denoiser so that its clean estimates have a higher reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, require_flags, require_numbers
from dfplan.sampling.monte_carlo import draw_samples, estimate_samples
from dfplan.types import Denoiser

Value = Callable[[torch.Tensor], torch.Tensor]
"""Reward of clean tokens: float [B, T, D] -> [B], differentiable."""


@dataclass(frozen=True)
class GuidanceSettings:
    """Strength and kind of the guidance.

    Attributes:
        scale: step size along the reward's gradient; 0 disables guidance.
        iterations: gradient steps on each clean estimate. Each step computes the reward's gradient
            at the current position. Through the denoiser, it is multiplied by the Jacobian of the
            one call that made the estimate, so another step costs a backward pass and no call; one
            step is enough there.
        max_move: largest change of a number in one gradient step, in the reward's units. It
            prevents a large scale from destroying a plan.
        through_denoiser: compute the gradient with respect to the noisy tokens, through the
            denoiser, instead of with respect to the clean estimate.
        mc_sample_steps: network calls for each Monte Carlo sample. 1 approximates samples by clean
            estimates; more steps draw them (see :func:`guided`).
    """

    scale: float = 1.0
    iterations: int = 1
    max_move: float = 0.1
    through_denoiser: bool = False
    mc_sample_steps: int = 1

    def __post_init__(self) -> None:
        require_numbers(vars(self), "scale", minimum=0)
        require_numbers(vars(self), "iterations", "mc_sample_steps", integer=True, minimum=1)
        require_numbers(vars(self), "max_move", above=0, maximum=math.inf)
        require_flags(vars(self), "through_denoiser")
        if self.through_denoiser and self.mc_sample_steps > 1:
            raise ConfigError(
                "Guidance with through_denoiser needs mc_sample_steps=1; got "
                f"{self.mc_sample_steps}. The gradient of a drawn sample does not show how x "
                "changes the probability of its mode."
            )


def guided(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    *,
    unit: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    mc_samples: int = 1,
    generator: torch.Generator | None = None,
) -> Denoiser:
    """Wrap a denoiser so that each clean estimate is moved along the gradient of ``value``.

    By default the gradient is taken with respect to the estimate, so no backward pass through the
    network is needed (loss-guided diffusion, ICML 2023). It is scaled by ``alpha`` of the token's
    level, since an estimate from pure noise contains little information about the plan. Clean
    tokens do not move. Scale 0 returns ``denoiser`` itself.

    With ``through_denoiser``, let ``g`` be the gradient of ``value(denoiser(x, level))`` with
    respect to the noisy tokens x. As in classifier guidance (arXiv 2105.05233, algorithm 2; arXiv
    2407.01392, section 3.4), the estimated noise is replaced by ``noise - scale * sigma * g``.
    Since ``x = alpha * clean + sigma * noise`` on every schedule, the estimate becomes ::

        clean + scale * sigma ** 2 / alpha * g

    Tokens without a reward of their own are guided by what they imply about the others. For an
    optimal denoiser the Jacobian is ``alpha / sigma ** 2`` times the covariance of the clean
    tokens given x, so the move is ``scale`` times this covariance times the reward's gradient. It
    is bounded at every level. To first order in ``scale`` it samples the data reweighted by
    ``exp(scale * value)``. At pure noise the factor is 0 / 0 and a trained network's g is not
    exactly 0; such tokens are not moved, and at slightly lower levels ``max_move`` limits the
    move.

    With N > 1 this is Monte Carlo guidance (arXiv 2407.01392, section 3.4): a token is guided by
    the expected reward over samples of what may follow. Samples of all tokens are drawn at once,
    and their gradients, each with respect to its own clean estimate or noisy tokens, are averaged.
    There are two kinds of samples (:mod:`dfplan.sampling.monte_carlo`):

    - ``mc_sample_steps`` 1: one is the current estimate, the others are N - 1 estimates after
      adding noise again. The variance of the guidance is ``(N - 1) / N ** 2`` times that of one of
      them. If the data has two modes, the estimate at pure noise is their mean for any noise, and
      the average over N does not show the reward of either mode.
    - More: all N are drawn in that many steps. Their mean gradient is an unbiased estimate of the
      expected gradient, with 1 / N of the variance. The current estimate is moved; N = 1 guides by
      one drawn sample. Not for ``through_denoiser``: a drawn sample in one mode no longer depends
      smoothly on x, so the mean gradient misses how x changes the probabilities of the modes.

    Args:
        denoiser: the denoiser to wrap. For ``through_denoiser`` it must be differentiable in x; its
            parameters get no gradient.
        value: reward of clean tokens.
        schedule: the noise schedule.
        settings: strength and kind of the guidance.
        unit: the size of 1 of each feature of a token in the reward's units, float [D]; by default
            1. The gradient step is made in these units, so it does not depend on the normalization
            of tokens. Through the denoiser it never does, and ``unit`` only affects ``max_move``.
        weight: factor on the scale of each sequence, float [B]; by default 1.
        mc_samples: N. The network is called with N sequences instead of one, or with
            ``1 + N * mc_sample_steps`` if samples are drawn.
        generator: draws the noise of samples; required if N or ``mc_sample_steps`` exceeds 1.

    Raises:
        ConfigError: N is below 1, or a generator is missing. When called: the denoiser has no
            gradient, the values are not one per sequence, or a gradient is not finite.
    """
    steps = settings.mc_sample_steps
    if mc_samples < 1 or ((mc_samples > 1 or steps > 1) and generator is None):
        raise ConfigError(f"Monte Carlo guidance needs N >= 1 and a generator; got N={mc_samples}.")
    if settings.scale == 0:
        return denoiser

    def wrapped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        calls = _RecordedCalls(denoiser) if settings.through_denoiser else None
        estimate = calls or denoiser
        clean = estimate(x, level)
        if steps > 1 and generator is not None:
            samples = draw_samples(denoiser, x, level, schedule, mc_samples, steps, generator)
        else:
            samples = estimate_samples(estimate, clean, level, schedule, mc_samples, generator)
        share, backward = schedule.alpha[level], None
        if calls is not None:
            share = torch.where(share > 0, schedule.sigma[level].square() / share, 0.0)
            backward = calls.backward
        if weight is not None:
            share = share * weight[:, None]
        scale = settings.scale * share[..., None] * (level > 0)[..., None]
        max_move = torch.tensor(settings.max_move, dtype=x.dtype, device=x.device)
        if unit is not None:
            scale = scale / unit.square() if calls is None else scale
            max_move = max_move / unit
        moved = gradient_ascent(
            value, samples, scale, settings.iterations, max_move, backward=backward
        )
        return clean + (moved - samples)[0] if steps > 1 else moved[0]

    return wrapped


class _RecordedCalls:
    """A denoiser that records its calls, so that gradients can be computed through them."""

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
                "Guidance with through_denoiser needs a denoiser that is differentiable in the "
                "noisy tokens; the estimates of this one have no gradient. Remove no_grad() and "
                "detach() from it, or set through_denoiser=False."
            )
        self.noisy.append(noisy)
        self.clean.append(clean)
        return clean.detach()

    def backward(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to the noisy tokens of all calls.

        Args:
            gradient: gradient with respect to the estimates of all calls in order, [S, T, D].
        """
        parts = torch.split(gradient, [len(clean) for clean in self.clean])
        return torch.cat(torch.autograd.grad(self.clean, self.noisy, parts, retain_graph=True))


def gradient_ascent(
    value: Value,
    x: torch.Tensor,
    scale: torch.Tensor,
    iterations: int,
    max_move: float | torch.Tensor,
    *,
    anneal: bool = False,
    backward: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Gradient ascent on ``value`` with a bound on each move.

    Args:
        value: the function to increase, [S, ...] -> [S].
        x: where to start, [B, ...]; or [N, B, ...] to move all N by their mean gradient.
        scale: step size, broadcast to ``x``; 0 fixes a number.
        iterations: number of steps.
        max_move: bound on the change of each number in a step, broadcast to ``x``.
        anneal: whether the bound decreases linearly, to ``max_move / iterations`` in the last
            step. Without it, x oscillates across the maximum by as much as the bound where scale
            times curvature exceeds 2.
        backward: maps the gradient with respect to x, [S, ...], to the gradient with respect to
            what x was computed from, of the same shape; ``x`` is moved along the result.

    Raises:
        ConfigError: values of another shape, or a gradient that is not finite.
    """
    for iteration in range(iterations):
        flat = x.flatten(0, 1) if x.dim() > scale.dim() else x
        gradient = _gradient(value, flat)
        if backward is not None:
            gradient = backward(gradient)
        if not gradient.isfinite().all():
            with torch.enable_grad(), torch.autograd.set_detect_anomaly(mode=True, check_nan=False):
                value(flat.detach().requires_grad_())  # checked rewards now raise, with their name
            raise ConfigError(
                "Guidance needs a finite gradient; got one that is not. The usual cause is a "
                "square root, a logarithm or a division at 0 in a reward. Otherwise a weight, a "
                "setting or the denoiser is not finite or too large."
            )
        if x.dim() > scale.dim():
            gradient = gradient.view(x.shape).mean(0)
        share = 1 - iteration / iterations if anneal else 1.0
        bound = share * torch.as_tensor(max_move, dtype=x.dtype, device=x.device)
        x = x + torch.minimum(torch.maximum(scale * gradient, -bound), bound)
    return x


def _gradient(value: Value, x: torch.Tensor) -> torch.Tensor:
    """The gradient of the sum of ``value`` at ``x`` [S, ...]."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        values = value(leaf)
        if values.shape != leaf.shape[:1]:
            raise ConfigError(
                f"A value must be one number per sequence, [{len(leaf)}] here; got "
                f"{list(values.shape)}. Sum or average over the other dimensions."
            )
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return gradient
