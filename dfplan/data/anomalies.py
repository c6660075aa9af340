"""Rows that break the motion off: not finite, all zero, or too far from the row before.

Everything goes block by block, so that files mapped from disk pass in constant memory: beside the
indices that are returned and at most a million sampled steps nothing of the data's length is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dfplan.blocks import blocks
from dfplan.record import Record

_ROWS = 1 << 18  # of a block
_SAMPLE = 1_000_000
_QUANTILE = 0.95
_JUMP = 3.0
_GOLDEN = 0.6180339887498949

_SPOILED, _FEW = 10.0, 0.2
"""Single rows far off have spoiled the limit of a step if it is more than this many times that
without them, and no more than this share of the steps is beyond the latter."""

_BRIEF = 10
"""Rows of the longest excursion that is taken for an error of the recorder."""

_FAR = 5.0
"""How far from where bodies move a stretch may lie, in widths of that place."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Faults(Record):
    """Where the motion of a recording breaks off, and which rows are not to be trusted.

    Attributes:
        limit: see :func:`step_limit`.
        lost: see :func:`nonfinite_rows`.
        blank: see :func:`blank_rows`.
        rushed: see :func:`rushed_rows`.
        jumps: see :func:`jump_rows`.
        stray: see :func:`stray_rows`.
    """

    limit: float
    lost: np.ndarray
    blank: np.ndarray
    rushed: np.ndarray
    jumps: np.ndarray
    stray: np.ndarray

    @cached_property
    def left_out(self) -> np.ndarray:
        """Rows that are not to be trusted, int64 [k], rising."""
        return np.unique(np.concatenate([self.lost, self.blank, self.rushed, self.stray]))


def find_faults(observations: np.ndarray, episodes: np.ndarray) -> Faults:
    """The faults of ``observations`` [N, 2] or [N, 4], whose episodes begin at ``episodes`` [E]."""
    limit = step_limit(observations, episodes)
    lost, blank = nonfinite_rows(observations), blank_rows(observations, limit)
    rushed = rushed_rows(observations, episodes, limit)
    jumps = jump_rows(observations, episodes, limit)
    bad = np.concatenate([lost, blank, rushed])
    whole = stretches(np.concatenate([episodes, jumps]), bad, len(observations))
    stray = stray_rows(observations, episodes, jumps, whole, limit)
    return Faults(limit, lost, blank, rushed, jumps, stray)


def stretches(edges: np.ndarray, bad: np.ndarray, count: int) -> np.ndarray:
    """Rows from edge to edge without those that are ``bad``: first and one past the last.

    Args:
        edges: first rows of stretches, in any order; row 0 is among them.
        bad: rows that belong to none, in any order.
        count: rows in all.

    Returns:
        int64 [S, 2], rising.
    """
    edges = np.unique(np.concatenate([edges, bad, bad + 1]))
    edges = np.append(edges[edges < count], count).astype(np.int64)
    parts = np.stack([edges[:-1], edges[1:]], 1)
    return parts[~np.isin(parts[:, 0], bad)]


