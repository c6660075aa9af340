"""Means, confidence intervals and comparisons of scores: pure functions of arrays.

The scores of one method on one task are float [S, E]: S training seeds, E starts, the same starts
for all training seeds. Scores across tasks are float [R, M]: a run is a training seed, and a score
is the mean over that seed's episodes as a share of the task's upper bound.

The interval of a mean resamples training seeds and starts as *crossed* factors: each factor is
resampled on its own, and all episodes of a drawn seed or start are included (Owen 2007, "The
pigeonhole bootstrap", arXiv 0712.1111, which also shows that it is conservative). A factor with n
levels is resampled with n - 1 draws, which makes the variance of the mean unbiased (Rao and Wu
1988, "Resampling inference with complex survey data", JASA 83). The half width is the bootstrap
standard error times a quantile of Student's t with Satterthwaite's (1946) degrees of freedom.
Percentiles would be too narrow: with three training seeds they never leave the range of the three,
so they contain the true mean in at most three of four cases.

Aggregates over tasks follow Agarwal et al. 2021 (arXiv 2108.13264) and agree with their library
rliable: percentiles of a bootstrap that resamples the runs of each task separately.

All functions are deterministic: ``seed`` chooses the resamples.
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
"""Number of bootstrap resamples per interval."""

_TAIL = 0.025
_POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """An estimate and its 95% confidence interval.

    ``low`` and ``high`` are the ends of the interval, and ``resampled`` is ``starts``, ``training
    seeds`` or ``starts and training seeds``; all are None if there is nothing to resample.
    """

    value: float
    low: float | None
    high: float | None
    resampled: str | None

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, if there is an interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def includes_zero(self) -> bool:
        """Whether the interval contains 0. True if there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mean(scores: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the mean of ``scores`` [S, E] over training seeds and starts.

    With one training seed, the interval does not include the variation between trainings. Raises
    :class:`ConfigError` if there are no scores, or one is not finite.
    """
    scores = _checked(scores)
    return _estimate(scores, None, seed)


def paired_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the mean of ``first`` [S, E] minus that of ``second`` [U, E], on the same E starts.

    Starts are resampled jointly, training seeds separately for each: seed 0 of one method has
    nothing in common with seed 0 of another.

    Raises:
        ConfigError: there are no scores, one is not finite, or the numbers of starts differ.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ConfigError(
            "A paired difference needs scores on the same starts; got "
            f"{first.shape[1]} and {second.shape[1]} episodes. Run both methods on the same starts."
        )
    return _estimate(first, second, seed)


def required_episodes(first: np.ndarray, second: np.ndarray) -> int | None:
    """Number of shared starts that a significant difference needs: 5% two-sided, power 80%.

    Computed from the standard deviation s of the paired differences d of ``first`` [S, E] and
    ``second`` [U, E], each averaged over training seeds: (1.96 + 0.84)^2 (s / mean(d))^2, and at
    least 2. The variation between training seeds, which more starts do not reduce, is not included.
    None if no number suffices: the means are equal, or there is a single start.
    """
    differences = _checked(first).mean(axis=0) - _checked(second).mean(axis=0)
    gap = abs(float(differences.mean()))
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else math.inf
    z = stats.norm.ppf(1 - _TAIL) + stats.norm.ppf(_POWER)
    needed = (z * spread / gap) ** 2 if gap > 1e-12 else math.inf
    return max(2, math.ceil(needed)) if math.isfinite(needed) else None


def wilson_interval(success: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the success rate of ``success`` (bool [S, E]) with Wilson's interval.

    Wilson 1927, "Probable inference", JASA 22. Episodes of several training seeds on one start are
    not independent. Their effective number comes from the variance of the crossed bootstrap (Kish's
    design effect); it is one per start if all training seeds agree.

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
    return Estimate(share, low, high, crossed.resampled or "starts")


def interquartile_mean(scores: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the mean of the middle half of ``scores`` [R, M], with a stratified bootstrap."""
    return _stratified(trimmed_mean, _checked(scores), None, seed)


def trimmed_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of each matrix of ``scores`` [..., R, M]."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray(stats.trim_mean(flat, 0.25, axis=-1))


def probability_of_improvement(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """Estimate the probability that a run of ``first`` [R, M] beats one of ``second`` [U, M].

    The mean over tasks of the Mann-Whitney statistic divided by R U. A tie counts one half.

    Raises:
        ConfigError: there are no scores, one is not finite, or the numbers of tasks differ.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ConfigError(
            f"Expected runs on the same tasks; got {first.shape[1]} and {second.shape[1]} tasks."
        )

    def wins(drawn: np.ndarray, others: np.ndarray) -> np.ndarray:
        signs = np.sign(drawn[..., :, None, :] - others[..., None, :, :])
        return np.asarray((signs.mean(axis=(-3, -2, -1)) + 1) / 2)

    return _stratified(wins, first, second, seed)


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the share of ``scores`` [R, M] above each of ``thresholds`` [K].

    Returns the shares and the ends of their pointwise 95% intervals, each [K]. The ends are NaN if
    there is a single run.
    """
    scores = _checked(scores)
    above = (scores[..., None] > thresholds).astype(float)
    if len(scores) < 2:
        unknown = np.full(len(thresholds), math.nan)
        return above.mean(axis=(0, 1)), unknown, unknown
    # The number of a task's runs above a threshold is binomial under resampling.
    rng = np.random.default_rng(seed)
    counts = rng.binomial(len(scores), above.mean(axis=0), (REPLICATES, *above.shape[1:]))
    low, high = np.quantile(counts.mean(axis=1) / len(scores), (_TAIL, 1 - _TAIL), axis=0)
    return above.mean(axis=(0, 1)), low, high


def _estimate(scores: np.ndarray, others: np.ndarray | None, seed: int) -> Estimate:
    """Mean of ``scores`` [S, E], minus that of ``others`` [U, E], with the crossed bootstrap."""
    runs = [scores] if others is None else [scores, -others]
    value = float(sum(each.mean() for each in runs))
    per_start = sum(each.mean(axis=0) for each in runs)
    several = [each.mean(axis=1) for each in runs if len(each) > 1]
    levels = [each for each in (per_start, *several) if len(each) > 1]
    names = {"starts": len(per_start) > 1, "training seeds": bool(several)}
    resampled = " and ".join(name for name, found in names.items() if found)
    if not resampled:
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
        return Estimate(value, value, value, resampled)
    parts = zip(variances, levels, strict=True)
    freedom = total**2 / sum(variance**2 / (len(each) - 1) for variance, each in parts)
    half = float(stats.t.ppf(1 - _TAIL, freedom)) * error
    return Estimate(value, value - half, value + half, resampled)


def _variance(scores: np.ndarray) -> float:
    """Variance of the mean of ``scores`` [S, E] under crossed resampling."""
    parts = [scores.mean(axis=axis) for axis in (0, 1)]
    return sum(float(each.var(ddof=1)) / len(each) for each in parts if len(each) > 1)


@lru_cache(maxsize=64)
def _weights(count: int, seed: int, stream: int) -> np.ndarray:
    """Weights of ``count`` levels in each resample of ``count - 1`` draws; [REPLICATES, count]."""
    if count == 1:
        return np.ones((REPLICATES, 1))
    rng = np.random.default_rng((seed, stream, count))
    drawn = rng.multinomial(count - 1, np.full(count, 1 / count), REPLICATES)
    return np.asarray(drawn / (count - 1))


def _stratified(
    statistic: Callable[..., np.ndarray], scores: np.ndarray, others: np.ndarray | None, seed: int
) -> Estimate:
    """``statistic`` of runs [..., R, M], with percentiles over resamples of each task's runs."""
    runs = [scores] if others is None else [scores, others]
    value = float(statistic(*runs))
    if min(map(len, runs)) < 2:
        return Estimate(value, None, None, None)
    rng = np.random.default_rng(seed)
    chosen = [rng.integers(len(each), size=(REPLICATES, *each.shape)) for each in runs]
    pairs = zip(runs, chosen, strict=True)
    drawn = statistic(*(np.take_along_axis(each[None], rows, 1) for each, rows in pairs))
    low, high = np.quantile(drawn, (_TAIL, 1 - _TAIL))
    return Estimate(value, float(low), float(high), "training seeds")


def _checked(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ConfigError(
            "Scores must be finite numbers [training seeds, episodes or tasks], at least one; "
            f"got the shape {list(scores.shape)} with {int((~np.isfinite(scores)).sum())} numbers "
            "that are not finite."
        )
    return scores
