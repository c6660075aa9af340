"""Transformer that is told the noise level of every token."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError


class Transformer(nn.Module):
    """Non-causal transformer over tokens; each token's level modulates its layer norms.

    Adaptive layer norm follows DiT (arXiv 2212.09748, section 3.2), with a level per token
    instead of one per sample. Rotary position embedding (arXiv 2104.09864) makes attention
    depend on the distance between tokens alone, so there is no longest sequence.

    Levels are integers, so the modulation is computed once for each of the K+1 levels and
    looked up for each token, which costs a fraction of computing it per token.

    Args:
        features: D.
        max_level: K.
        width: of a token inside the network.
        layers: number of blocks.
        heads: attention heads; must divide ``width`` into even parts.
    """

    def __init__(
        self, features: int, max_level: int, width: int = 128, layers: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ConfigError(f"width must be a multiple of 2 * heads; got {width} and {heads}.")
        self.embed = nn.Linear(features, width)
        self.level_embedding = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.modulation = nn.Linear(width, width * (Block.MODULATIONS * layers + 2))
        self.head = nn.Linear(width, features)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.width = width
        levels = torch.linspace(0.0, 1.0, max_level + 1)
        self.register_buffer("level_features", _sinusoids(1000.0 * levels, width), persistent=False)
        self.level_features: torch.Tensor
        self._head_width = width // heads

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """``x`` [B, T, D] and ``level`` int [B, T] to the network's prediction [B, T, D]."""
        table = self.modulation(self.level_embedding(self.level_features))
        parts = F.embedding(level, table).chunk(Block.MODULATIONS * len(self.blocks) + 2, dim=-1)
        angles = _sinusoids(
            torch.arange(x.shape[1], device=x.device, dtype=torch.float32), self._head_width
        )
        hidden = self.embed(x)
        for index, block in enumerate(self.blocks):
            first = Block.MODULATIONS * index
            hidden = block(hidden, parts[first : first + Block.MODULATIONS], angles)
        prediction: torch.Tensor = self.head(_modulated_norm(hidden, *parts[-2:]))
        return prediction


class Block(nn.Module):
    """Attention and a two-layer perceptron, both scaled, shifted and gated by noise level."""

    MODULATIONS = 6

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(
        self, x: torch.Tensor, modulation: tuple[torch.Tensor, ...], angles: torch.Tensor
    ) -> torch.Tensor:
        """``x`` [B, T, W], six modulations [B, T, W], angles [T, W/heads] -> [B, T, W]."""
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation
        x = x + gate1 * self._attend(_modulated_norm(x, scale1, shift1), angles)
        inner = F.gelu(self.up(_modulated_norm(x, scale2, shift2)), approximate="tanh")
        changed: torch.Tensor = x + gate2 * self.down(inner)
        return changed

    def _attend(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            _rotate(query, angles), _rotate(key, angles), value
        )
        mixed: torch.Tensor = self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return mixed


def _modulated_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def _sinusoids(position: torch.Tensor, width: int) -> torch.Tensor:
    """Cosines, then sines, of each position at ``width / 2`` frequencies; [..., width]."""
    half = width // 2
    frequency = torch.exp(
        torch.arange(half, device=position.device) * (-torch.log(torch.tensor(10000.0)) / half)
    )
    angle = position[..., None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate each half-pair of features of [..., T, W] by the angles [T, W] (cosines, sines)."""
    cos, sin = angles.chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
