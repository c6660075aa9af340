"""Noise levels to train on: which token is how noisy.

Diffusion Forcing draws a level for each token on its own (arXiv 2407.01392, algorithm 1). A
planner meets some patterns far more often than others, so training draws each window's pattern
from a mixture: every token on its own, all tokens alike, or rising into the future.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfplan.errors import ConfigError


@dataclass(frozen=True)
class LevelMixture:
    """Weights of the patterns of noise over a window, and how often its ends are known.

    Attributes:
        independent: every token has its own level, U{0..K}.
        common: all tokens share one level, as in full-sequence diffusion.
        rising: levels climb along the window by a random slope, as in pyramid sampling.
        known_start: share of windows whose first token is clean.
        known_goal: share of windows whose last token is clean.
    """

    independent: float = 0.3
    common: float = 0.4
    rising: float = 0.3
    known_start: float = 0.8
    known_goal: float = 0.7

    def __post_init__(self) -> None:
        weights = (self.independent, self.common, self.rising)
        shares = (self.known_start, self.known_goal)
        if min(weights) < 0 or sum(weights) <= 0 or not all(0 <= s <= 1 for s in shares):
            raise ConfigError(
                "A level mixture needs weights of at least 0, not all 0, and shares in [0, 1]; "
                f"got {self}."
            )


def draw_levels(
    horizon: torch.Tensor,
    tokens: int,
    max_level: int,
    mixture: LevelMixture,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels for a batch of windows.

    Args:
        horizon: index of each window's last token; the tokens after it are padding, told as
            pure noise. Int [B].
        tokens: T.
        max_level: K.
        mixture: how often each pattern is drawn.
        generator: draws everything.

    Returns:
        (level int [B, T], goal known bool [B]).
    """
    batch = len(horizon)
    index = torch.arange(tokens)
    weights = torch.tensor([mixture.independent, mixture.common, mixture.rising]).float()
    pattern = torch.multinomial(weights, batch, replacement=True, generator=generator)
    independent = torch.randint(0, max_level + 1, (batch, tokens), generator=generator)
    common = torch.randint(1, max_level + 1, (batch, 1), generator=generator)
    # A line of random slope through a random point reaches every stage of a pyramid.
    pivot = torch.rand(batch, 1, generator=generator) * horizon[:, None]
    slope = torch.rand(batch, 1, generator=generator) * max_level / 4
    rising = (common + slope * (index - pivot)).round().long().clamp(0, max_level)
    choices = torch.stack([independent, common.expand_as(independent), rising], 1)
    level = choices[torch.arange(batch), pattern]
    known_start = torch.rand(batch, generator=generator) < mixture.known_start
    known_goal = torch.rand(batch, generator=generator) < mixture.known_goal
    level[known_start, 0] = 0
    level[known_goal, horizon[known_goal]] = 0
    level[index > horizon[:, None]] = max_level
    return level, known_goal
