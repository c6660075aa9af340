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
    """Clean estimates of a network, wherever it runs; CPU in, CPU out.

    Where the network remembers (:class:`~dfplan.networks.cache.CachedDenoiser`), so does the denoiser.
    The cache stays with the network, on its device.

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

    def __call__(self, x: torch.Tensor, level: torch.Tensor, cache: Any = None) -> torch.Tensor:
        past = () if cache is None else (cache,)  # not every network takes one
        prediction = self.network(x.to(self.device), level.to(self.device), *past)
        return self.target.to_clean(x, prediction.to(x), level, self.schedule)

    def update_cache(self, x: torch.Tensor, level: torch.Tensor, cache: Any = None) -> Any:
        """The network's cache; raises :class:`ConfigError` if it has none."""
        network = require_cache(self.network)
        return network.update_cache(x.to(self.device), level.to(self.device), cache)
