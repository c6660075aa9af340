"""Means, intervals and comparisons of scores; pure functions of arrays.

Scores of one planner on one task come as float [S, E]: S training seeds, E starts, and every
training seed meets the same starts. Across tasks they come as float [R, M]: a run is a training
seed, a score is the mean of that seed's episodes as a share of the task's upper bound.

Intervals of means resample training seeds and starts *crossed*, each apart from the other and all
episodes of a drawn seed or start with it (the pigeonhole bootstrap: Owen 2007, "The pigeonhole
bootstrap", arXiv 0712.1111, which also shows that it errs on the wide side).
One factor of n levels is resampled by n - 1 draws, which makes the variance of a mean unbiased
(Rao and Wu 1988, "Resampling inference with complex survey data", JASA 83). An interval is the
mean and so many standard errors of the bootstrap as Student's t says with Satterthwaite's (1946)
degrees of freedom: percentiles of three training seeds never leave the range of the three, and
hold the true mean three times in four at best.

Aggregates over tasks follow Agarwal et al. 2021 (arXiv 2108.13264) and give what their library
rliable gives: percentiles of a bootstrap that resamples the runs of each task apart.

Everything is deterministic: ``seed`` chooses the resamples, and there is no other source of
chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from dfplan.errors import ConfigError

REPLICATES = 2000
"""Resamples behind an interval."""

_TAIL = 0.025
_POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval.

    Attributes:
        value: the figure.
        low, high: the ends of the interval; None where there is nothing to resample.
        over: what was resampled: ``starts``, ``training seeds``, ``starts and training seeds``;
            None where nothing was.
    """

    value: float
    low: float | None
    high: float | None
    over: str | None

    @property
    def half(self) -> float | None:
        """Half of the interval's width."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def is_noise(self) -> bool:
        """Whether 0 lies in the interval; a figure without one tells nothing from 0."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mean(scores: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of ``scores`` [S, E] over training seeds and starts.

    With one training seed the interval is over starts only, and says nothing of another training.

    Raises:
        ConfigError: there are no scores, or one is not finite.
    """
    scores = _checked(scores)
    return _estimate(scores, None, seed)


def paired_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of ``first`` [S, E] less that of ``second`` [U, E], on the same E starts.

    Starts are resampled for both at once, training seeds for each apart: seed 0 of one planner
    has nothing in common with seed 0 of another.

    Raises:
        ConfigError: no scores, one that is not finite, or different numbers of starts.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ConfigError(
            "A paired difference needs both on the same starts; got "
            f"{first.shape[1]} and {second.shape[1]} episodes. Run both on one set."
        )
    return _estimate(first, second, seed)


def episodes_to_tell(first: np.ndarray, second: np.ndarray) -> int | None:
    """How many shared starts tell two means apart, at 5% (two-sided) with a power of 80%.

    From the standard deviation s of the paired differences d, each averaged over training seeds:
    (1.96 + 0.84)^2 (s / mean(d))^2, and at least 2. More starts do not help against the noise
    between training seeds, which is not counted here.

    Args:
        first: scores, [S, E].
        second: scores on the same starts, [U, E].

    Returns:
        None where no number does: the means are equal, or there is a single start.
    """
    differences = _checked(first).mean(axis=0) - _checked(second).mean(axis=0)
    gap = abs(float(differences.mean()))
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else math.inf
    z = stats.norm.ppf(1 - _TAIL) + stats.norm.ppf(_POWER)
    needed = (z * spread / gap) ** 2 if gap > 1e-12 else math.inf
    return max(2, math.ceil(needed)) if math.isfinite(needed) else None


def wilson(success: np.ndarray, seed: int = 0) -> Estimate:
    """The share of ``success`` (bool [S, E]) with Wilson's interval.

    Wilson 1927, "Probable inference", JASA 22. Episodes of several training seeds on one start
    are not independent: they count for as many as the crossed bootstrap's variance says (Kish's
    design effect), or for one a start where all agree.

    Raises:
        ConfigError: there are no episodes.
    """
    crossed = _estimate(_checked(success), None, seed)
    share, count = crossed.value, float(np.size(success))
    if len(success) > 1:
        variance = _variance(np.asarray(success, dtype=float))
        starts = np.shape(success)[1]
        count = min(count, share * (1 - share) / variance) if variance > 0 else float(starts)
    z = float(stats.norm.ppf(1 - _TAIL))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    low, high = min(share, max(0.0, middle - spread)), max(share, min(1.0, middle + spread))
    return Estimate(share, low, high, crossed.over or "starts")


def interquartile_mean(scores: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of the middle half of ``scores`` [R, M], with a stratified bootstrap interval."""
    scores = _checked(scores)
    return _stratified(lambda drawn: trimmed(drawn), scores, None, seed)


