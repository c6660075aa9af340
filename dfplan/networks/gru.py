"""Recurrent network that is told the noise level of every token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dfplan.errors import ConfigError, require_numbers
from dfplan.networks.modulation import (
    MOST_LAYERS,
    level_embedding,
    level_features,
    modulated_norm,
    of_levels,
    perceptron,
)
from dfplan.record import Record


@dataclass(frozen=True)
class Latent(Record):
    """What the recurrent network keeps of the tokens it was told of.

    Attributes:
        modulations: of all levels, [K+1, V]; the same for all tokens, but most of the work for a
            single one.
        z: the latent of each layer, [layers, B, W].
    """

    modulations: torch.Tensor
    z: torch.Tensor


class GRU(nn.Module):
    """The recurrent network of Diffusion Forcing (arXiv 2407.01392, section 3.1).

    A latent ``z_t`` follows from the one before, from the token ``x_t``, noisy as it is, and from
    its level ``k_t``. For a clean token, ``k_t = 0``, that is the posterior update of a Bayes
    filter; for pure noise, ``k_t = K``, it is the prior, since nothing is learned from the token.
    What is predicted of ``x_t`` is read from ``z_t`` and the token. All of it is causal, and the
    latent is all that is remembered (:class:`~dfplan.networks.cache.Remembers`), so a rollout
    can go on for ever.

    The level modulates the norm of the embedded token on its way into the latent, and of latent
    plus token on the way out (:mod:`dfplan.networks.modulation`). A scale of -1 shuts a token
    out, so the prior can be learned exactly; it is not built in.

    It differs from the authors' network for vectors in these ways. They append level and latent
    to the token and send all three through a perceptron into the recurrent cells, and call what a
    second perceptron makes of these the latent; here the latent is the state of the cells alone,
    and the perceptron behind them only predicts. They predict by a linear layer from the latent;
    here the token has a way around the latent. Their layers share one latent, a part each; here
    each has one of the full width.

    Args:
        features: D.
        max_level: K.
        width: W, of a token inside the network and of the latent.
        layers: recurrent layers, at least 1. With as many as the transformer of the same width
            has blocks, there are about half as many parameters.
    """

    _MODULATIONS = 7  # 2 on the way into the latent, 3 of the perceptron, 2 before the head

    def __init__(self, features: int, max_level: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        sizes = {"features": features, "max_level": max_level, "width": width}
        require_numbers(sizes, whole=True, least=1)
        require_numbers({"layers": layers}, whole=True, least=1, most=MOST_LAYERS)
        if width % 2:
            raise ConfigError(f"The width of a GRU must be even; got {width}.")
        self.embed = nn.Linear(features, width)
        self.level_embedding = level_embedding(width)
        self.gru = nn.GRU(width, width, layers, batch_first=True)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, width * self._MODULATIONS)
        self.head = nn.Linear(width, features)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("level_features", level_features(max_level, width), persistent=False)
        self.level_features: torch.Tensor

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, memory: Latent | None = None
    ) -> torch.Tensor:
        """``x`` [B, T, D] and ``level`` int [B, T] to the network's prediction [B, T, D].

        Args:
            x: tokens; with a memory, those that follow what was remembered.
            level: noise level of each.
            memory: from :meth:`remember`; before the first token the latent is 0.
        """
        return self._pass(x, level, memory)[0]

    def remember(
        self, x: torch.Tensor, level: torch.Tensor, memory: Latent | None = None
    ) -> Latent:
        """The latent after ``x`` [B, T, D], told at ``level`` int [B, T]."""
        return self._pass(x, level, memory)[1]

    def _pass(
        self, x: torch.Tensor, level: torch.Tensor, memory: Latent | None
    ) -> tuple[torch.Tensor, Latent]:
        """The prediction, and the latent after the last token."""
        if memory is None:
            modulations = self.modulation(self.level_embedding(self.level_features))
        else:
            modulations = memory.modulations
        parts = of_levels(level, modulations).chunk(self._MODULATIONS, dim=-1)
        embedded = self.embed(x)
        latents, last = self.gru(
            modulated_norm(embedded, *parts[:2]), None if memory is None else memory.z
        )
        hidden = perceptron(embedded + latents, self.up, self.down, parts[2:5])
        prediction: torch.Tensor = self.head(modulated_norm(hidden, *parts[5:]))
        return prediction, Latent(modulations, last)
