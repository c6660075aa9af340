"""How a network is told the noise level of every token: norms and gates that depend on it.

Adaptive layer norm as in DiT (arXiv 2212.09748, section 3.2), with a level per token instead of
one per sample. Levels are integers, so a network computes scales, shifts and gates once for each
of the K+1 levels and looks them up for each token, which costs a fraction of computing them per
token. ``W`` is the width of a token inside the network.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError

MOST_LAYERS = 1000
"""A network of more layers is taken for a mistake: its size is not known before it is built."""


def of_levels(level: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The rows [B, T, V] of ``table`` [K+1, V] at ``level`` int [B, T].

    Raises:
        ConfigError: a level outside 0 to K.
    """
    try:
        return F.embedding(level, table)
    except IndexError as error:  # not looked for beforehand, in every step of sampling
        raise ConfigError(
            f"Levels of this network lie between 0, clean, and {len(table) - 1}, pure noise; got "
            f"{int(level.min())} to {int(level.max())}. Use the schedule that it was trained with."
        ) from error


def level_features(max_level: int, width: int) -> torch.Tensor:
    """What each of the K+1 levels looks like to a network: float [K+1, width]."""
    level = torch.linspace(0.0, 1.0, max_level + 1, dtype=torch.float32)
    angle = 1000.0 * level[:, None] * _frequencies(width)
    return as_table(torch.cat([angle.cos(), angle.sin()], dim=-1))


def level_embedding(width: int) -> nn.Sequential:
    """Learned features [..., width] from those of :func:`level_features`."""
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def modulated_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Layer norm of ``x`` [B, T, W], scaled by ``1 + scale`` and shifted, both [B, T, W]."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def perceptron(
    x: torch.Tensor,
    up: nn.Linear,
    down: nn.Linear,
    modulation: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """``x`` [B, T, W] and, gated, two layers on its norm; scale, shift and gate [B, T, W]."""
    scale, shift, gate = modulation
    inner = F.gelu(up(modulated_norm(x, scale, shift)), approximate="tanh")
    changed: torch.Tensor = x + gate * down(inner)
    return changed


def frequencies(width: int) -> torch.Tensor:
    """Of sinusoids, from 1 down to nearly 1 / 10,000; [width / 2]."""
    return as_table(_frequencies(width))


def _frequencies(width: int) -> torch.Tensor:
    half = width // 2
    rate = -torch.log(torch.tensor(10000.0, dtype=torch.float32)) / half
    return torch.exp(torch.arange(half, dtype=torch.float32) * rate)


def as_table(values: torch.Tensor) -> torch.Tensor:
    """Float32 ``values`` as a network of the default dtype needs them; no number is rounded."""
    return values.to(torch.promote_types(torch.get_default_dtype(), torch.float32))
