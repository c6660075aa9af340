"""Networks that remember tokens, so that a rollout need not show them the past again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

M = TypeVar("M")
"""What is remembered. None is the memory of having seen nothing."""


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
    that costs the square of its length. On a causal network it says what the network's own
    memory says.

    Attributes:
        network: ``(x, level) -> prediction``, all [B, T, ...].
    """

    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def __call__(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        prediction = self.network(*self.remember(x, level, memory))
        return prediction[:, prediction.shape[1] - x.shape[1] :]

    def remember(
        self,
        x: torch.Tensor,
        level: torch.Tensor,
        memory: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if memory is None:
            return x, level
        return torch.cat([memory[0], x], 1), torch.cat([memory[1], level], 1)
