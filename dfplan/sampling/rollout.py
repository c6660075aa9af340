"""Rollout: generate tokens chunk by chunk, each added to the cache once it is clean."""

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
    """Continue ``context``, one chunk of tokens after the other.

    Each chunk is denoised from pure noise along ``matrix`` and then added to the cache. The
    cost of a network that caches is therefore proportional to the number of tokens. In chunks of
    one token this is next-token prediction (arXiv 2407.01392, section 3.3). The result
    equals that of processing the whole sequence each time, and a longer rollout starts with the
    tokens of a shorter one. Call it under ``torch.inference_mode()`` unless gradients through the
    whole rollout are needed.

    Args:
        denoiser: ``(x, level) -> clean estimate``, with a cache
            (:class:`~dfplan.networks.cache.CachedDenoiser`): ``planner.denoiser`` of a causal
            network, or any other one in :class:`~dfplan.networks.cache.RecomputedCache`.
        context: the first tokens, [B, T, D]; T may be 0.
        level: their noise levels, int [B, T].
        tokens: number of tokens to generate; the last chunk is cut if it has more.
        matrix: scheduling matrix of one chunk, int [M+1, C] or [M+1, B, C]; its first row is K.
            ``scheduling_matrix("full_sequence", 1, K, steps)`` generates one token at a time.
        step: sampling step, such as :func:`~dfplan.sampling.steps.ddim`.
        generator: draws the noise that tokens start from, and that of steps.
        conditioning_level: noise level at which finished tokens enter the cache, although no noise
            is added to them. Sampled tokens have small errors. With level 0 the network treats
            them as exact, and a long rollout drifts away from the data; with a small level,
            0 < k << K, it corrects them (arXiv 2407.01392, section 3.3, "Stabilizing
            autoregressive generation").

    Returns:
        The new tokens, [B, ``tokens``, D].

    Raises:
        ConfigError: not one level per token of the context, no tokens to generate, a matrix that
            does not lead from one level to 0, a conditioning level that is not below its first
            level, or a denoiser without a cache.
    """
    cached = require_cache(denoiser)
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
            "In a rollout the first row of the scheduling matrix must be pure noise, and "
            "conditioning_level must be at least 0 and below it; got a first row "
            f"{matrix[0].tolist()} and conditioning_level {conditioning_level}."
        )
    batch, known, features = context.shape
    chunk = matrix.shape[-1]
    cache = cached.update_cache(context, level) if known else None
    finished = torch.full((batch, chunk), conditioning_level, device=level.device)
    chunks: list[torch.Tensor] = []
    while len(chunks) * chunk < tokens:
        if chunks:
            cache = cached.update_cache(chunks[-1], finished, cache)
        shape, dtype, device = (batch, chunk, features), context.dtype, context.device
        noise = torch.randn(shape, generator=generator, dtype=dtype, device=device)
        continuation = partial(cached, cache=cache)
        chunks.append(sample(continuation, noise, matrix, step=step, generator=generator))
    return torch.cat(chunks, 1)[:, :tokens]
