"""Windows of a trajectory as tokens.

A token holds ``frame_stack`` positions that are ``stride`` environment steps apart. Token 0 holds
the window's first position ``frame_stack`` times. Token i > 0 holds the frames
``(i - 1) * frame_stack + 1`` to ``i * frame_stack``, where frame f is the position ``f * stride``
steps after the first. The start of a plan is therefore one clean token. A known goal is one clean
token too: its position, repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.errors import require_numbers
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories

MAX_LENGTH = 65_536
"""Largest number of tokens in a window, of positions in a token, and of steps between positions.
A limit is needed because no tensor of a checkpoint has these sizes: a typing error would show
only when memory runs out."""


@dataclass(frozen=True)
class TokenLayout:
    """How positions form tokens.

    Attributes:
        tokens: T, length of the longest window, including its first token.
        frame_stack: positions in a token.
        stride: environment steps between two positions.
    """

    tokens: int
    frame_stack: int = 2
    stride: int = 10

    def __post_init__(self) -> None:
        require_numbers(vars(self), "tokens", integer=True, minimum=2, maximum=MAX_LENGTH)
        require_numbers(
            vars(self), "frame_stack", "stride", integer=True, minimum=1, maximum=MAX_LENGTH
        )

    @property
    def features(self) -> int:
        """D, the number of features of a token."""
        return 2 * self.frame_stack

    @property
    def token_steps(self) -> int:
        """Environment steps that a token spans."""
        return self.frame_stack * self.stride

    def to_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Convert frames [B, 1 + (T-1) * frame_stack, 2] to tokens [B, T, D]."""
        first = frames[:, :1].repeat(1, self.frame_stack, 1)
        return torch.cat([first, frames[:, 1:]], 1).reshape(len(frames), -1, self.features)

    def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`."""
        frames = tokens.reshape(len(tokens), -1, 2)
        return frames[:, self.frame_stack - 1 :]


class TokenWindows:
    """Draws windows of random start and random length.

    Args:
        trajectories: the data; a window never crosses the end of a segment.
        layout: how positions form tokens.

    Raises:
        DataError: no segment holds two tokens.
    """

    def __init__(self, trajectories: Trajectories, layout: TokenLayout) -> None:
        self._observations = trajectories.observations
        self._layout = layout
        # At least one token must fit after the first.
        self._starts = WindowSampler(
            trajectories.segments, successors=layout.token_steps, source=trajectories.source
        )

    def draw(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw windows; start and horizon are uniform over the values that fit.

        Returns:
            (frames float [B, 1 + (T-1) * frame_stack, 2] in physical units, where the last frame
            is repeated after the horizon; horizon: index of the last token, int [B], from 1 to
            T - 1).
        """
        layout = self._layout
        rows, ends = self._starts.draw(batch, generator)
        start, last = torch.from_numpy(rows), torch.from_numpy(ends) - 1
        longest = ((last - start) // layout.token_steps).clamp(max=layout.tokens - 1)
        share = torch.rand(batch, generator=generator, dtype=torch.float32)
        horizon = 1 + (share * longest).long()
        horizon = torch.minimum(horizon, longest)
        frame = torch.arange(1 + (layout.tokens - 1) * layout.frame_stack)
        frame = torch.minimum(frame, horizon[:, None] * layout.frame_stack)
        index = (start[:, None] + frame * layout.stride).numpy()
        positions = self._observations[index, :2].astype(np.float32, copy=False)
        return torch.from_numpy(positions), horizon
