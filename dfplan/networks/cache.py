"""Networks that remember tokens, so that a rollout need not show them the past again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from dfplan.errors import ConfigError

M = TypeVar("M")
"""What is remembered. None is the memory of having seen nothing."""


@runtime_checkable
class Remembers(Protocol[M]):
    """Takes tokens in parts, in their order; ``x`` float [B, T, D], ``level`` int [B, T].

    Called with the memory of the tokens before, it says of tokens what it would say of them at the
    end of the whole sequence; float [B, T, D]. ``remember`` is the memory of all tokens so far,
    each at the level it was told at. It changes no memory, so one can be gone on from repeatedly.
    """

    def __call__(
        self, x: torch.Tensor, level: torch.Tensor, memory: M | None = None
    ) -> torch.Tensor: ...

    def remember(self, x: torch.Tensor, level: torch.Tensor, memory: M | None = None) -> M: ...


@dataclass(frozen=True)
class Recomputing:
    """Remembers the tokens themselves and shows the network all of them with each call.

    It gives a memory to any network, also to one that is not causal, for the price of a rollout
    that costs the square of its length, unless ``tokens`` bounds it. On a causal network it says
    what the network's own memory says. Denoisers are wrapped alike.

    Attributes:
        network: ``(x, level) -> prediction``, all [B, T, ...].
        tokens: how many of the last tokens are remembered, 0 or more; by default all. Nothing is
            lost where a token hears of no more before it: ``layers * (window - 1)`` in a
            transformer with a window.
    """

    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    tokens: int | None = None

    def __call__(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        prediction = self.network(*_joined(x, level, memory))
        return prediction[:, prediction.shape[1] - x.shape[1] :]

    def remember(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, level = _joined(x, level, memory)
        first = 0 if self.tokens is None else max(0, x.shape[1] - self.tokens)
        return x[:, first:], level[:, first:]


def _joined(
    x: torch.Tensor, level: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Remembered tokens and new ones, and their levels."""
    if memory is None:
        return x, level
    return torch.cat([memory[0], x], 1), torch.cat([memory[1], level], 1)


def remembering(network: object) -> Remembers[Any]:
    """A network or denoiser, once it is sure that it remembers.

    Raises:
        ConfigError: it has no memory.
    """
    if not isinstance(network, Remembers):
        raise ConfigError(
            "A rollout needs a network that remembers, such as a causal_transformer or a gru; got "
            f"{type(network).__name__}, which cannot. Wrap it, or its denoiser, in Recomputing of "
            "dfplan.networks.cache, which shows it the whole sequence with each call."
        )
    return network
