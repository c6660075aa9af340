"""Rows that break the motion off: not finite, all zero, or too far from the row before.

Everything goes block by block, so that files mapped from disk pass in constant memory: beside the
indices that are returned and at most a million sampled steps nothing of the data's length is made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BLOCK = 1 << 18
_SAMPLE = 1_000_000
_QUANTILE = 0.95
_JUMP = 3.0
_GOLDEN = 0.6180339887498949


def nonfinite_rows(array: np.ndarray) -> np.ndarray:
    """Rows of ``array``, [N] or [N, D], with a number that is not finite; int64 [k]."""
    return _rows(len(array), lambda first, end: ~_finite(array[first:end]))


def zero_rows(observations: np.ndarray) -> np.ndarray:
    """Rows of ``observations`` [N, D] that are zero throughout; int64 [k]."""
    return _rows(len(observations), lambda first, end: ~_nonzero(observations[first:end]))


def blank_rows(observations: np.ndarray, limit: float) -> np.ndarray:
    """Rows that are zero throughout because nothing was written there; int64 [k].

    A body may also be at rest at the origin: rows of zeros that the row before or after leads to
    by a step within ``limit`` are left alone.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        limit: in units of position; see :func:`step_limit`.
    """
    rows = zero_rows(observations)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    blank = [run for run in runs if len(run) and not _led_to(observations, run, limit)]
    return np.concatenate([np.empty(0, np.int64), *blank])


def _led_to(observations: np.ndarray, run: np.ndarray, limit: float) -> bool:
    """Whether a neighbor of a run of zeros is within ``limit`` of the origin."""
    around = [row for row in (run[0] - 1, run[-1] + 1) if 0 <= row < len(observations)]
    return any(bool((np.abs(observations[row, :2]) <= limit).all()) for row in around)


def step_limit(observations: np.ndarray, episodes: np.ndarray) -> float:
    """The step, along either axis, beyond which a body did not move but was put.

    Three times what 95% of the steps that move at all keep within. Steps to or from a row that is
    zero or not finite, or into another episode, do not count. Of more than a million steps a
    million evenly spaced ones are looked at.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        episodes: first row of each episode, from 0 upwards; int [E].

    Returns:
        The limit in units of position; 0 where nothing moves.
    """
    ends = np.append(episodes[1:], len(observations))
    rows = inner_rows(np.stack([episodes, ends], 1), _SAMPLE)
    moved = []
    for first in range(0, len(rows), _BLOCK):
        later = rows[first : first + _BLOCK]
        step = _steps(observations[later - 1], observations[later])
        moved.append(step[step > 0])
    steps = np.concatenate(moved) if moved else np.empty(0)
    return float(_JUMP * np.quantile(steps, _QUANTILE)) if len(steps) else 0.0


def jump_rows(observations: np.ndarray, episodes: np.ndarray, limit: float) -> np.ndarray:
    """Rows farther than ``limit`` from the row before, along either axis; int64 [k].

    A row that starts an episode, that is zero or not finite, or that follows such a row is none.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        episodes: first row of each episode, from 0 upwards; int [E].
        limit: in units of position; see :func:`step_limit`.
    """

    def too_far(first: int, end: int) -> np.ndarray:
        before = max(first - 1, 0)
        block = observations[before:end]
        far = np.zeros(end - first, bool)
        far[before - first + 1 :] = _steps(block[:-1], block[1:]) > limit
        starts = episodes[np.searchsorted(episodes, first) : np.searchsorted(episodes, end)]
        far[starts - first] = False
        return far

    return _rows(len(observations), too_far)


def inner_rows(stretches: np.ndarray, most: int) -> np.ndarray:
    """Rows whose predecessor lies in the same stretch: all, or ``most`` evenly spaced ones.

    Args:
        stretches: first and one-past-last row of each, in order; int [S, 2].
        most: how many rows at most.

    Returns:
        int64 [k], rising.
    """
    first = stretches[:, 0].astype(np.int64)
    steps = np.maximum(stretches[:, 1] - first - 1, 0)
    until = np.cumsum(steps)
    total = int(until[-1]) if len(until) else 0
    rank = np.arange(min(total, most))
    if total > most:
        # Even spacing alone could meet episodes of one length at the same moments only.
        rank = ((rank + rank * _GOLDEN % 1) * (total / most)).astype(np.int64)
    at = np.searchsorted(until, rank, side="right")
    return np.asarray(first[at] + 1 + rank - (until - steps)[at])


def sound(rows: np.ndarray) -> np.ndarray:
    """Which of ``rows`` [k, D] are finite and not zero throughout; bool [k]."""
    return np.asarray(_finite(rows) & _nonzero(rows))


def _rows(count: int, marked: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Indices below ``count`` that ``marked(first, end)``, bool [end - first], says True of."""
    found = [
        first + np.flatnonzero(marked(first, min(first + _BLOCK, count)))
        for first in range(0, count, _BLOCK)
    ]
    return np.concatenate([np.empty(0, np.int64), *found])


def _steps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The larger of both axes' moves between rows [k, D], NaN where either row is bad; [k]."""
    # A row that is not finite, or as far off as floats go, is no reason for a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        moves = np.abs(after[:, :2] - before[:, :2])
    step = np.maximum(moves[:, 0], moves[:, 1])
    step[~(sound(before) & sound(after))] = np.nan
    return np.asarray(step)


def _finite(rows: np.ndarray) -> np.ndarray:
    # Column by column: reducing along a short last axis is several times slower.
    columns: list[np.ndarray] = [rows] if rows.ndim == 1 else list(rows.T)
    return np.asarray(np.logical_and.reduce([np.isfinite(column) for column in columns]))


def _nonzero(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.logical_or.reduce([column != 0 for column in rows.T]))
