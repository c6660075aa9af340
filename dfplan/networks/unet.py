"""Temporal U-Net: one-dimensional convolutions over time at several resolutions."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.modulation import as_network_dtype, at_levels

_GROUPS = 8


class TemporalUnet(nn.Module):
    """The network of Diffuser (arXiv 2205.09991, appendix C).

    Residual blocks of convolutions over time, first at coarser and coarser resolutions and then
    back, with skip connections. As in Diffuser, all blocks get one noise level for the whole
    sequence: the highest level of its tokens. So the network can recognize known tokens (level 0)
    only by their content.

    With ``level_per_token``, each block gets the level of each token; at coarser resolutions, the
    mean of the embedded levels of the tokens that were merged. The parameters are the same. T is
    then arbitrary: the input is padded to a multiple of ``stride`` with zeros at level K, and the
    padding is removed from the output.

    Args:
        features: D.
        max_level: K.
        width: channels of the finest resolution; a multiple of 8.
        multiples: channels of each resolution, as multiples of ``width``. Each resolution after the
            first halves the number of tokens, so without ``level_per_token`` T must be a multiple
            of ``stride``.
        level_per_token: condition on the level of each token instead of the highest level.

    Attributes:
        stride: ``2 ** (len(multiples) - 1)``.
    """

    def __init__(
        self,
        features: int,
        max_level: int,
        width: int = 32,
        multiples: tuple[int, ...] = (1, 4, 8),
        *,
        level_per_token: bool = False,
    ) -> None:
        super().__init__()
        counts = {"features": features, "max_level": max_level, "width": width}
        counts |= {f"multiple {place}": multiple for place, multiple in enumerate(multiples)}
        require_numbers(counts, integer=True, minimum=1)
        if width % _GROUPS or len(multiples) < 2:
            raise ConfigError(
                f"A U-Net needs a width that is a multiple of {_GROUPS} and at least 2 multiples; "
                f"got width {width} and multiples {multiples}."
            )
        self.stride = 2 ** (len(multiples) - 1)
        self.level_per_token = level_per_token
        sizes = [features, *(width * multiple for multiple in multiples)]
        pairs = list(pairwise(sizes))
        self.level_embedding = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width), nn.Mish()
        )
        self.down = nn.ModuleList(_Stage(n, m, width) for n, m in pairs)
        self.shrink = nn.ModuleList(nn.Conv1d(n, n, 3, stride=2, padding=1) for n in sizes[1:-1])
        self.middle = _Stage(sizes[-1], sizes[-1], width)
        self.up = nn.ModuleList(_Stage(2 * m, n, width) for n, m in reversed(pairs[1:]))
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(n, n, 4, stride=2, padding=1) for n in reversed(sizes[1:-1])
        )
        self.last = _ConvBlock(sizes[1], sizes[1])
        self.head = nn.Conv1d(sizes[1], features, 1)
        share = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float32)
        angle = torch.arange(max_level + 1)[:, None] * torch.exp(-math.log(10000.0) * share)
        features_of_level = as_network_dtype(torch.cat([angle.sin(), angle.cos()], 1))
        self.register_buffer("level_features", features_of_level, persistent=False)
        self.level_features: torch.Tensor

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Predict the target of each token, [B, T, D].

        Args:
            x: noisy tokens [B, T, D].
            level: noise level of each token, int [B, T].

        Raises:
            ConfigError: T is not a multiple of ``stride`` and ``level_per_token`` is False.
        """
        tokens = x.shape[1]
        missing = -tokens % self.stride
        if not self.level_per_token:
            if missing:
                raise ConfigError(
                    f"This U-Net needs a multiple of {self.stride} tokens; got {tokens}. Pass "
                    "another number, or build it with level_per_token=True."
                )
            level = level.amax(1, keepdim=True)
        elif missing:
            x = F.pad(x, (0, 0, 0, missing))
            level = F.pad(level, (0, missing), value=len(self.level_features) - 1)
        embedded = [self.level_embedding(at_levels(level, self.level_features))]
        for _ in self.shrink:
            finer = embedded[-1]
            embedded.append(finer.unflatten(1, (-1, 2)).mean(2) if self.level_per_token else finer)
        hidden = x.transpose(1, 2)
        skips = []
        for index, stage in enumerate(self.down):
            hidden = stage(
                hidden if index == 0 else self.shrink[index - 1](hidden), embedded[index]
            )
            skips.append(hidden)
        hidden = self.middle(hidden, embedded[-1])
        for stage, grow in zip(self.up, self.grow, strict=True):
            hidden = grow(stage(torch.cat([hidden, skips.pop()], 1), embedded.pop()))
        prediction: torch.Tensor = self.head(self.last(hidden)).transpose(1, 2)
        return prediction[:, :tokens]


class _Stage(nn.Module):
    """Two residual blocks at one resolution: [B, C, T] -> [B, C', T]."""

    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.first = _ResidualBlock(channels, out_channels, width)
        self.second = _ResidualBlock(out_channels, out_channels, width)

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Apply both blocks to ``x`` [B, C, T] with embedded levels [B, T or 1, width]."""
        hidden: torch.Tensor = self.second(self.first(x, embedded), embedded)
        return hidden


class _ResidualBlock(nn.Module):
    """Two convolutions, a shift by the noise level between them, and a skip connection."""

    def __init__(self, channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.before = _ConvBlock(channels, out_channels)
        self.shift = nn.Linear(width, out_channels)
        self.after = _ConvBlock(out_channels, out_channels)
        same = channels == out_channels
        self.straight = nn.Identity() if same else nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        hidden = self.after(self.before(x) + self.shift(embedded).transpose(1, 2))
        mixed: torch.Tensor = hidden + self.straight(x)
        return mixed


class _ConvBlock(nn.Module):
    """Convolution over five tokens, group norm, Mish."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, out_channels, 5, padding=2)
        self.norm = nn.GroupNorm(_GROUPS, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(self.norm(self.convolution(x)))
