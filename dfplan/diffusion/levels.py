"""Noise levels of the tokens in training.

Diffusion Forcing draws the level of each token independently (arXiv 2407.01392, algorithm 1). A
planner meets some patterns of levels far more often than others, so training draws the pattern of
each window from a mixture: independent levels, one common level, levels that rise into the future,
or clean tokens before one noisy token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dfplan.errors import ConfigError, require_numbers

_MAX_WEIGHT = 1e30  # float32 holds it, its inverse and sums of it


@dataclass(frozen=True)
class LevelMixture:
    """Weights of the patterns of noise levels, and how often the ends of a window are clean.

    Attributes:
        independent: each token has its own level, uniform on {0..K}.
        common: all tokens have the same level, uniform on {1..K}, as in full-sequence diffusion.
        rising: levels rise linearly along the window with a random slope, as in pyramid sampling.
        known_start: probability that the first token is clean.
        known_goal: probability that the last token is clean.
        teacher_forcing: one token, drawn uniformly from the window, has a level uniform on {1..K};
            the tokens before it are clean and those after it are pure noise, as in next-token
            diffusion.
    """

    independent: float = 0.3
    common: float = 0.4
    rising: float = 0.3
    known_start: float = 0.8
    known_goal: float = 0.7
    teacher_forcing: float = 0.0

    def __post_init__(self) -> None:
        weights = ("independent", "common", "rising", "teacher_forcing")
        require_numbers(vars(self), *weights, minimum=0, maximum=_MAX_WEIGHT)
        require_numbers(vars(self), "known_start", "known_goal", minimum=0, maximum=1)
        if sum(self.weights) < 1 / _MAX_WEIGHT:
            raise ConfigError(f"A level mixture needs a weight above 0; got {self}.")

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Weights of the patterns: independent, common, rising, teacher forcing."""
        return self.independent, self.common, self.rising, self.teacher_forcing


# In these three, the ends of a window are treated like any other token.
INDEPENDENT = LevelMixture(1.0, 0.0, 0.0, known_start=0.0, known_goal=0.0)
"""Diffusion Forcing as published: the level of each token is independent (algorithm 1)."""

FULL_SEQUENCE = LevelMixture(0.0, 1.0, 0.0, known_start=0.0, known_goal=0.0)
"""Full-sequence diffusion: one level for the whole window."""

TEACHER_FORCING = LevelMixture(0.0, 0.0, 0.0, known_start=0.0, known_goal=0.0, teacher_forcing=1.0)
"""Next-token diffusion: one noisy token after clean tokens, and pure noise after it.

Only this one token of a window is trained to be denoised from its context. The tokens after it are
at level K and count in the loss with the weight of that level. A causal transformer can instead
train all tokens of a window at once: ``parallel_teacher_forcing`` of
:class:`~dfplan.training.recipes.forcing.ForcingConfig`, with :data:`INDEPENDENT` levels.
"""


def with_known_ends(levels: LevelMixture) -> LevelMixture:
    """Return ``levels`` with the default probabilities of a clean start and a clean goal.

    A planner gives the network a clean start and a clean goal. With this, networks that differ in
    the levels between have seen clean ends equally often.
    """
    default = LevelMixture()
    return replace(levels, known_start=default.known_start, known_goal=default.known_goal)


def draw_levels(
    horizon: torch.Tensor,
    tokens: int,
    max_level: int,
    mixture: LevelMixture,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the noise levels of a batch of windows.

    Args:
        horizon: index of the last token of each window, int [B]. Tokens after it are padding and
            get level K.
        tokens: T.
        max_level: K.
        mixture: how often each pattern is drawn.
        generator: source of all draws.

    Returns:
        (levels int [B, T], windows whose goal is clean bool [B]).
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
    # A window has only one pattern, so this one can use the draws of the others again.
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
