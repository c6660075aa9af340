"""What the training loop needs from a recipe.

A recipe is a frozen dataclass of settings. It binds a network, a way to draw batches and a loss.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from dfplan.tokens.layout import POSITION, Feature
from dfplan.tokens.statistics import Statistics
from dfplan.training.checkpoint import Checkpoint, from_stored, to_stored
from dfplan.types import Trajectories

Batch = tuple[torch.Tensor, ...]
"""The tensors drawn from the data for one training step."""

R = TypeVar("R", bound="Recipe")


@dataclass(frozen=True)
class Objective:
    """The loss of a random batch, in two parts, so that the next batch is drawn during training.

    Attributes:
        draw: (batch size, generator) -> a batch on the CPU. It runs in a second thread and reads
            only the data.
        loss: (network, batch, generator) -> scalar loss. It continues with the generator that drew
            the batch.
    """

    draw: Callable[[int, torch.Generator], Batch]
    loss: Callable[[nn.Module, Batch, torch.Generator], torch.Tensor]

    def __call__(self, network: nn.Module, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return the loss of one random batch."""
        return self.loss(network, self.draw(size, generator), generator)


@dataclass(frozen=True)
class Recipe(metaclass=ABCMeta):
    """Settings of one kind of model; registered in :mod:`dfplan.training.registry`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The registered name, which checkpoints store."""

    @abstractmethod
    def untrained(self) -> nn.Module:
        """Build the network with random weights."""

    @abstractmethod
    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Any:
        """Build what the recipe trains, such as a planner, from a checkpoint.

        Args:
            checkpoint: made by this recipe with these settings.
            device: where the network runs.
        """

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON; :meth:`from_json` is the inverse."""
        return to_stored(asdict(self))

    @property
    def stored_tokens(self) -> dict[str, Any] | None:
        """What tokens hold, as JSON; None for positions alone."""
        return None

    @classmethod
    def from_json(cls: type[R], config: dict[str, Any], tokens: dict[str, Any] | None = None) -> R:
        """Rebuild the recipe from :meth:`to_json` and :attr:`stored_tokens`."""
        return cls(**from_stored(config))


class LoopRecipe(Recipe):
    """A recipe that :func:`dfplan.training.loop.train` can train.

    Attributes:
        features: what a frame of the data holds; the normalizer is of these columns.
        can_continue: whether a network's inputs are scaled by the normalizer alone, so that
            training can continue from a checkpoint on other data.
    """

    can_continue: ClassVar[bool] = False

    features: tuple[Feature, ...] = (POSITION,)

    @abstractmethod
    def objective(self, trajectories: Trajectories, statistics: Statistics) -> Objective:
        """Return the loss of random batches of ``trajectories``."""
