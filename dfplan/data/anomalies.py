"""Finds anomalies in recorded observations: rows that cannot be trusted, and jumps.

Arrays are processed in blocks, so that files mapped from disk need constant memory. Apart from the
returned indices and at most a million sampled steps, no array has the length of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dfplan.blocks import blocks
from dfplan.errors import DataError
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.record import Record
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Recording

_ROWS, _BYTES = 1 << 18, 8 << 20  # largest size of a block
_SAMPLE = 1_000_000
_QUANTILE, _LIMIT_FACTOR = 0.95, 3.0
_GOLDEN_RATIO = 0.6180339887498949
# Single outliers have spoiled the step limit if it is more than _SPOILED times that without them,
# and if at most _MAX_SHARE of the steps exceed the limit without them.
_SPOILED, _MAX_SHARE = 10.0, 0.2
_BRIEF = 10  # largest number of rows in an excursion that counts as a recording error
_FAR = 5.0  # distance of an isolated part from the region of motion, in widths of that region
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Anomalies(Record):
    """The anomalies of a recording. All rows are int64 [k], in increasing order.

    Attributes:
        limit: see :func:`step_limit`.
        nonfinite: see :func:`nonfinite_rows`.
        zero_padding: see :func:`zero_padding_rows`.
        velocity_outliers: see :func:`velocity_outlier_rows`.
        jumps: see :func:`jump_rows`.
        isolated: see :func:`isolated_rows`.
    """

    limit: float
    nonfinite: np.ndarray
    zero_padding: np.ndarray
    velocity_outliers: np.ndarray
    jumps: np.ndarray
    isolated: np.ndarray

    @cached_property
    def excluded(self) -> np.ndarray:
        """Rows that training leaves out, int64 [k], in increasing order.

        They are the anomalies of every kind except jumps. A jump only separates two segments.
        """
        rows = (self.nonfinite, self.zero_padding, self.velocity_outliers, self.isolated)
        return np.unique(np.concatenate(rows))


def find_anomalies(recording: Recording) -> Anomalies:
    """Find the anomalies of the observations; raises as :func:`require_layout`."""
    require_layout(recording)
    observations, episodes = recording.observations, recording.episodes
    limit = step_limit(recording)
    nonfinite, padding = nonfinite_rows(observations), zero_padding_rows(recording, limit)
    outliers, jumps = velocity_outlier_rows(recording, limit), jump_rows(recording, limit)
    excluded = np.concatenate([nonfinite, padding, outliers])
    parts = split_rows(np.concatenate([episodes, jumps]), excluded, len(observations))
    isolated = isolated_rows(recording, jumps, parts, limit)
    return Anomalies(limit, nonfinite, padding, outliers, jumps, isolated)


def require_layout(recording: Recording) -> None:
    """Raise :class:`DataError` unless the layout has as many columns as the observations.

    With the usual layout, observations may also be positions alone.
    """
    width, layout = recording.observations.shape[1], recording.layout
    if width != layout.width and (layout != PLANAR or width != len(layout.position)):
        raise DataError(
            f"{recording.source}: the layout of the recording has {layout.width} columns, but an "
            f"observation has {width}. Pass layout=ObservationLayout({width}, position) to "
            "Recording, or make the recording with dfplan.data.from_arrays(..., position=...)."
        )


def split_rows(edges: np.ndarray, excluded: np.ndarray, count: int) -> np.ndarray:
    """Split ``count`` rows at ``edges``, the first rows of parts, without the excluded rows.

    ``edges``, which contain row 0, and ``excluded`` may be in any order. Returns the first and
    one-past-last row of each part; int64 [S, 2], in increasing order.
    """
    edges = np.unique(np.concatenate([edges, excluded, excluded + 1]))
    edges = np.append(edges[edges < count], count).astype(np.int64)
    parts = np.stack([edges[:-1], edges[1:]], 1)
    return parts[~np.isin(parts[:, 0], excluded)]


def nonfinite_rows(array: np.ndarray) -> np.ndarray:
    """Rows of ``array``, [N] or [N, D], with a number that is not finite in float32; int64 [k].

    Networks compute with float32, so a larger number counts as infinite.
    """
    return _select(array, lambda first, end: ~_is_finite(array[first:end]))


def zero_rows(observations: np.ndarray) -> np.ndarray:
    """Rows of ``observations`` [N, D] in which every number is 0; int64 [k]."""
    return _select(observations, lambda first, end: ~_is_nonzero(observations[first:end]))


def zero_padding_rows(recording: Recording, limit: float) -> np.ndarray:
    """Rows in which every number is 0 because nothing was recorded; int64 [k].

    A body may also be at rest at the origin. A run of zeros is therefore no padding if the row
    before or after it is within ``limit`` (see :func:`step_limit`) of the origin.
    """
    rows = zero_rows(recording.observations)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    padding = [run for run in runs if len(run) and not _is_reached(recording, run, limit)]
    return np.concatenate([np.empty(0, np.int64), *padding])


def _is_reached(recording: Recording, run: np.ndarray, limit: float) -> bool:
    """Whether the row before or after a run of zeros is within ``limit`` of the origin."""
    neighbors = [row for row in (run[0] - 1, run[-1] + 1) if 0 <= row < len(recording)]
    positions = recording.layout.positions(recording.observations[neighbors])
    return bool((np.abs(positions) <= limit).all(1).any())


def step_limit(recording: Recording) -> float:
    """The largest step along an axis that counts as motion. Larger steps are jumps.

    It is three times the 95% quantile of the steps that are not 0. Steps to or from a row that is
    zero or not finite, and steps between episodes, do not count. Neither do steps to and from
    single outliers, if these are so many that they would determine the quantile. Of more than a
    million steps, a million evenly spaced ones are used.

    Returns:
        The limit in units of position; 0 if nothing moves.
    """
    observations, episodes, layout = recording.observations, recording.episodes, recording.layout
    last = np.append(episodes[1:], len(observations)) - 1
    steps, shortest = [], []
    for later in _sample(_episode_ranges(recording), observations):
        episode = np.searchsorted(episodes, later, side="right") - 1
        here, there = observations[later - 1], observations[later]
        before = observations[np.maximum(later - 2, episodes[episode])]
        after = observations[np.minimum(later + 1, last[episode])]
        step = _steps(layout, here, there)
        # A step that skips a single outlier is shorter than the steps to and from it.
        skipping = np.fmin(_steps(layout, before, there), _steps(layout, here, after))
        shorter = np.fmin(step, skipping)
        steps.append(step[step > 0])
        shortest.append(shorter[step > 0])
    limit = _limit_of(steps)
    without = _limit_of([part[part > 0] for part in shortest])
    if 0 < _SPOILED * without < limit and np.mean(np.concatenate(steps) > without) <= _MAX_SHARE:
        return without
    return limit


def jump_rows(recording: Recording, limit: float) -> np.ndarray:
    """Rows farther than ``limit`` from the row before, along either axis; int64 [k].

    The first row of an episode, a row that is zero or not finite, and the row after such a row are
    no jumps. ``limit`` is that of :func:`step_limit`.
    """
    return _select(
        recording.observations, lambda first, end: _steps_to(recording, first, end) > limit
    )


def velocity_outlier_rows(recording: Recording, limit: float) -> np.ndarray:
    """Rows whose velocity is far above the usual, and that do not move accordingly; int64 [k].

    The velocity along an axis exceeds three times the 95% quantile of the rows that move, and its
    ratio to this limit is more than twice that of the steps to and from the row to theirs,
    ``limit`` (see :func:`step_limit`). Without velocities there are no such rows.
    """
    observations, layout = recording.observations, recording.layout
    if layout.velocities(observations[:0]) is None:
        return np.empty(0, np.int64)
    speeds = []
    for later in _sample(_episode_ranges(recording), observations):
        here, there = observations[later - 1], observations[later]
        # The slower of two rows, because one of them may be an outlier.
        speed = np.minimum(_max_speed(layout, here), _max_speed(layout, there))
        speeds.append(speed[_steps(layout, here, there) > 0])
    top = _limit_of(speeds)
    if not top > 0:
        return np.empty(0, np.int64)

    def is_outlier(first: int, end: int) -> np.ndarray:
        steps = _steps_to(recording, first, min(end + 1, len(observations)))
        steps = np.append(steps, np.nan)
        # NaN, where there is no step to a row, counts as 0.
        moved = np.fmax(np.fmax(steps[: end - first], steps[1 : end - first + 1]), 0)
        speed = _max_speed(layout, observations[first:end]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((speed > top) & (speed / top > 2 * moved / limit))

    return _select(observations, is_outlier)


def isolated_rows(
    recording: Recording, jumps: np.ndarray, parts: np.ndarray, limit: float
) -> np.ndarray:
    """Valid rows that jumps or excluded rows separate from the rest of their episode; int64 [k].

    These are:

    * single rows;
    * up to ten rows between two jumps, if the second jump leads back to where the first began, and
      if the parts on both sides are longer;
    * parts that are five times as far from the region of motion as that region is wide; of parts
      that are a whole episode of several rows, only those that are as far from all other data.

    Args:
        recording: the data.
        jumps: see :func:`jump_rows`.
        parts: the parts between jumps, from :func:`split_rows`; int64 [S, 2].
        limit: in units of position; see :func:`step_limit`.
    """
    observations, episodes, layout = recording.observations, recording.episodes, recording.layout
    first, end = parts.T
    whole = np.isin(first, episodes) & np.isin(end, np.append(episodes, len(observations)))
    size = end - first
    single = size == 1
    isolated = single & ~whole
    between = np.intersect1d(jumps, np.intersect1d(first, end))
    brief = np.flatnonzero((size <= _BRIEF) & np.isin(first, between) & np.isin(end, between))
    brief = brief[size[brief] < np.minimum(size[brief - 1], size[brief + 1])]
    return_steps = _steps(layout, observations[first[brief] - 1], observations[end[brief]])
    isolated[brief[return_steps <= limit]] = True

    positions = []
    for later in _sample(parts[~isolated], observations):
        there = observations[later]
        step = _steps(layout, observations[later - 1], there)
        positions.append(layout.positions(there)[step > 0])
    if positions and len(moving := np.concatenate(positions)):
        box = np.quantile(moving.astype(np.float64), [1 - _QUANTILE, _QUANTILE], axis=0)
        reach = _FAR * float((box[1] - box[0]).max())

        def is_far(rows: np.ndarray | slice, box: np.ndarray) -> np.ndarray:
            position = layout.positions(observations[rows])
            return np.asarray(((position < box[0] - reach) | (position > box[1] + reach)).any(1))

        far = np.flatnonzero(~isolated)
        far = far[is_far(first[far], box) & is_far(end[far] - 1, box)]
        for part in far:
            isolated[part] = is_far(slice(*parts[part]), box).all()
        episodes_far = far[(isolated & whole & ~single)[far]]
        if len(episodes_far):
            box = _extent(recording, parts[~isolated])
            for part in episodes_far:
                isolated[part] = is_far(slice(*parts[part]), box).all()
    rows = [np.arange(*part) for part in parts[isolated].tolist()]
    return np.concatenate([np.empty(0, np.int64), *rows])


def _extent(recording: Recording, parts: np.ndarray) -> np.ndarray:
    """The smallest and the largest position in ``parts`` [S, 2]; float64 [2, 2]."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for first, end in parts.tolist():
        for rows in blocks(end, _block_rows(recording.observations), start=first):
            positions = recording.layout.positions(recording.observations[rows])
            low = np.minimum(low, positions.min(0))
            high = np.maximum(high, positions.max(0))
    return np.stack([low, high])


