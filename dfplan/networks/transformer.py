"""Transformer with a noise level for each token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.modulation import (
    at_levels,
    frequencies,
    level_embedding,
    level_features,
    modulated_norm,
    modulated_perceptron,
    require_sizes,
)
from dfplan.record import Record

KeyValue = tuple[torch.Tensor, torch.Tensor]
"""Rotated keys, and values, of one layer; each [B, heads, T, W / heads]."""

Rotation = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the rotary angles of T positions, each [T, W / heads / 2]."""


@dataclass(frozen=True)
class AttentionCache(Record):
    """What a causal transformer keeps of the earlier tokens.

    Attributes:
        modulations: scales, shifts and gates of all levels, [K+1, V]. They do not depend on the
            tokens, but computing them is most of the work for a single token.
        layers: keys and values of each layer.
    """

    modulations: torch.Tensor
    layers: tuple[KeyValue, ...]

    @property
    def tokens(self) -> int:
        """Number of cached tokens."""
        return self.layers[0][0].shape[2]


class Transformer(nn.Module):
    """Transformer whose layer norms are modulated by the level of each token.

    The modulation is described in :mod:`dfplan.networks.modulation`. Rotary position embedding
    (arXiv 2104.09864) makes attention depend only on the distance between tokens, so there is no
    maximum length.

    A causal network can cache the earlier tokens (:class:`~dfplan.networks.cache.CachedDenoiser`):
    the keys and values of each layer, for all tokens or, with a window, for the last
    ``window - 1``, which are all that the next token attends to. Positions are counted from the
    oldest cached token, so a rollout with a window has no maximum length.

    Args:
        features: D.
        max_level: K.
        width: width of a token inside the network; a multiple of ``2 * heads``.
        layers: number of blocks.
        heads: number of attention heads.
        causal: whether a token attends only to itself and earlier tokens.
        window: number of tokens that each layer of a causal network attends to, including the token
            itself. All layers together reach ``layers * (window - 1)`` tokens back. None for no
            limit.
    """

    def __init__(
        self,
        features: int,
        max_level: int,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        *,
        causal: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        require_sizes(layers, features=features, max_level=max_level, width=width, heads=heads)
        if width % (2 * heads):
            raise ConfigError(f"width must be a multiple of 2 * heads; got {width} and {heads}.")
        if window is not None:
            require_numbers({"window": window}, integer=True, minimum=1)
            if not causal:
                raise ConfigError(f"A window needs causal=True; got window={window} without it.")
        self.embed = nn.Linear(features, width)
        self.level_embedding = level_embedding(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.modulation = nn.Linear(width, width * (Block.MODULATIONS * layers + 2))
        self.head = nn.Linear(width, features)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.width = width
        self.causal = causal
        self.window = window
        self.register_buffer("level_features", level_features(max_level, width), persistent=False)
        self.level_features: torch.Tensor
        self.register_buffer("frequencies", frequencies(width // heads), persistent=False)
        self.frequencies: torch.Tensor

    def forward(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        cache: AttentionCache | None = None,
        *,
        clean: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the target of each token, [B, T, D].

        With ``clean`` the network does parallel teacher forcing: the prediction for each token is
        that for the token alone after all earlier tokens of ``clean``. So next-token diffusion is
        trained at all positions at once.

        Args:
            x: noisy tokens [B, T, D]; with a cache, those that follow the cached ones.
            level: noise level of each token, int [B, T].
            cache: result of :meth:`update_cache`.
            clean: the same tokens without noise, [B, T, D].

        Raises:
            ConfigError: there is a cache or ``clean``, but the network is not causal.
        """
        if clean is None:
            return self._run(x, level, cache)[0]
        context = self._run(clean, torch.zeros_like(level), cache)[1]
        return self._run(x, level, context, parallel=True)[0]

    def update_cache(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        cache: AttentionCache | None = None,
    ) -> AttentionCache:
        """Return the cache of the earlier tokens and ``x`` [B, T, D] at ``level`` int [B, T].

        Raises:
            ConfigError: the network is not causal.
        """
        self._require_causal()
        full = self._run(x, level, cache)[1]
        if self.window is None:
            return full
        dropped = max(0, full.tokens - self.window + 1)
        back = self._rotation(torch.tensor([-dropped], device=x.device))
        # Copies, because views would keep the dropped tokens in memory.
        layers = tuple(
            (_rotate(k[:, :, dropped:], back), v[:, :, dropped:].clone()) for k, v in full.layers
        )
        return AttentionCache(full.modulations, layers)

    def _run(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        cache: AttentionCache | None,
        *,
        parallel: bool = False,
    ) -> tuple[torch.Tensor, AttentionCache]:
        """Return the prediction, and the cache of the cached and the new tokens.

        With ``parallel``, the new tokens have the positions of the last cached tokens. Each attends
        to itself and to the cached tokens before its position.
        """
        if cache is None:
            cached = 0
            modulations = self.modulation(self.level_embedding(self.level_features))
        else:
            self._require_causal()
            cached, modulations = cache.tokens, cache.modulations
        parts = at_levels(level, modulations).chunk(
            Block.MODULATIONS * len(self.blocks) + 2, dim=-1
        )
        first = cached - x.shape[1] if parallel else cached
        positions = torch.arange(first, first + x.shape[1], device=x.device)
        rotation = self._rotation(positions)
        mask = self._mask(positions, cached, parallel)
        hidden = self.embed(x)
        layers = []
        for index, block in enumerate(self.blocks):
            start = Block.MODULATIONS * index
            modulation = parts[start : start + Block.MODULATIONS]
            earlier = None if cache is None else cache.layers[index]
            hidden, key_value = block(hidden, modulation, rotation, mask, earlier)
            layers.append(key_value)
        prediction: torch.Tensor = self.head(modulated_norm(hidden, *parts[-2:]))
        return prediction, AttentionCache(modulations, tuple(layers))

    def _rotation(self, positions: torch.Tensor) -> Rotation:
        angle = positions.float()[:, None] * self.frequencies
        return angle.cos(), angle.sin()

    def _mask(self, positions: torch.Tensor, cached: int, parallel: bool) -> torch.Tensor | None:
        """Which tokens each new token attends to: bool [T, cached + T].

        Args:
            positions: where the new tokens are in the sequence, int [T].
            cached: number of tokens in the cache.
            parallel: whether a new token attends to no other new one, only to cached tokens of
                earlier positions and to itself.

        Returns:
            The mask; None if each new token attends to all tokens.
        """
        if not self.causal or (len(positions) == 1 and not parallel):
            return None  # a single new token attends to all cached ones
        back = positions[:, None] - torch.cat(
            [torch.arange(cached, device=positions.device), positions]
        )
        earlier, new = back[:, :cached] > 0, back[:, cached:]
        mask = torch.cat([earlier, new == 0 if parallel else new >= 0], 1)
        return mask if self.window is None else mask & (back < self.window)

    def _require_causal(self) -> None:
        if not self.causal:
            raise ConfigError(
                "This transformer is not causal: its tokens attend to later ones, so earlier "
                "tokens cannot be cached. Build it with causal=True, or wrap it in RecomputedCache."
            )


class Block(nn.Module):
    """Attention and a two-layer perceptron, both scaled, shifted and gated by the noise level."""

    MODULATIONS = 6

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(
        self,
        x: torch.Tensor,
        modulation: tuple[torch.Tensor, ...],
        rotation: Rotation,
        mask: torch.Tensor | None,
        earlier: KeyValue | None,
    ) -> tuple[torch.Tensor, KeyValue]:
        """Apply the block.

        Args:
            x: [B, T, W].
            modulation: scale, shift and gate of the attention, then of the perceptron; [B, T, W].
            rotation: rotation by the positions of the T tokens.
            mask: which of the S cached and T new tokens each new token attends to, bool [T, S + T];
                None for all.
            earlier: keys and values of the cached tokens.

        Returns:
            (output [B, T, W], keys and values of the S + T tokens).
        """
        scale, shift, gate, *rest = modulation
        mixed, key_value = self._attend(modulated_norm(x, scale, shift), rotation, mask, earlier)
        output = modulated_perceptron(x + gate * mixed, self.up, self.down, tuple(rest))
        return output, key_value

    def _attend(
        self,
        x: torch.Tensor,
        rotation: Rotation,
        mask: torch.Tensor | None,
        earlier: KeyValue | None,
    ) -> tuple[torch.Tensor, KeyValue]:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        (query, key), value = _rotate(qkv[:2], rotation), qkv[2]
        if earlier is not None:
            key, value = torch.cat([earlier[0], key], 2), torch.cat([earlier[1], value], 2)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed: torch.Tensor = self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return mixed, (key, value)


def _rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotate [..., T, V]: feature i together with feature i + V / 2."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
