"""How long and how fast to train."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dfplan.errors import ConfigError, require_numbers


@dataclass(frozen=True)
class TrainSettings:
    """Settings of the training loop.

    Attributes:
        steps: optimizer steps.
        batch_size: windows in a batch, summed over all devices.
        learning_rate: the peak rate. It is reached after ``warmup`` steps and decays to 0 as a
            cosine.
        warmup: number of first steps in which the rate rises linearly from 0 to its peak.
        weight_decay: weight decay of AdamW. In each step it reduces the weights by this fraction
            times the learning rate.
        ema_decay: decay of the exponential moving average of the weights, which the checkpoint
            stores. The average starts from the weights at the end of the warm-up, so the initial
            weights do not enter it.
        clip: largest norm of the gradient of all weights; a longer gradient is scaled down to it.
        seed: random seed, which determines the initial weights and all batches.
        save_every: steps between two saves of the training state.
        log_every: steps between two lines of metrics.
        keep_every: steps between two intermediate checkpoints, a multiple of ``save_every``; by
            default only the final one is written.
    """

    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-3
    ema_decay: float = 0.995
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    log_every: int = 50
    keep_every: int | None = None

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "save_every", "log_every")
        require_numbers(vars(self), *counts, integer=True, minimum=1)
        require_numbers(vars(self), "warmup", integer=True, minimum=0)
        require_numbers(vars(self), "seed", integer=True, minimum=0, maximum=2**64 - 1)
        require_numbers(vars(self), "learning_rate", above=0, maximum=1)
        require_numbers(vars(self), "weight_decay", minimum=0)
        require_numbers(vars(self), "ema_decay", minimum=0, below=1)
        require_numbers(vars(self), "clip", above=0, maximum=math.inf)
        if self.save_every % self.log_every:
            raise ConfigError(
                "save_every must be a multiple of log_every, so that a resumed run logs the same "
                f"lines; got {self.save_every} and {self.log_every}."
            )
        if self.keep_every is not None:
            require_numbers(vars(self), "keep_every", integer=True, minimum=1)
            if self.keep_every % self.save_every:
                raise ConfigError(
                    "keep_every must be a multiple of save_every, so that a resumed run writes the "
                    f"same checkpoints; got {self.keep_every} and {self.save_every}."
                )

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))
