"""Transformer that is told the noise level of every token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.modulation import (
    MOST_LAYERS,
    frequencies,
    level_embedding,
    level_features,
    modulated_norm,
    of_levels,
    perceptron,
)
from dfplan.record import Record

KeyValue = tuple[torch.Tensor, torch.Tensor]
"""Keys, rotated by their places, and values of one layer, each [B, heads, T, W / heads]."""

Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the angles by which places rotate half-pairs of features, [T, V / 2]."""


@dataclass(frozen=True)
class AttentionMemory(Record):
    """What a causal transformer keeps of the tokens it was told of.

    Attributes:
        modulations: of all levels, [K+1, V]; the same for all tokens, but most of the work for a
            single one.
        layers: keys and values of each layer.
    """

    modulations: torch.Tensor
    layers: tuple[KeyValue, ...]

    @property
    def tokens(self) -> int:
        """How many tokens are kept."""
        return self.layers[0][0].shape[2]


class Transformer(nn.Module):
    """Transformer over tokens; each token's level modulates its layer norms.

    The modulation is described in :mod:`dfplan.networks.modulation`. Rotary position embedding
    (arXiv 2104.09864) makes attention depend on the distance between tokens alone, so there is no
    longest sequence.

    A causal network, in which no token hears of later ones, can remember what it has seen
    (:class:`~dfplan.networks.cache.Remembers`): for each layer the keys and values of the tokens
    so far, or, with a window, of the last ``window - 1`` of them, which is all that a next token
    looks at. Places are counted from the oldest token that is kept, so a rollout through a window
    can go on for ever.

    Args:
        features: D.
        max_level: K.
        width: of a token inside the network.
        layers: number of blocks.
        heads: attention heads; must divide ``width`` into even parts.
        causal: whether a token hears only of itself and of those before it.
        window: with ``causal``, how many tokens each layer looks at, the token itself included;
            over all layers a token hears of ``layers * (window - 1)`` before it. None: all.
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
        sizes = {"features": features, "max_level": max_level, "width": width}
        require_numbers({**sizes, "heads": heads}, whole=True, least=1)
        require_numbers({"layers": layers}, whole=True, least=1, most=MOST_LAYERS)
        if width % (2 * heads):
            raise ConfigError(f"width must be a multiple of 2 * heads; got {width} and {heads}.")
        if window is not None:
            require_numbers({"window": window}, whole=True, least=1)
            if not causal:
                raise ConfigError(
                    f"A window looks back alone, which needs causal=True; got window={window} "
                    "without it."
                )
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
        memory: AttentionMemory | None = None,
        *,
        clean: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``x`` [B, T, D] and ``level`` int [B, T] to the network's prediction [B, T, D].

        Args:
            x: tokens; with a memory, those that follow what was remembered.
            level: noise level of each.
            memory: from :meth:`remember`.
            clean: the same tokens without noise, [B, T, D]. Of each token is then said what would
                be said of it alone, after those of ``clean`` that come before it: next-token
                diffusion trained at all places at once (teacher forcing).

        Raises:
            ConfigError: a memory or ``clean`` for a network that is not causal.
        """
        if clean is None:
            return self._pass(x, level, memory)[0]
        past = self._pass(clean, torch.zeros_like(level), memory)[1]
        return self._pass(x, level, past, beside=True)[0]

    def remember(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: AttentionMemory | None = None,
    ) -> AttentionMemory:
        """The memory of ``x`` [B, T, D], told at ``level`` int [B, T], and of what was before.

        Raises:
            ConfigError: the network is not causal.
        """
        self._require_causal()
        seen = self._pass(x, level, memory)[1]
        if self.window is None:
            return seen
        oldest = max(0, seen.tokens - self.window + 1)
        back = self._turn(torch.tensor([-oldest], device=x.device))
        # Copies both, since views would keep everything before them.
        kept = tuple(
            (_rotate(k[:, :, oldest:], back), v[:, :, oldest:].clone()) for k, v in seen.layers
        )
        return AttentionMemory(seen.modulations, kept)

    def _pass(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: AttentionMemory | None,
        *,
        beside: bool = False,
    ) -> tuple[torch.Tensor, AttentionMemory]:
        """The prediction, and the memory of all tokens that were remembered or are new.

        With ``beside``, the new tokens are at the places of the last that were remembered, and
        look at themselves and at those remembered before their place.
        """
        if memory is None:
            known = 0
            modulations = self.modulation(self.level_embedding(self.level_features))
        else:
            self._require_causal()
            known, modulations = memory.tokens, memory.modulations
        parts = of_levels(level, modulations).chunk(
            Block.MODULATIONS * len(self.blocks) + 2, dim=-1
        )
        first = known - x.shape[1] if beside else known
        places = torch.arange(first, first + x.shape[1], device=x.device)
        turn = self._turn(places)
        visible = self._visible(places, known, beside)
        hidden = self.embed(x)
        layers = []
        for index, block in enumerate(self.blocks):
            own = Block.MODULATIONS * index
            modulation = parts[own : own + Block.MODULATIONS]
            before = None if memory is None else memory.layers[index]
            hidden, seen = block(hidden, modulation, turn, visible, before)
            layers.append(seen)
        prediction: torch.Tensor = self.head(modulated_norm(hidden, *parts[-2:]))
        return prediction, AttentionMemory(modulations, tuple(layers))

    def _turn(self, places: torch.Tensor) -> Turn:
        angle = places.float()[:, None] * self.frequencies
        return angle.cos(), angle.sin()

    def _visible(self, places: torch.Tensor, known: int, beside: bool) -> torch.Tensor | None:
        """Which tokens the new ones, at ``places`` [T], look at, bool [T, known + T]; None: all."""
        if not self.causal or (len(places) == 1 and not beside):
            return None  # a single new token looks at whatever is remembered
        back = places[:, None] - torch.cat([torch.arange(known, device=places.device), places])
        past, new = back[:, :known] > 0, back[:, known:]
        visible = torch.cat([past, new == 0 if beside else new >= 0], 1)
        return visible if self.window is None else visible & (back < self.window)

    def _require_causal(self) -> None:
        if not self.causal:
            raise ConfigError(
                "This transformer is not causal: each of its tokens also hears of later ones, so "
                "what it made of tokens changes with what follows and cannot be remembered. Build "
                "it with causal=True, or wrap it in Recomputing."
            )


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
        self,
        x: torch.Tensor,
        modulation: tuple[torch.Tensor, ...],
        turn: Turn,
        visible: torch.Tensor | None,
        before: KeyValue | None,
    ) -> tuple[torch.Tensor, KeyValue]:
        """One layer.

        Args:
            x: [B, T, W].
            modulation: six, [B, T, W].
            turn: by which the tokens' places rotate keys and queries.
            visible: which of the S remembered and the T new tokens each of these looks at, bool
                [T, S + T]; None: all.
            before: keys and values of the remembered tokens.

        Returns:
            ([B, T, W], keys and values of the S + T tokens).
        """
        scale, shift, gate, *rest = modulation
        mixed, seen = self._attend(modulated_norm(x, scale, shift), turn, visible, before)
        return perceptron(x + gate * mixed, self.up, self.down, tuple(rest)), seen

    def _attend(
        self,
        x: torch.Tensor,
        turn: Turn,
        visible: torch.Tensor | None,
        before: KeyValue | None,
    ) -> tuple[torch.Tensor, KeyValue]:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        (query, key), value = _rotate(qkv[:2], turn), qkv[2]
        if before is not None:
            key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        mixed: torch.Tensor = self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return mixed, (key, value)


def _rotate(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    """Rotate each half-pair of features of [..., T, V]."""
    cos, sin = turn
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
