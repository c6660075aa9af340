"""Windows of a trajectory, cut into tokens.

A token holds ``frame_stack`` positions that are ``stride`` environment steps apart. The first
token of a window is its first position alone, repeated; token i > 0 holds frames
``(i - 1) * frame_stack + 1`` to ``i * frame_stack``, where frame f is ``f * stride`` steps after
the first. So a plan's start is one clean token; a known goal is one too, its position repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.errors import require_numbers
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories

LONGEST = 65_536
"""The most tokens of a window, positions of a token or steps between two of them. More is taken
for a mistake, since no tensor of a checkpoint shows it."""


@dataclass(frozen=True)
class TokenLayout:
    """How positions become tokens.

    Attributes:
        tokens: T, the longest window, its first token included.
        frame_stack: positions in a token.
        stride: environment steps between two positions.
    """

    tokens: int
    frame_stack: int = 2
    stride: int = 10

    def __post_init__(self) -> None:
        require_numbers(vars(self), "tokens", whole=True, least=2, most=LONGEST)
        require_numbers(vars(self), "frame_stack", "stride", whole=True, least=1, most=LONGEST)

    @property
    def features(self) -> int:
        """D, numbers in a token."""
        return 2 * self.frame_stack

    @property
    def token_steps(self) -> int:
        """Environment steps that one token spans."""
        return self.frame_stack * self.stride

    def to_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames [B, 1 + (T-1) * frame_stack, 2] to tokens [B, T, D]."""
        first = frames[:, :1].repeat(1, self.frame_stack, 1)
        return torch.cat([first, frames[:, 1:]], 1).reshape(len(frames), -1, self.features)

    def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`."""
        frames = tokens.reshape(len(tokens), -1, 2)
        return frames[:, self.frame_stack - 1 :]


class Windows:
    """Draws random windows of random horizon from trajectories.

    Args:
        trajectories: the data; windows never leave a segment.
        layout: tokens of a window.

    Raises:
        DataError: no segment is as long as two tokens.
    """

    def __init__(self, trajectories: Trajectories, layout: TokenLayout) -> None:
        self._observations = trajectories.observations
        self._layout = layout
        # A start must leave room for one token after the first.
        self._starts = WindowSampler(trajectories, successors=layout.token_steps)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows whose start and horizon are uniform over what fits.

        Returns:
            (frames float [B, 1 + (T-1) * frame_stack, 2] in physical units, the last repeated
            past the horizon; horizon: index of the last token, int [B], from 1 to T - 1).
        """
        layout = self._layout
        drawn, ends = self._starts.draw(batch, generator)
        start, last = torch.from_numpy(drawn), torch.from_numpy(ends) - 1
        longest = ((last - start) // layout.token_steps).clamp(max=layout.tokens - 1)
        share = torch.rand(batch, generator=generator, dtype=torch.float32)
        horizon = 1 + (share * longest).long()
        horizon = torch.minimum(horizon, longest)
        frame = torch.arange(1 + (layout.tokens - 1) * layout.frame_stack)
        frame = torch.minimum(frame, horizon[:, None] * layout.frame_stack)
        rows = (start[:, None] + frame * layout.stride).numpy()
        positions = self._observations[rows, :2].astype(np.float32, copy=False)
        return torch.from_numpy(positions), horizon
