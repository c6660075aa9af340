"""Noise levels to train on: which token is how noisy.

Diffusion Forcing draws a level for each token on its own (arXiv 2407.01392, algorithm 1). A
planner meets some patterns far more often than others, so training draws each window's pattern
from a mixture: every token on its own, all tokens alike, rising into the future, or a clean past.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dfplan.errors import ConfigError, require_numbers

_MOST_WEIGHT = 1e30  # 32-bit numbers hold it, its inverse and sums


@dataclass(frozen=True)
class LevelMixture:
    """Weights of the patterns of noise over a window, and how often its ends are known.

    Attributes:
        independent: every token has its own level, U{0..K}.
        common: all tokens share one level, as in full-sequence diffusion.
        rising: levels climb along the window by a random slope, as in pyramid sampling.
        known_start: share of windows whose first token is clean.
        known_goal: share of windows whose last token is clean.
        teacher_forcing: one token, drawn evenly from the window, has a level U{1..K}; those
            before it are clean and those after it pure noise, as in next-token diffusion.
    """

    independent: float = 0.3
    common: float = 0.4
    rising: float = 0.3
    known_start: float = 0.8
    known_goal: float = 0.7
    teacher_forcing: float = 0.0

    def __post_init__(self) -> None:
        weights = ("independent", "common", "rising", "teacher_forcing")
        require_numbers(vars(self), *weights, least=0, most=_MOST_WEIGHT)
        require_numbers(vars(self), "known_start", "known_goal", least=0, most=1)
        if sum(self.weights) < 1 / _MOST_WEIGHT:
            raise ConfigError(f"A level mixture needs a weight above 0; got {self}.")

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Weights of the patterns: independent, common, rising, teacher forcing."""
        return self.independent, self.common, self.rising, self.teacher_forcing


# Nothing is known at either end of these; a planner's start and goal are further choices.
INDEPENDENT = LevelMixture(1.0, 0.0, 0.0, known_start=0.0, known_goal=0.0)
"""Diffusion Forcing as published: each token's level drawn on its own (algorithm 1)."""

FULL_SEQUENCE = LevelMixture(0.0, 1.0, 0.0, known_start=0.0, known_goal=0.0)
"""Full-sequence diffusion: one level for the whole window."""

TEACHER_FORCING = LevelMixture(0.0, 0.0, 0.0, known_start=0.0, known_goal=0.0, teacher_forcing=1.0)
"""Next-token diffusion: a clean past, one token to denoise, and nothing known of what follows.

The tokens that follow are at level K and count in the loss like any others at that level, unless
the weight there is 0. So a window has one target behind a clean past. ``clean_past`` of
:class:`~dfplan.training.recipes.forcing.ForcingConfig` makes every token of a window one, with
:data:`INDEPENDENT` levels, for the network that can.
"""


def ends_known(levels: LevelMixture) -> LevelMixture:
    """``levels`` with both ends of a window known as often as in dfplan's own mixture.

    A planner shows the network a clean start and a clean goal, so rivals that are to be compared by
    the noise between should meet these equally often.
    """
    own = LevelMixture()
    return replace(levels, known_start=own.known_start, known_goal=own.known_goal)


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
    weights = torch.tensor(mixture.weights, dtype=torch.float32)
    pattern = torch.multinomial(weights, batch, replacement=True, generator=generator)
    independent = torch.randint(0, max_level + 1, (batch, tokens), generator=generator)
    common = torch.randint(1, max_level + 1, (batch, 1), generator=generator)
    # A line of random slope through a random point reaches every stage of a pyramid.
    place = torch.rand(batch, 1, generator=generator, dtype=torch.float32)
    pivot = place * horizon[:, None]
    slope = torch.rand(batch, 1, generator=generator, dtype=torch.float32) * max_level / 4
    rising = (common + slope * (index - pivot)).round().long().clamp(0, max_level)
    # Windows follow one pattern each, so this one can share the draws of the others.
    current = (place * (horizon[:, None] + 1)).long()
    teacher = torch.where(index == current, common, max_level * (index > current))
    choices = torch.stack([independent, common.expand_as(independent), rising, teacher], 1)
    level = choices[torch.arange(batch), pattern]
    known_start = torch.rand(batch, generator=generator, dtype=torch.float32) < mixture.known_start
    known_goal = torch.rand(batch, generator=generator, dtype=torch.float32) < mixture.known_goal
    level[known_start, 0] = 0
    level[known_goal, horizon[known_goal]] = 0
    level[index > horizon[:, None]] = max_level
    return level, known_goal
