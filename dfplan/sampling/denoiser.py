"""A network as a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.diffusion.targets import Target
from dfplan.networks.cache import remembering
from dfplan.record import Record


@dataclass(frozen=True)
class NetworkDenoiser(Record):
    """Clean estimates of a network, wherever it runs; CPU in, CPU out.

    Where the network remembers (:class:`~dfplan.networks.cache.Remembers`), so does the denoiser.
    The memory stays with the network, on its device.

    Attributes:
        network: ``(x, level) -> prediction`` of ``target``, all [B, T, ...].
        target: what the network predicts.
        schedule: the noise schedule that it was trained with.
        device: where it runs.
    """

    network: Callable[..., torch.Tensor]
    target: Target
    schedule: NoiseSchedule
    device: torch.device | str = "cpu"

    def __call__(self, x: torch.Tensor, level: torch.Tensor, memory: Any = None) -> torch.Tensor:
        past = () if memory is None else (memory,)  # not every network takes one
        prediction = self.network(x.to(self.device), level.to(self.device), *past)
        return self.target.to_clean(x, prediction.to(x), level, self.schedule)

    def remember(self, x: torch.Tensor, level: torch.Tensor, memory: Any = None) -> Any:
        """The network's memory; raises :class:`ConfigError` if it has none."""
        network = remembering(self.network)
        return network.remember(x.to(self.device), level.to(self.device), memory)
