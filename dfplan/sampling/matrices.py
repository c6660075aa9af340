"""Scheduling matrices: which token has which noise level at which row of a sampling run.

A matrix is int [M+1, T]; row m holds each token's level after m steps. Levels never rise from
one row to the next (arXiv 2407.01392, section 3.3). The first token, the context, stays clean;
tokens past the horizon stay pure noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfplan.errors import ConfigError, unknown_name

Matrix = Callable[[int, int, int], torch.Tensor]
"""(tokens to denoise, K, steps from noise to clean) -> int [M+1, tokens]."""


def full_sequence(tokens: int, max_level: int, steps: int) -> torch.Tensor:
    """All tokens together, as in full-sequence diffusion; M = ``steps``."""
    return _grid(torch.zeros(tokens, dtype=torch.long), max_level, steps)


def autoregressive(tokens: int, max_level: int, steps: int) -> torch.Tensor:
    """One token after the other; M = ``tokens * steps``."""
    return _grid(torch.arange(tokens) * steps, max_level, steps)


def pyramid(tokens: int, max_level: int, steps: int) -> torch.Tensor:
    """Each token one step behind the one before, so the near future is certain first.

    M = ``steps + tokens - 1`` (arXiv 2407.01392, figure 3, "zig-zag").
    """
    return _grid(torch.arange(tokens), max_level, steps)


MATRICES: dict[str, Matrix] = {
    "full_sequence": full_sequence,
    "autoregressive": autoregressive,
    "pyramid": pyramid,
}


def scheduling_matrix(name: str, tokens: int, max_level: int, steps: int) -> torch.Tensor:
    """The matrix called ``name``, int [M+1, tokens].

    Raises:
        ConfigError: an unknown name, no token, or a number of steps outside 1 to K.
    """
    if name not in MATRICES:
        raise unknown_name("scheduling matrix", name, MATRICES)
    if tokens < 1:
        raise ConfigError(f"A scheduling matrix needs at least 1 token; got {tokens}.")
    if not 1 <= steps <= max_level:
        raise ConfigError(f"Sampling steps must lie between 1 and {max_level}; got {steps}.")
    return MATRICES[name](tokens, max_level, steps)


def _grid(delay: torch.Tensor, max_level: int, steps: int) -> torch.Tensor:
    """Levels when token t starts its ``steps`` steps at row ``delay[t]``."""
    row = torch.arange(int(delay.max()) + steps + 1)
    done = (row[:, None] - delay).clamp(0, steps)
    return ((steps - done) * max_level / steps).round().long()
