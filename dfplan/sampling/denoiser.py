"""A network as a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.diffusion.targets import Target
from dfplan.networks.cache import require_cache
from dfplan.record import Record


@dataclass(frozen=True)
class NetworkDenoiser(Record):
    """Clean estimates of a network on any device. Inputs and outputs are on the CPU.

    If the network has a cache (:class:`~dfplan.networks.cache.CachedDenoiser`), the denoiser has
    one, too. The cache stays on the network's device.

    Attributes:
        network: ``(x, level) -> prediction`` of ``target``, all [B, T, ...].
        target: what the network predicts.
        schedule: the noise schedule that the network was trained with.
        device: the network's device.
    """

    network: Callable[..., torch.Tensor]
    target: Target
    schedule: NoiseSchedule
    device: torch.device | str = "cpu"

    def __call__(self, x: torch.Tensor, level: torch.Tensor, cache: Any = None) -> torch.Tensor:
        optional = () if cache is None else (cache,)  # not every network accepts a cache
        prediction = self.network(x.to(self.device), level.to(self.device), *optional)
        return self.target.to_clean(x, prediction.to(x), level, self.schedule)

    def update_cache(self, x: torch.Tensor, level: torch.Tensor, cache: Any = None) -> Any:
        """Update the network's cache; raises :class:`ConfigError` if it has none."""
        network = require_cache(self.network)
        return network.update_cache(x.to(self.device), level.to(self.device), cache)