def sample_steps(parts: np.ndarray, maximum: int) -> np.ndarray:
    """Rows whose predecessor is in the same part: all, or ``maximum`` evenly spaced ones.

    Args:
        parts: first and one-past-last row of each part, in increasing order; int [S, 2].
        maximum: largest number of rows.

    Returns:
        int64 [k], in increasing order.
    """
    if not (np.diff(parts) > 1).any():
        return np.empty(0, np.int64)
    steps = WindowSampler(parts, predecessors=1)
    index = np.arange(min(len(steps), maximum))
    if len(steps) > maximum:
        # Exactly even spacing could select the same moment of every episode.
        index = ((index + index * _GOLDEN_RATIO % 1) * (len(steps) / maximum)).astype(np.int64)
    return steps.locate(index)[0]


def is_valid(rows: np.ndarray) -> np.ndarray:
    """Whether each of ``rows`` [k, D] is finite and not all 0; bool [k]."""
    return np.asarray(_is_finite(rows) & _is_nonzero(rows))


def _episode_ranges(recording: Recording) -> np.ndarray:
    """First and one-past-last row of each episode, int [E, 2]."""
    return np.stack([recording.episodes, np.append(recording.episodes[1:], len(recording))], axis=1)


def _block_rows(array: np.ndarray) -> int:
    """The number of rows of ``array`` in a block."""
    return min(_ROWS, max(1, _BYTES // max(1, array[:1].nbytes)))


def _sample(parts: np.ndarray, observations: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of a sample of the rows of ``observations`` whose predecessor is in the same part."""
    rows = sample_steps(parts, _SAMPLE)
    return (rows[part] for part in blocks(len(rows), _block_rows(observations)))


def _limit_of(parts: Sequence[np.ndarray]) -> float:
    """Three times the 95% quantile of the values in ``parts``; 0 for no values."""
    values = np.concatenate([np.empty(0, np.float32), *parts])
    with np.errstate(invalid="ignore", over="ignore"):
        return float(_LIMIT_FACTOR * np.quantile(values, _QUANTILE)) if len(values) else 0.0


def _select(array: np.ndarray, mask: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """The rows of ``array`` for which ``mask(first, end)``, bool [end - first], is True."""
    rows = [
        block.start + np.flatnonzero(mask(block.start, block.stop))
        for block in blocks(len(array), _block_rows(array))
    ]
    return np.concatenate([np.empty(0, np.int64), *rows])


def _steps(layout: ObservationLayout, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The larger displacement of the two axes between rows [k, S]; NaN if a row is invalid; [k]."""
    # No warnings: rows may be infinite or close to the largest float.
    with np.errstate(invalid="ignore", over="ignore"):
        moves = np.abs(layout.positions(after) - layout.positions(before))
    step = np.maximum(*moves.T)
    step[~(is_valid(before) & is_valid(after))] = np.nan
    return np.asarray(step)


def _steps_to(recording: Recording, first: int, end: int) -> np.ndarray:
    """:func:`_steps` to the rows ``first`` to ``end`` - 1; NaN to the first row of an episode."""
    before, episodes = max(first - 1, 0), recording.episodes
    block = recording.observations[before:end]
    steps = np.full(end - first, np.nan, block.dtype)
    steps[before - first + 1 :] = _steps(recording.layout, block[:-1], block[1:])
    starts = episodes[np.searchsorted(episodes, first) : np.searchsorted(episodes, end)]
    steps[starts - first] = np.nan
    return steps


def _max_speed(layout: ObservationLayout, rows: np.ndarray) -> np.ndarray:
    """The larger absolute value of the two components of the velocity in rows [k, S]; [k]."""
    velocities = layout.velocities(rows)
    assert velocities is not None  # the caller has checked it
    return np.asarray(np.maximum(*np.abs(velocities).T))


def _is_finite(rows: np.ndarray) -> np.ndarray:
    # Column by column: a reduction along a short last axis is several times slower.
    columns: list[np.ndarray] = [rows] if rows.ndim == 1 else list(rows.T)
    return np.asarray(np.logical_and.reduce([np.abs(column) <= _LARGEST for column in columns]))


def _is_nonzero(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.logical_or.reduce([column != 0 for column in rows.T]))
