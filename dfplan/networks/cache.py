"""Networks with a cache, so that a rollout does not process earlier tokens again at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from dfplan.errors import ConfigError

C = TypeVar("C")
"""A cache. None is the cache of an empty sequence."""


@runtime_checkable
class CachedDenoiser(Protocol[C]):
    """A causal network or denoiser that processes a sequence in parts, in order.

    Called with ``x`` float [B, T, D], ``level`` int [B, T] and the cache of all earlier tokens, it
    returns the same predictions [B, T, D] as a call with the whole sequence.

    ``update_cache`` returns the cache of the earlier and the given tokens, at the given levels. It
    does not change the cache that it gets, so one cache can be continued several times.
    """

    def __call__(
        self, x: torch.Tensor, level: torch.Tensor, cache: C | None = None
    ) -> torch.Tensor: ...

    def update_cache(self, x: torch.Tensor, level: torch.Tensor, cache: C | None = None) -> C: ...


@dataclass(frozen=True)
class RecomputedCache:
    """Gives any network or denoiser a cache: the earlier tokens, processed again with each call.

    For a causal network the predictions equal those with its own cache. Networks that are not
    causal work too. The cost of a rollout grows with the square of its length, unless ``tokens``
    limits it.

    Attributes:
        network: ``(x [B, T, D], level [B, T]) -> prediction [B, T, D]``.
        tokens: number of last tokens to keep, at least 0; None keeps all. For a transformer with
            ``layers`` and a ``window``, ``layers * (window - 1)`` tokens lose nothing.
    """

    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    tokens: int | None = None

    def __call__(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        cache: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        prediction = self.network(*_append(x, level, cache))
        return prediction[:, prediction.shape[1] - x.shape[1] :]

    def update_cache(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        cache: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, level = _append(x, level, cache)
        first = 0 if self.tokens is None else max(0, x.shape[1] - self.tokens)
        return x[:, first:], level[:, first:]


def _append(
    x: torch.Tensor, level: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Append new tokens and their levels to the cached ones."""
    if cache is None:
        return x, level
    return torch.cat([cache[0], x], 1), torch.cat([cache[1], level], 1)


def require_cache(network: object) -> CachedDenoiser[Any]:
    """Return a network or denoiser if it has a cache.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(network, CachedDenoiser):
        raise ConfigError(
            "A rollout needs a network with a cache, such as a causal_transformer or a gru; got "
            f"{type(network).__name__}. Wrap the network or its denoiser in "
            "dfplan.networks.cache.RecomputedCache, which processes the whole sequence with each "
            "call."
        )
    return network