def nonfinite_rows(array: np.ndarray) -> np.ndarray:
    """Rows of ``array``, [N] or [N, D], with a number that is not finite; int64 [k].

    One beyond what a 32-bit number holds is not, either: networks are shown 32-bit numbers.
    """
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
    zero or not finite, or into another episode, do not count; nor do those to and from single rows
    that are far off, should these be so many that they decide. Of more than a million steps a
    million evenly spaced ones are looked at.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        episodes: first row of each episode, from 0 upwards; int [E].

    Returns:
        The limit in units of position; 0 where nothing moves.
    """
    last = np.append(episodes[1:], len(observations)) - 1
    moved, calm = [], []
    for later in _sampled(_whole(observations, episodes)):
        own = np.searchsorted(episodes, later, side="right") - 1
        here, there = observations[later - 1], observations[later]
        before = observations[np.maximum(later - 2, episodes[own])]
        after = observations[np.minimum(later + 1, last[own])]
        step = _steps(here, there)
        # The way past a single row that is far off is shorter than the way to it or from it.
        shorter = np.fmin(step, np.fmin(_steps(before, there), _steps(here, after)))
        moved.append(step[step > 0])
        calm.append(shorter[step > 0])
    limit, without = _three_times_most(moved), _three_times_most([part[part > 0] for part in calm])
    if 0 < _SPOILED * without < limit and np.mean(np.concatenate(moved) > without) <= _FEW:
        return without
    return limit


def jump_rows(observations: np.ndarray, episodes: np.ndarray, limit: float) -> np.ndarray:
    """Rows farther than ``limit`` from the row before, along either axis; int64 [k].

    A row that starts an episode, that is zero or not finite, or that follows such a row is none.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        episodes: first row of each episode, from 0 upwards; int [E].
        limit: in units of position; see :func:`step_limit`.
    """
    return _rows(
        len(observations),
        lambda first, end: _steps_to(observations, episodes, first, end) > limit,
    )


def rushed_rows(observations: np.ndarray, episodes: np.ndarray, limit: float) -> np.ndarray:
    """Rows whose velocity is beyond what bodies have, and beyond what they then do; int64 [k].

    That is, along either axis, more than three times what 95% of the rows that a step leads to keep
    within, where the steps to and from the row are not half as much beyond what is usual.

    Args:
        observations: position and velocity, float [N, 4]; there are none without velocities.
        episodes: first row of each episode, from 0 upwards; int [E].
        limit: in units of position; see :func:`step_limit`.
    """
    if observations.shape[1] != 4:
        return np.empty(0, np.int64)
    speeds = []
    for later in _sampled(_whole(observations, episodes)):
        here, there = observations[later - 1], observations[later]
        # The slower of two rows, as a single one may be wrong.
        speed = np.minimum(_larger(here[:, 2:]), _larger(there[:, 2:]))
        speeds.append(speed[_steps(here, there) > 0])
    top = _three_times_most(speeds)
    if not top > 0:
        return np.empty(0, np.int64)

    def too_fast(first: int, end: int) -> np.ndarray:
        steps = _steps_to(observations, episodes, first, min(end + 1, len(observations)))
        steps = np.append(steps, np.nan)
        # To a row that begins an episode or follows a bad one there is no step: NaN, taken for 0.
        moved = np.fmax(np.fmax(steps[: end - first], steps[1 : end - first + 1]), 0)
        speed = _larger(observations[first:end, 2:]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((speed > top) & (speed / top > 2 * moved / limit))

    return _rows(len(observations), too_fast)


def stray_rows(
    observations: np.ndarray,
    episodes: np.ndarray,
    jumps: np.ndarray,
    whole: np.ndarray,
    limit: float,
) -> np.ndarray:
    """Rows that are whole in themselves, but parted from the others of their episode; int64 [k].

    These are single rows; up to ten rows between two jumps, the second of which leads back to where
    the first began, if there are more rows on both sides; and rows that lie five times as far from
    where bodies move as that place is wide, be they even a single one that is its own episode.

    Args:
        observations: position in the first two columns; float [N, 2] or [N, 4].
        episodes: first row of each episode, from 0 upwards; int [E].
        jumps: see :func:`jump_rows`.
        whole: the :func:`stretches` between jumps; int64 [S, 2].
        limit: in units of position; see :func:`step_limit`.
    """
    first, end = whole.T
    own = np.isin(first, episodes) & np.isin(end, np.append(episodes, len(observations)))
    size = end - first
    single = size == 1
    stray = single & ~own
    torn = np.intersect1d(jumps, np.intersect1d(first, end))
    brief = np.flatnonzero((size <= _BRIEF) & np.isin(first, torn) & np.isin(end, torn))
    brief = brief[size[brief] < np.minimum(size[brief - 1], size[brief + 1])]
    past = _steps(observations[first[brief] - 1], observations[end[brief]])
    stray[brief[past <= limit]] = True

    places = []
    for later in _sampled(whole[~stray]):
        step = _steps(observations[later - 1], observations[later])
        places.append(observations[later[step > 0], :2])
    if places and len(moved := np.concatenate(places)):
        low, high = np.quantile(moved.astype(np.float64), [1 - _QUANTILE, _QUANTILE], axis=0)
        reach = _FAR * float((high - low).max())

        def far(rows: np.ndarray | slice) -> np.ndarray:
            positions = observations[rows, :2]
            return np.asarray(((positions < low - reach) | (positions > high + reach)).any(1))

        ends = np.flatnonzero((~own | single) & ~stray)
        for part in ends[far(first[ends]) & far(end[ends] - 1)]:
            stray[part] = far(slice(*whole[part])).all()
    rows = [np.arange(*part) for part in whole[stray].tolist()]
    return np.concatenate([np.empty(0, np.int64), *rows])


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


def _whole(observations: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """First and one-past-last row of each episode, int [E, 2]."""
    return np.stack([episodes, np.append(episodes[1:], len(observations))], 1)


def _sampled(parts: np.ndarray) -> Iterator[np.ndarray]:
    """Rows with a predecessor in the same of ``parts`` [S, 2], a sample of them, in blocks."""
    rows = inner_rows(parts, _SAMPLE)
    return (rows[part] for part in blocks(len(rows), _ROWS))


def _three_times_most(parts: Sequence[np.ndarray]) -> float:
    """Three times what 95% of the values in ``parts`` keep within; 0 of none."""
    values = np.concatenate([np.empty(0, np.float32), *parts])
    with np.errstate(invalid="ignore", over="ignore"):
        return float(_JUMP * np.quantile(values, _QUANTILE)) if len(values) else 0.0


def _rows(count: int, marked: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Indices below ``count`` that ``marked(first, end)``, bool [end - first], says True of."""
    found = [
        rows.start + np.flatnonzero(marked(rows.start, rows.stop))
        for rows in blocks(count, _ROWS)
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


def _steps_to(observations: np.ndarray, episodes: np.ndarray, first: int, end: int) -> np.ndarray:
    """:func:`_steps` to the rows from ``first`` to ``end``, NaN to a first row; [end - first]."""
    before = max(first - 1, 0)
    block = observations[before:end]
    steps = np.full(end - first, np.nan, observations.dtype)
    steps[before - first + 1 :] = _steps(block[:-1], block[1:])
    starts = episodes[np.searchsorted(episodes, first) : np.searchsorted(episodes, end)]
    steps[starts - first] = np.nan
    return steps


def _larger(velocities: np.ndarray) -> np.ndarray:
    """The speed along the faster axis, [k], of [k, 2]."""
    return np.asarray(np.maximum(np.abs(velocities[:, 0]), np.abs(velocities[:, 1])))


def _finite(rows: np.ndarray) -> np.ndarray:
    # Column by column: reducing along a short last axis is several times slower.
    columns: list[np.ndarray] = [rows] if rows.ndim == 1 else list(rows.T)
    return np.asarray(np.logical_and.reduce([np.abs(column) <= _LARGEST for column in columns]))


def _nonzero(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.logical_or.reduce([column != 0 for column in rows.T]))
