"""Draws windows of the data, of which tokens are made."""

from __future__ import annotations

import numpy as np
import torch

from dfplan.errors import DataError
from dfplan.observations import select_columns
from dfplan.tokens.layout import TokenLayout
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories

_OF_STEPS = ("actions", "rewards")


class TokenWindows:
    """Draws windows of random start and random length.

    Args:
        trajectories: the data; a window never crosses the end of a segment.
        layout: how positions form tokens.

    Raises:
        DataError: no segment holds two tokens, the data lacks a feature, or its observations have
            other columns than those of the layout.
    """

    def __init__(self, trajectories: Trajectories, layout: TokenLayout) -> None:
        if trajectories.layout != layout.observation:
            raise DataError(
                f"{trajectories.source}: the model needs observations of {layout.observation}; "
                f"this data has {trajectories.layout}. Name the columns (--position, --velocity), "
                "use other data, or train a new model on this data: dfplan train FILE, without "
                "--from."
            )
        self._layout = layout
        self._observed = select_columns(trajectories.observations, layout.observed)
        self._led_here = [
            (feature.of(trajectories), np.arange(feature.steps) - feature.steps)
            for feature in layout.features
            if feature.source in _OF_STEPS
        ]
        # At least one token must fit after the first.
        self._starts = WindowSampler(
            trajectories.segments, successors=layout.token_steps, source=trajectories.source
        )

    def draw(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw windows; start and horizon are uniform over the values that fit.

        Returns:
            (frames float [B, 1 + (T-1) * frame_stack, W] in physical units, where the last frame
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
        frames = self._observed[index].astype(np.float32, copy=False)
        if self._led_here:
            # The steps that led to the first frame are unknown in planning; their rows are unused.
            steps = [
                values[np.maximum(index[..., None] + offsets, rows[:, None, None])]
                .astype(np.float32)
                .reshape(*index.shape, -1)
                for values, offsets in self._led_here
            ]
            frames = np.concatenate([frames, *steps], -1)
        return torch.from_numpy(frames), horizon
