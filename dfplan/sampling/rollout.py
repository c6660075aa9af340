"""Rollout: token after token into the future, each remembered once it is clean."""

from __future__ import annotations

from functools import partial

import torch

from dfplan.errors import ConfigError
from dfplan.networks.cache import require_cache
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import check_matrix
from dfplan.types import Denoiser, Step


def rollout(
    denoiser: Denoiser,
    context: torch.Tensor,
    level: torch.Tensor,
    tokens: int,
    matrix: torch.Tensor,
    *,
    step: Step,
    generator: torch.Generator,
    conditioning_level: int = 0,
) -> torch.Tensor:
    """Go on from ``context``, one chunk of tokens after the other.

    A chunk is denoised from pure noise along ``matrix`` and then remembered, so that N tokens cost
    a network with a cache of its own in proportion to N. In chunks of one token this is
    next-token prediction (arXiv 2407.01392, section 3.3). The result equals that of
    showing the network the whole sequence each time, and the first tokens of a longer rollout are
    those of a shorter one. Unless gradients are wanted through all of it, call it under
    ``torch.inference_mode()``.

    Args:
        denoiser: ``(x, level) -> clean estimate``, and it remembers
            (:class:`~dfplan.networks.cache.CachedDenoiser`): ``planner.denoiser`` of a causal network,
            or any other in :class:`~dfplan.networks.cache.RecomputedCache`.
        context: tokens to go on from, [B, T, D]; T may be 0.
        level: noise level of each of them, int [B, T].
        tokens: how many more are wanted; the last chunk is cut where it has more.
        matrix: scheduling matrix of one chunk, int [M+1, C] or [M+1, B, C], its first row K: a
            token at a time is ``scheduling_matrix("full_sequence", 1, K, steps)``.
        step: takes the tokens whose level falls from one row to the next.
        generator: draws the noise that tokens start from, and that of steps.
        conditioning_level: the level at which finished tokens are remembered, although no noise is added
            to them. A token that was sampled is a little wrong; told as clean it is believed, and
            a long rollout drifts away from the data, told at a small level, 0 < k << K, it is
            believed less (arXiv 2407.01392, section 3.3, "Stabilizing autoregressive generation").

    Returns:
        The new tokens, [B, ``tokens``, D].

    Raises:
        ConfigError: not one level a token of the context, no tokens wanted, a matrix that does
            not lead from one level to 0, a told level that is not below its first, or a denoiser
            without a cache.
    """
    memorizing = require_cache(denoiser)
    if context.dim() != 3 or level.shape != context.shape[:2] or tokens < 1:
        raise ConfigError(
            "A rollout needs a context [B, T, D], the level of each of its tokens [B, T], and at "
            f"least 1 token to generate; got {list(context.shape)}, {list(level.shape)} and "
            f"{tokens}."
        )
    pure_noise = int(matrix.max())
    check_matrix(matrix, pure_noise)
    if (matrix[0] < pure_noise).any() or not 0 <= conditioning_level < pure_noise:
        raise ConfigError(
            "In a rollout all tokens of a chunk start from pure noise, the first row of the "
            "scheduling matrix, and are remembered at a level from 0 to below that; got a first "
            f"row {matrix[0].tolist()} and conditioning_level {conditioning_level}."
        )
    batch, known, features = context.shape
    chunk = matrix.shape[-1]
    cache = memorizing.update_cache(context, level) if known else None
    told = torch.full((batch, chunk), conditioning_level, device=level.device)
    done: list[torch.Tensor] = []
    while len(done) * chunk < tokens:
        if done:
            cache = memorizing.update_cache(done[-1], told, cache)
        shape, dtype, device = (batch, chunk, features), context.dtype, context.device
        noise = torch.randn(shape, generator=generator, dtype=dtype, device=device)
        follows = partial(memorizing, cache=cache)
        done.append(sample(follows, noise, matrix, step=step, generator=generator))
    return torch.cat(done, 1)[:, :tokens]
