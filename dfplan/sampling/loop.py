"""The sampling loop. A denoiser is any callable."""

from __future__ import annotations

from itertools import pairwise

import torch

from dfplan.types import Denoiser, SampleCallback, Step


def sample(
    denoiser: Denoiser,
    x: torch.Tensor,
    matrix: torch.Tensor,
    *,
    step: Step,
    generator: torch.Generator,
    callback: SampleCallback | None = None,
) -> torch.Tensor:
    """Denoise tokens along a scheduling matrix.

    Args:
        denoiser: ``(x, level) -> clean estimate``.
        x: tokens at the levels of the matrix's first row, [B, T, D].
        matrix: noise levels, int [M+1, T], or [M+1, B, T] if the sequences differ. It is not
            checked here; see :func:`~dfplan.sampling.matrices.check_matrix`.
        step: takes the tokens whose level falls from one row to the next.
        generator: for steps that draw noise.
        callback: called with the tokens, the clean estimate and the levels of each row.

    Returns:
        Tokens at the levels of the last row, [B, T, D].
    """
    if matrix.dim() == 2:
        matrix = matrix[:, None].expand(-1, len(x), -1)
    previous = None
    for level, next_level in pairwise(matrix):
        clean = denoiser(x, level)
        stepped = step(x, clean, level, next_level, generator, previous)
        x = torch.where((next_level < level)[..., None], stepped, x)
        previous = clean, level
        if callback is not None:
            callback(x, clean, next_level)
    return x
