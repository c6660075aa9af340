"""Joint denoising: one sequence of any length from a model of short windows."""

from __future__ import annotations

import math

import torch

from dfplan.errors import ConfigError
from dfplan.types import Denoiser


def join_windows(
    denoiser: Denoiser, window: int, overlap: int, max_level: int, generator: torch.Generator
) -> Denoiser:
    """A denoiser of sequences of any length, from one of at most ``window`` tokens.

    A longer sequence is covered by windows, of which neighbors share at least ``overlap`` tokens.
    All windows are denoised in one call. Where they overlap, the clean estimate is their weighted
    mean. The weight of a window is the square of the distance to its nearer inner end, where it
    sees least of the sequence. So the windows agree after each step (compare arXiv 2303.17076,
    2503.05153). Each token keeps its own noise level in every window.

    The first token of a window is special: it holds its frame several times
    (:mod:`dfplan.tokens.layout`). In all windows but the first it is therefore pure noise, which
    tells nothing, and its estimate is not used.

    The result is approximate: an estimate depends on its window alone, and not on what lies beyond.
    It is better the longer the overlap is beside the length over which tokens depend on each other.

    Args:
        denoiser: of windows.
        window: W, tokens of a window, the first one included.
        overlap: tokens that neighboring windows share, from 1 to W - 2.
        max_level: K, the level of pure noise.
        generator: draws the noise of first tokens, once.

    Raises:
        ConfigError: an impossible overlap.
    """
    if not 1 <= overlap <= window - 2:
        raise ConfigError(
            f"Windows of {window} tokens can share 1 to {window - 2} tokens; got {overlap}."
        )
    noise: list[torch.Tensor] = []

    def denoise(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        if length <= window:
            return denoiser(x, level)
        if not noise:
            noise.append(torch.randn(width, generator=generator, dtype=x.dtype))
        index, weight = _windows(length, window, overlap)
        weight = weight.to(x.dtype)
        parts, levels = x[:, index].clone(), level[:, index].clone()
        parts[:, 1:, 0], levels[:, 1:, 0] = noise[0], max_level
        shape = batch, *index.shape
        clean = denoiser(parts.flatten(0, 1), levels.flatten(0, 1)).view(*shape, width)
        total = torch.zeros_like(x).index_add_(
            1, index.flatten(), (clean * weight[..., None]).flatten(1, 2)
        )
        return total / x.new_zeros(length).index_add_(0, index.flatten(), weight.flatten())[:, None]

    return denoise


def window_count(length: int, window: int, overlap: int) -> int:
    """Number of windows that :func:`join_windows` needs for ``length`` tokens."""
    # The first token of all windows but the first is not used.
    return 1 + max(0, math.ceil((length - window) / (window - 1 - overlap)))


def _windows(length: int, window: int, overlap: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the tokens of each window, int [n, W], and their weights, float [n, W]."""
    count = window_count(length, window, overlap)
    starts = torch.linspace(0, length - window, count, dtype=torch.float64).round().long()
    place = torch.arange(window)
    weight = torch.minimum(place, window - place).float().repeat(count, 1)
    weight[0] = (window - place).float()
    weight[-1] = place.float()
    return starts[:, None] + place, weight.square()
