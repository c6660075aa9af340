"""A trained sequence model: a denoiser, and what turns data into its tokens and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import require_class, require_function
from dfplan.record import Record
from dfplan.tokens.layout import TokenLayout
from dfplan.tokens.statistics import Statistics
from dfplan.types import Denoiser


@dataclass(frozen=True)
class SequenceModel(Record):
    """What planners sample from.

    Attributes:
        denoiser: ``(x, level) -> clean estimate``, normalized.
        layout: what a token holds; ``layout.tokens`` limits the length.
        schedule: the noise schedule that the denoiser was trained with.
        statistics: statistics of the data.

    Raises:
        ConfigError: an attribute has the wrong type.
    """

    denoiser: Denoiser
    layout: TokenLayout
    schedule: NoiseSchedule
    statistics: Statistics

    def __post_init__(self) -> None:
        require_function("denoiser", self.denoiser, "x", "level")
        require_class(TokenLayout, layout=self.layout)
        require_class(NoiseSchedule, schedule=self.schedule)
        require_class(Statistics, statistics=self.statistics)

    def states(self, tokens: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """States [S, P, W] of tokens [S, T, D], in physical units.

        After token ``end`` [S] the last state is repeated.
        """
        frames = self.layout.to_frames(tokens)
        frame = torch.arange(frames.shape[1])
        frame = torch.minimum(frame, end[:, None] * self.layout.frame_stack)
        frames = frames.gather(1, frame[..., None].expand(-1, -1, frames.shape[-1]))
        return self.statistics.normalizer.unnormalize(frames)
