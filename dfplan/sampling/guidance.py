"""Guidance: wrap a denoiser so that its clean estimates have a higher reward.

:func:`guide` and :func:`guide_through` differ in where they take the gradient of the reward;
:func:`monte_carlo` makes either of them average it over samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, require_name, require_numbers
from dfplan.registry import Registry
from dfplan.sampling.monte_carlo import draw_samples, estimate_samples
from dfplan.types import Denoiser

Value = Callable[[torch.Tensor], torch.Tensor]
"""Reward of clean tokens: float [B, T, D] -> [B], differentiable."""


@dataclass(frozen=True)
class GuidanceSettings:
    """Strength and kind of the guidance.

    Attributes:
        scale: step size along the reward's gradient; 0 disables guidance.
        iterations: number of gradient steps on each clean estimate. With the method ``denoiser``
            one is enough: each step costs a backward pass through the same network call.
        max_move: largest change of a number in one gradient step, in the reward's units. It
            prevents a large scale from destroying a plan.
        method: where the reward's gradient is taken: ``estimate``, with respect to the clean
            estimate, or ``denoiser``, with respect to the noisy tokens, through the network.
        mc_sample_steps: network calls for each sample of Monte Carlo guidance. With 1 the samples
            are clean estimates; with more they are drawn (:func:`monte_carlo`).
    """

    scale: float = 1.0
    iterations: int = 1
    max_move: float = 0.1
    method: str = "estimate"
    mc_sample_steps: int = 1

    def __post_init__(self) -> None:
        require_numbers(vars(self), "scale", minimum=0)
        require_numbers(vars(self), "iterations", "mc_sample_steps", integer=True, minimum=1)
        require_numbers(vars(self), "max_move", above=0, maximum=math.inf)
        require_name("guidance", self.method, GUIDANCES)
        if self.method == "denoiser" and self.mc_sample_steps > 1:
            raise ConfigError(
                "Guidance through the denoiser needs mc_sample_steps=1; got "
                f"{self.mc_sample_steps}. The gradient of a drawn sample does not show how x "
                "changes the probability of its mode."
            )


@dataclass(frozen=True)
class Samples:
    """Draws what the tokens may become, N times, at each call of a guided denoiser.

    Attributes:
        count: N.
        steps: network calls for each sample; 1 approximates samples by clean estimates.
        generator: draws the noise; may be None for one estimate.
    """

    count: int = 1
    steps: int = 1
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or ((self.count > 1 or self.steps > 1) and self.generator is None):
            raise ConfigError(
                f"Monte Carlo guidance needs N >= 1 and a generator; got N={self.count}."
            )

    def draw(
        self,
        denoiser: Denoiser,
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        schedule: NoiseSchedule,
    ) -> torch.Tensor:
        """The samples [N, B, T, D]; of estimates the first is ``clean`` itself."""
        if self.steps > 1 and self.generator is not None:
            return draw_samples(
                denoiser, x, level, schedule, self.count, self.steps, self.generator
            )
        return estimate_samples(denoiser, clean, level, schedule, self.count, self.generator)

    def moved(
        self, clean: torch.Tensor, samples: torch.Tensor, moved: torch.Tensor
    ) -> torch.Tensor:
        """The clean estimate, moved as the samples were, all of which moved alike."""
        return clean + (moved - samples)[0] if self.steps > 1 else moved[0]


ONE_ESTIMATE = Samples()


class Guidance(Protocol):
    """Wraps a denoiser so that each clean estimate is moved along the gradient of ``value``.

    With scale 0 it returns ``denoiser`` itself. Clean tokens do not move.

    Args:
        denoiser: to wrap.
        value: reward of clean tokens.
        schedule: the noise schedule.
        settings: strength of the guidance.
        unit: the size of 1 of each feature of a token in the reward's units, float [D]; by default
            1. The gradient step is made in these units, so it does not depend on the normalization
            of tokens.
        weight: factor on the scale of each sequence, float [B]; by default 1.
        samples: over which the gradient is averaged; by default the clean estimate alone.

    Raises:
        ConfigError: when called: the values are not one per sequence, or a gradient is not finite.
    """

    def __call__(
        self,
        denoiser: Denoiser,
        value: Value,
        schedule: NoiseSchedule,
        settings: GuidanceSettings,
        *,
        unit: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
        samples: Samples = ONE_ESTIMATE,
    ) -> Denoiser: ...


def guide(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    *,
    unit: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    samples: Samples = ONE_ESTIMATE,
) -> Denoiser:
    """Guide by the gradient with respect to the clean estimate; see :class:`Guidance`.

    No backward pass through the network is needed (loss-guided diffusion, ICML 2023). The gradient
    is scaled by ``alpha`` of the token's level, since an estimate from pure noise contains little
    information about the plan.
    """
    if settings.scale == 0:
        return denoiser

    def guided(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        clean = denoiser(x, level)
        drawn = samples.draw(denoiser, x, clean, level, schedule)
        scale = _scale(schedule.alpha[level], level, settings, weight)
        scale = scale if unit is None else scale / unit.square()
        moved = gradient_ascent(
            value, drawn, scale, settings.iterations, _max_move(settings, unit, x)
        )
        return samples.moved(clean, drawn, moved)

    return guided


def guide_through(
    denoiser: Denoiser,
    value: Value,
    schedule: NoiseSchedule,
    settings: GuidanceSettings,
    *,
    unit: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    samples: Samples = ONE_ESTIMATE,
) -> Denoiser:
    """Guide by the gradient with respect to the noisy tokens; see :class:`Guidance`.

    Let ``g`` be the gradient of ``value(denoiser(x, level))`` with respect to the noisy tokens x.
    As in classifier guidance (arXiv 2105.05233, algorithm 2; arXiv 2407.01392, section 3.4), the
    estimated noise is replaced by ``noise - scale * sigma * g``. Since
    ``x = alpha * clean + sigma * noise`` on every schedule, the estimate becomes ::

        clean + scale * sigma ** 2 / alpha * g

    Tokens without a reward of their own are guided by what they imply about the others. For an
    optimal denoiser the Jacobian is ``alpha / sigma ** 2`` times the covariance of the clean
    tokens given x, so the move is ``scale`` times this covariance times the reward's gradient. It
    is bounded at every level. To first order in ``scale`` it samples the data reweighted by
    ``exp(scale * value)``. At pure noise the factor is 0 / 0 and a trained network's g is not
    exactly 0; such tokens are not moved, and at slightly lower levels ``max_move`` limits the
    move. ``unit`` only affects ``max_move``.

    The denoiser must be differentiable in x; its parameters get no gradient.

    Raises:
        ConfigError: when called: also if the denoiser has no gradient.
    """
    if settings.scale == 0:
        return denoiser

    def guided(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        calls = _RecordedCalls(denoiser)
        clean = calls(x, level)
        drawn = samples.draw(calls, x, clean, level, schedule)
        alpha = schedule.alpha[level]
        share = torch.where(alpha > 0, schedule.sigma[level].square() / alpha, 0.0)
        moved = gradient_ascent(
            value,
            drawn,
            _scale(share, level, settings, weight),
            settings.iterations,
            _max_move(settings, unit, x),
            backward=calls.backward,
        )
        return samples.moved(clean, drawn, moved)

    return guided


def monte_carlo(
    guidance: Guidance, count: int, steps: int = 1, *, generator: torch.Generator
) -> Guidance:
    """Monte Carlo guidance (arXiv 2407.01392, section 3.4): guide by the expected reward.

    A token is guided by the reward expected over samples of what may follow. Samples of all tokens
    are drawn at once, and their gradients, each with respect to its own clean estimate or noisy
    tokens, are averaged. There are two kinds of samples (:mod:`dfplan.sampling.monte_carlo`):

    - ``steps`` 1: one is the current estimate, the others are N - 1 estimates after adding noise
      again. The variance of the guidance is ``(N - 1) / N ** 2`` times that of one of them. If the
      data has two modes, the estimate at pure noise is their mean for any noise, and the average
      over N does not show the reward of either mode.
    - More: all N are drawn in that many steps. Their mean gradient is an unbiased estimate of the
      expected gradient, with 1 / N of the variance. The current estimate is moved; N = 1 guides by
      one drawn sample. Not for :func:`guide_through`: a drawn sample in one mode no longer depends
      smoothly on x, so the mean gradient misses how x changes the probabilities of the modes.

    Args:
        guidance: :func:`guide` or :func:`guide_through`.
        count: N. The network is called with N sequences instead of one, or with
            ``1 + N * steps`` if samples are drawn.
        steps: network calls for each sample.
        generator: draws the noise of samples.

    Raises:
        ConfigError: N is below 1.
    """
    return partial(guidance, samples=Samples(count, steps, generator))


GUIDANCES: Registry[Guidance] = Registry(
    "guidance",
    {"estimate": guide, "denoiser": guide_through},
)
"""Guidances by name. To add one, add its function."""


def _scale(
    share: torch.Tensor,
    level: torch.Tensor,
    settings: GuidanceSettings,
    weight: torch.Tensor | None,
) -> torch.Tensor:
    """The step size of each token, float [B, T, 1]; clean tokens do not move."""
    if weight is not None:
        share = share * weight[:, None]
    return settings.scale * share[..., None] * (level > 0)[..., None]


def _max_move(
    settings: GuidanceSettings, unit: torch.Tensor | None, x: torch.Tensor
) -> torch.Tensor:
    """The largest change of each number of a token in one gradient step, normalized."""
    max_move = torch.tensor(settings.max_move, dtype=x.dtype, device=x.device)
    return max_move if unit is None else max_move / unit


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
                "Guidance through the denoiser needs a denoiser that is differentiable in the "
                "noisy tokens; the estimates of this one have no gradient. Remove no_grad() and "
                "detach() from it, or use the guidance 'estimate'."
            )
        self.noisy.append(noisy)
        self.clean.append(clean)
        return clean.detach()

    def backward(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to the noisy tokens of all calls.

        Args:
            gradient: with respect to the estimates of all calls in order, [S, T, D].
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
        value: to increase, [S, ...] -> [S].
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