def trimmed(scores: np.ndarray) -> np.ndarray:
    """The mean of the middle half of each of ``scores`` [..., R, M]; a quarter cut at each end."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray(stats.trim_mean(flat, 0.25, axis=-1))


def probability_of_improvement(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """How likely a run of ``first`` [R, M] beats one of ``second`` [U, M] on a random task.

    The mean over tasks of the Mann-Whitney statistic over R U; a tie counts for half.

    Raises:
        ConfigError: no scores, one that is not finite, or different numbers of tasks.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ConfigError(
            f"Both must have runs on the same tasks; got {first.shape[1]} and {second.shape[1]}."
        )

    def wins(drawn: np.ndarray, others: np.ndarray) -> np.ndarray:
        signs = np.sign(drawn[..., :, None, :] - others[..., None, :, :])
        return np.asarray((signs.mean(axis=(-3, -2, -1)) + 1) / 2)

    return _stratified(wins, first, second, seed)


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of runs of ``scores`` [R, M] above each of ``thresholds`` [K].

    Returns:
        The shares and the ends of their pointwise 95% intervals, each [K]; NaN for ends where
        there is a single run.
    """
    scores = _checked(scores)
    above = (scores[..., None] > thresholds).astype(float)
    if len(scores) < 2:
        nothing = np.full(len(thresholds), math.nan)
        return above.mean(axis=(0, 1)), nothing, nothing
    # Only how many of a task's runs are above counts, and that is binomial under resampling.
    rng = np.random.default_rng(seed)
    counts = rng.binomial(len(scores), above.mean(axis=0), (REPLICATES, *above.shape[1:]))
    low, high = np.quantile(counts.mean(axis=1) / len(scores), (_TAIL, 1 - _TAIL), axis=0)
    return above.mean(axis=(0, 1)), low, high


def _estimate(scores: np.ndarray, others: np.ndarray | None, seed: int) -> Estimate:
    runs = [scores] if others is None else [scores, -others]
    value = float(sum(each.mean() for each in runs))
    per_start = sum(each.mean(axis=0) for each in runs)
    several = [each.mean(axis=1) for each in runs if len(each) > 1]
    levels = [each for each in (per_start, *several) if len(each) > 1]
    over = [
        *(["starts"] if len(per_start) > 1 else []),
        *(["training seeds"] if several else []),
    ]
    if not over:
        return Estimate(value, None, None, None)
    starts = _weights(len(per_start), seed, 0)
    drawn = np.zeros(REPLICATES)
    for which, each in enumerate(runs):
        seeds = _weights(len(each), seed, 1 + which)
        drawn += np.einsum("bs,bs->b", seeds, starts @ each.T)
    error = float(drawn.std(ddof=1))
    variances = [float(each.var(ddof=1)) / len(each) for each in levels]
    total = sum(variances)
    if not total:
        return Estimate(value, value, value, " and ".join(over))
    parts = zip(variances, levels, strict=True)
    freedom = total**2 / sum(variance**2 / (len(each) - 1) for variance, each in parts)
    half = float(stats.t.ppf(1 - _TAIL, freedom)) * error
    return Estimate(value, value - half, value + half, " and ".join(over))


def _variance(scores: np.ndarray) -> float:
    """Of the mean of ``scores`` [S, E] under crossed resampling of both."""
    parts = [scores.mean(axis=axis) for axis in (0, 1)]
    return sum(float(each.var(ddof=1)) / len(each) for each in parts if len(each) > 1)


@lru_cache(maxsize=64)
def _weights(count: int, seed: int, stream: int) -> np.ndarray:
    """Shares of ``count`` levels in each resample of ``count - 1`` draws, [REPLICATES, count]."""
    if count == 1:
        return np.ones((REPLICATES, 1))
    rng = np.random.default_rng((seed, stream, count))
    drawn = rng.multinomial(count - 1, np.full(count, 1 / count), REPLICATES)
    return np.asarray(drawn / (count - 1))


def _stratified(
    figure: Callable[..., np.ndarray],
    scores: np.ndarray,
    others: np.ndarray | None,
    seed: int,
) -> Estimate:
    """``figure`` of runs [..., R, M], and its percentiles where each task's runs are resampled."""
    runs = [scores] if others is None else [scores, others]
    value = float(figure(*runs))
    if min(map(len, runs)) < 2:
        return Estimate(value, None, None, None)
    rng = np.random.default_rng(seed)
    drawn = figure(
        *(
            np.take_along_axis(
                each[None], rng.integers(len(each), size=(REPLICATES, *each.shape)), 1
            )
            for each in runs
        )
    )
    low, high = np.quantile(drawn, (_TAIL, 1 - _TAIL))
    return Estimate(value, float(low), float(high), "training seeds")


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ConfigError(
            "Scores must be finite numbers [training seeds, episodes or tasks], at least one; "
            f"got shape {list(scores.shape)} with "
            f"{int((~np.isfinite(scores)).sum())} that are not finite."
        )
    return scores
