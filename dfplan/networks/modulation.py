"""Conditioning of a network on the noise level of each token: adaptive layer norms and gates.

This is adaptive layer norm as in DiT (arXiv 2212.09748, section 3.2), with one level for each token
instead of one for each sample. Levels are integers, so a network computes scales, shifts and gates
once for all K+1 levels and looks them up for each token. That costs a fraction of computing them
for each token. ``W`` is the width of a token inside the network.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError, require_numbers

_MAX_LAYERS = 1000


def require_sizes(layers: int, **sizes: int) -> None:
    """Raise :class:`ConfigError` unless sizes of a network are at least 1.

    More than 1000 layers are an error too: their number would only be noticed while building them.
    """
    require_numbers({**sizes}, integer=True, minimum=1)
    require_numbers({"layers": layers}, integer=True, minimum=1, maximum=_MAX_LAYERS)


def at_levels(level: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Look up the rows [B, T, V] of ``table`` [K+1, V] at ``level`` int [B, T].

    Raises:
        ConfigError: a level is less than 0 or more than K.
    """
    try:
        return F.embedding(level, table)
    except IndexError as error:  # cheaper than a check in every sampling step
        raise ConfigError(
            f"Levels of this network lie between 0, clean, and {len(table) - 1}, pure noise; got "
            f"{int(level.min())} to {int(level.max())}. Use the schedule that it was trained with."
        ) from error


def level_features(max_level: int, width: int) -> torch.Tensor:
    """Return sinusoidal features of the K+1 levels, float [K+1, width]."""
    level = torch.linspace(0.0, 1.0, max_level + 1, dtype=torch.float32)
    angle = 1000.0 * level[:, None] * _frequencies(width)
    return as_network_dtype(torch.cat([angle.cos(), angle.sin()], dim=-1))


def level_embedding(width: int) -> nn.Sequential:
    """Build the network from :func:`level_features` to learned features, both [..., width]."""
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())


def modulated_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return ``(1 + scale) * layer_norm(x) + shift``; all [B, T, W]."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def modulated_perceptron(
    x: torch.Tensor,
    up: nn.Linear,
    down: nn.Linear,
    modulation: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """Return ``x + gate * down(gelu(up(modulated_norm(x, scale, shift))))``.

    Args:
        x: [B, T, W].
        up: linear layer from W to the hidden width.
        down: linear layer from the hidden width to W.
        modulation: (scale, shift, gate), each [B, T, W].
    """
    scale, shift, gate = modulation
    inner = F.gelu(up(modulated_norm(x, scale, shift)), approximate="tanh")
    changed: torch.Tensor = x + gate * down(inner)
    return changed


def frequencies(width: int) -> torch.Tensor:
    """Return the frequencies of sinusoids, from 1 down to almost 1 / 10,000; [width / 2]."""
    return as_network_dtype(_frequencies(width))


def _frequencies(width: int) -> torch.Tensor:
    half = width // 2
    rate = -torch.log(torch.tensor(10000.0, dtype=torch.float32)) / half
    return torch.exp(torch.arange(half, dtype=torch.float32) * rate)


def as_network_dtype(values: torch.Tensor) -> torch.Tensor:
    """Convert float32 ``values`` to the default dtype, but to at least float32."""
    return values.to(torch.promote_types(torch.get_default_dtype(), torch.float32))
