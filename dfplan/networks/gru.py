"""Recurrent network with a noise level for each token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dfplan.errors import ConfigError
from dfplan.networks.modulation import (
    at_levels,
    level_embedding,
    level_features,
    modulated_norm,
    modulated_perceptron,
    require_sizes,
)
from dfplan.record import Record


@dataclass(frozen=True)
class GRUCache(Record):
    """What a recurrent network keeps of the earlier tokens.

    Attributes:
        modulations: scales, shifts and gates of all levels, [K+1, V]. They do not depend on the
            tokens, but computing them is most of the work for a single token.
        z: latent of each layer, [layers, B, W].
    """

    modulations: torch.Tensor
    z: torch.Tensor


class GRU(nn.Module):
    """The recurrent network of Diffusion Forcing (arXiv 2407.01392, section 3.1).

    The latent ``z_t`` is computed from ``z_(t-1)``, the noisy token ``x_t`` and its level ``k_t``.
    For a clean token (``k_t = 0``) this is the posterior update of a Bayes filter. For pure noise
    (``k_t = K``) it is the prior, since the token carries no information. The prediction for
    ``x_t`` is computed from ``z_t`` and the token. The network is causal and its cache is the
    latent (:class:`~dfplan.networks.cache.CachedDenoiser`), so a rollout has no maximum length.

    The level modulates the layer norms before and after the recurrent layers
    (:mod:`dfplan.networks.modulation`). With a scale of -1 before the recurrent layers, a token has
    no influence on the latent, so the network can learn the exact prior; this is not built in.

    Differences from the authors' network for vectors:

    - They concatenate token, level and latent and pass them through a perceptron into the recurrent
      cells; a second perceptron after the cells gives the latent. Here the latent is the state of
      the cells, and the perceptron after them is part of the prediction only.
    - They predict by a linear layer from the latent. Here the token also has a skip connection
      around the latent.
    - Their layers divide one latent among them. Here each layer has a latent of full width.

    Args:
        features: D.
        max_level: K.
        width: W, of a token inside the network and of the latent; even.
        layers: number of recurrent layers, at least 1. With as many layers as a transformer of the
            same width, the network has about half as many parameters.
    """

    _MODULATIONS = 7  # 2 on the way into the latent, 3 of the perceptron, 2 before the head

    def __init__(self, features: int, max_level: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        require_sizes(layers, features=features, max_level=max_level, width=width)
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
        self, x: torch.Tensor, level: torch.Tensor, cache: GRUCache | None = None
    ) -> torch.Tensor:
        """Predict the target of each token, [B, T, D].

        Args:
            x: noisy tokens [B, T, D]; with a cache, those that follow the cached ones.
            level: noise level of each token, int [B, T].
            cache: result of :meth:`update_cache`; without one the latent starts at 0.
        """
        return self._pass(x, level, cache)[0]

    def update_cache(
        self, x: torch.Tensor, level: torch.Tensor, cache: GRUCache | None = None
    ) -> GRUCache:
        """Return the cache after ``x`` [B, T, D] at ``level`` int [B, T]."""
        return self._pass(x, level, cache)[1]

    def _pass(
        self, x: torch.Tensor, level: torch.Tensor, cache: GRUCache | None
    ) -> tuple[torch.Tensor, GRUCache]:
        """Return the prediction, and the cache after the last token."""
        if cache is None:
            modulations = self.modulation(self.level_embedding(self.level_features))
        else:
            modulations = cache.modulations
        parts = at_levels(level, modulations).chunk(self._MODULATIONS, dim=-1)
        embedded = self.embed(x)
        latents, last = self.gru(
            modulated_norm(embedded, *parts[:2]), None if cache is None else cache.z
        )
        hidden = modulated_perceptron(embedded + latents, self.up, self.down, parts[2:5])
        prediction: torch.Tensor = self.head(modulated_norm(hidden, *parts[5:]))
        return prediction, GRUCache(modulations, last)
