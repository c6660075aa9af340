"""What a data file holds and what is wrong with it, before anything is trained on it.

The file is looked at block by block, so that one of a hundred million rows passes in the memory of
a small one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dfplan.data.faults import (
    inner_rows,
    jump_rows,
    nonfinite_rows,
    sound,
    step_limit,
    zero_rows,
)
from dfplan.data.segments import DataWarning, segmented
from dfplan.envs import GOAL_RADIUS
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.mazes import GYMNASIUM, OGBENCH, Maze, parse_maze
from dfplan.plotting.coverage import draw_coverage
from dfplan.types import Recording

SEVERITIES = ("error", "mended", "note")
"""Training stops; dfplan leaves the rows out or cuts there; harmless for dfplan, worth knowing."""

SOFT_CONTACT = 0.07
"""How deep a ball can be pressed into a wall, in cells: the simulators' contacts give way."""

_BLOCK = 1 << 18
_KEPT = 1000
_SAMPLE = 200_000
_GOAL_RADII = {GYMNASIUM.name: 0.45, OGBENCH.name: 1.0}
_NEAR = 1e-3
_FITS = 0.95
_STEADY = 0.5
_DRAWN = 1000
_EMPTY = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Finding:
    """One kind of fault of a file.

    Attributes:
        severity: one of :data:`SEVERITIES`.
        kind: a short name.
        count: how many rows it concerns, or episodes where ``message`` says so.
        first: the first row, or None where it has no place.
        episode: the episode of that row, or None.
        message: what it is.
        mend: how to mend it, or what dfplan does about it.
        rows: the first thousand of the rows; int64 [k].
    """

    severity: str
    kind: str
    count: int
    first: int | None
    episode: int | None
    message: str
    mend: str
    rows: np.ndarray = field(default_factory=lambda: _EMPTY, repr=False, compare=False)

    @property
    def place(self) -> str:
        """Where it is first, in words."""
        if self.first is None:
            return ""
        return f"row {self.first}" + ("" if self.episode is None else f" (episode {self.episode})")


@dataclass(frozen=True)
class Report:
    """What :func:`check` found; ``str`` of it is what ``dfplan data check`` prints.

    Attributes:
        source: where the data came from.
        findings: what is wrong, the worst first.
        facts: what else there is to know, by name.
        statistics: mean, standard deviation, least and greatest by column, over the sound rows.
        segments: first and one-past-last row of each stretch that is trained on; int64 [S, 2].
        boundaries: how many there are of each kind of place where motion breaks off, or might.
    """

    source: str
    findings: tuple[Finding, ...]
    facts: dict[str, str]
    statistics: dict[str, tuple[float, float, float, float]]
    segments: np.ndarray = field(repr=False, compare=False)
    boundaries: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether training would start."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The findings counted, and what they mean for training."""
        if not self.findings:
            return "Nothing wrong."
        counts = Counter(finding.severity for finding in self.findings)
        names = {"error": "error", "mended": "mended by dfplan", "note": "note"}
        parts = [
            f"{counts[key]} {name}{'s' if key != 'mended' and counts[key] > 1 else ''}"
            for key, name in names.items()
            if counts[key]
        ]
        ending = "training works" if self.ok else "training would stop"
        return f"{_plural(len(self.findings), 'finding')}: {', '.join(parts)}; {ending}."

    def text(self) -> str:
        """The whole report, to be read."""
        lines = [self.source, *_aligned(list(self.facts.items()))]
        if self.statistics:
            rows: list[tuple[str, ...]] = [("", "mean", "std", "least", "greatest")]
            rows += [
                (name, *(f"{value:.4g}" for value in values))
                for name, values in self.statistics.items()
            ]
            lines += ["", "Statistics", *_aligned(rows, right=True)]
        if len(self.segments):
            lengths = np.diff(self.segments)
            rows = [
                ("number", f"{len(lengths)}"),
                ("rows", f"{lengths.min()} to {lengths.max()}, median {np.median(lengths):g}"),
                *((name, f"{count}") for name, count in self.boundaries.items()),
            ]
            lines += ["", "Segments, which no training window leaves", *_aligned(rows)]
        if self.findings:
            rows = [(x.severity, x.kind, f"{x.count}", x.place) for x in self.findings]
            heads = _aligned([("", "what", "how many", "first"), *rows])
            lines += ["", "Findings", heads[0]]
            for head, finding in zip(heads[1:], self.findings, strict=True):
                lines += [head, f"      {finding.message}", f"      {finding.mend}"]
        return "\n".join([*lines, "", self.verdict])

    def __str__(self) -> str:
        return self.text()


def check(recording: Recording, segment_by: str = "none", window: int | None = None) -> Report:
    """Look a file over for everything that would spoil training, or that is worth knowing.

    Args:
        recording: the file as it is.
        segment_by: what else cuts episodes, as for training; see
            :data:`dfplan.data.segments.SEGMENT_BY`.
        window: rows that a training window needs, to count the segments too short for one.

    Raises:
        ConfigError: an unknown ``segment_by``.
    """
    count, episodes = len(recording), recording.episodes
    look = _Look(recording, episodes)
    facts = {"rows": _size(recording)}
    if count < 2:
        look.add(
            "error",
            "rows",
            [],
            "Motion needs at least 2 rows of observations.",
            "Check that the file is the right one and was written to its end.",
            count=count,
        )
        return Report(recording.source, look.sorted(), facts, {}, _EMPTY.reshape(0, 2), {})
    maze = _maze(recording, look)
    if maze is not None:
        name = "" if maze.name == "custom" else f"{maze.name}, "
        height, width = maze.shape
        facts["maze"] = f"{name}{height} x {width} cells, frame of {maze.frame.name}"
    facts["episodes"] = _episodes(recording, look)
    lost, blank = _bad_rows(recording, look)
    jumps = _jumps(recording, look)
    _repeats(recording, look)
    _actions(recording, look)
    _ends(recording, look)
    if recording.goals is not None:
        _stale_goals(recording, recording.goals, look)
    if recording.rewards is not None:
        facts["rewards"] = _rewards(recording, recording.rewards, maze, look)
    segments = _segments(recording, segment_by, look)
    _short(segments, window, look)
    _velocities(recording, segments, look)
    if maze is not None:
        facts["coverage"] = _coverage(recording, maze, look)
    boundaries = {
        "ends of episodes": len(episodes) - 1,
        "rows left out": len(np.union1d(lost, blank)),
        "jumps": len(jumps),
        **_marks(recording, segment_by),
    }
    return Report(
        recording.source, look.sorted(), facts, _statistics(recording), segments, boundaries
    )


def draw_check(path: str | Path, recording: Recording, report: Report) -> Path:
    """Draw where the data has been, a stretch of it as a line, and the places of the findings.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending).
        recording: the file as it is.
        report: what :func:`check` found in it.

    Raises:
        ConfigError: unknown ending.
        DataError: no row is finite.
        OSError: the picture cannot be written; nothing is left behind.
    """
    line = None
    if len(report.segments):
        first, end = report.segments[np.argmax(np.diff(report.segments))].tolist()
        line = recording.observations[first : min(end, first + _DRAWN), :2]
    places = {
        finding.kind: recording.observations[finding.rows, :2]
        for finding in report.findings
        if finding.kind in ("jumps", "walls")
    }
    try:
        maze = None if recording.maze is None else parse_maze(recording.maze)
    except (ConfigError, MazeError):
        maze = None
    return draw_coverage(
        path,
        observations=recording.observations,
        maze=maze,
        line=line,
        jumps=places.get("jumps"),
        walls=places.get("walls"),
    )


class _Look:
    """Findings as they come, which know the episode of each row."""

    def __init__(self, recording: Recording, episodes: np.ndarray) -> None:
        self._findings: list[Finding] = []
        self._episodes = episodes
        self._several = len(episodes) > 1

    def add(
        self,
        severity: str,
        kind: str,
        rows: np.ndarray | list[int],
        message: str,
        mend: str,
        count: int | None = None,
    ) -> None:
        kept = np.asarray(rows[:_KEPT], np.int64)
        first = int(kept[0]) if len(kept) else None
        episode = None
        if first is not None and self._several:
            episode = int(np.searchsorted(self._episodes, first, side="right")) - 1
        number = len(rows) if count is None else count
        self._findings.append(Finding(severity, kind, number, first, episode, message, mend, kept))

    def sorted(self) -> tuple[Finding, ...]:
        return tuple(sorted(self._findings, key=lambda x: SEVERITIES.index(x.severity)))


@dataclass
class _Rows:
    """Rows that come block by block: how many, and the first of them."""

    count: int = 0
    kept: np.ndarray = field(default_factory=lambda: _EMPTY)

    def take(self, first: int, marked: np.ndarray) -> None:
        self.count += int(np.count_nonzero(marked))
        if len(self.kept) < _KEPT:
            self.kept = np.append(self.kept, first + np.flatnonzero(marked))[:_KEPT]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK))


def _size(recording: Recording) -> str:
    arrays = [recording.observations, recording.actions, recording.rewards, recording.goals]
    size = sum(array.nbytes for array in arrays if array is not None)
    kinds = {str(array.dtype) for array in arrays[:2] if array is not None}
    columns = recording.observations.shape[1]
    what = "positions and velocities" if columns == 4 else "positions alone"
    unit = "MB" if size >= 1e6 else "kB"
    size_text = f"{size / (1e6 if size >= 1e6 else 1e3):.4g} {unit}"
    return f"{len(recording)} of {what}, {' and '.join(sorted(kinds))}, {size_text}"


def _maze(recording: Recording, look: _Look) -> Maze | None:
    if recording.maze is None:
        return None
    try:
        return parse_maze(recording.maze)
    except (ConfigError, MazeError) as error:
        look.add(
            "note",
            "maze",
            [],
            f"The maze that the file names cannot be read: {error}",
            "Only pictures and the search for walls need it; write a maze's name or rows.",
            count=1,
        )
        return None


def _episodes(recording: Recording, look: _Look) -> str:
    """Episodes in words; empty ones and a mixture of layouts are findings."""
    episodes, bare = recording.episodes, recording.bare_ends
    empty = np.flatnonzero(np.diff(episodes, append=len(recording)) == 0)
    if len(empty):
        look.add(
            "note",
            "empty",
            episodes[empty],
            f"Episodes without a row, the first of them episode {empty[0]}.",
            "dfplan passes over them.",
        )
    several = _plural(len(episodes), "episode")
    if bare is None or not bare.any():
        return f"{several}, with an action on every row"
    if bare.all():
        return f"{several}, each with a bare last observation (T + 1 of them for T actions)"
    odd = np.flatnonzero(~bare)
    look.add(
        "note",
        "mixed ends",
        episodes[odd],
        f"{len(odd)} of {several} have an action on their last row (T observations), the others "
        "a bare last observation (T + 1).",
        "dfplan takes both as they are.",
    )
    return f"{several}, {int(bare.sum())} of them with a bare last observation"


def _bad_rows(recording: Recording, look: _Look) -> tuple[np.ndarray, np.ndarray]:
    lost, blank = nonfinite_rows(recording.observations), zero_rows(recording.observations)
    if len(lost):
        look.add(
            "mended",
            "not finite",
            lost,
            "Observations with NaN or infinity.",
            "dfplan leaves these rows out and cuts there.",
        )
    if len(blank):
        look.add(
            "mended",
            "zeros",
            blank,
            "Observations that are zero throughout, which are filling and no place.",
            "dfplan leaves these rows out and cuts there.",
        )
    for name, array in (("rewards", recording.rewards), ("goals", recording.goals)):
        rows = _EMPTY if array is None else nonfinite_rows(array)
        if len(rows):
            look.add(
                "note",
                f"{name} not finite",
                rows,
                f"{name.capitalize()} with NaN or infinity.",
                "Planning by goals does not use them; mend them before learning from them."
                if name == "rewards"
                else "Training does not use them; with --segment-by goals each cuts twice.",
            )
    return lost, blank


def _jumps(recording: Recording, look: _Look) -> np.ndarray:
    limit = step_limit(recording.observations, recording.episodes)
    jumps = jump_rows(recording.observations, recording.episodes, limit)
    if len(jumps):
        longest = 0.0
        for block in _blocks(len(jumps)):
            rows = jumps[block]
            step = recording.observations[rows, :2] - recording.observations[rows - 1, :2]
            longest = max(longest, float(np.abs(step).max()))
        look.add(
            "mended",
            "jumps",
            jumps,
            f"Within an episode the position jumps, by up to {longest:.4g} along an axis; motion "
            f"keeps within {limit:.4g} a step.",
            "dfplan cuts there: what follows counts as another stretch.",
        )
    return jumps


def _repeats(recording: Recording, look: _Look) -> None:
    """Rows like the one before: a parked robot, or a recorder that got stuck."""
    repeated, runs = _Rows(), _Runs()
    driven = 0
    for block in _blocks(len(recording)):
        before = max(block.start - 1, 0)
        rows = recording.observations[before : block.stop]
        same = np.logical_and.reduce([column[1:] == column[:-1] for column in rows.T])
        same &= sound(rows[1:])
        if not block.start:
            same = np.append(False, same)
        same[_starts(recording.episodes, block) - block.start] = False
        repeated.take(block.start, same)
        runs.take(same)
        if block.start or block.stop > 1:
            pushed = recording.actions[np.maximum(block.start + np.flatnonzero(same) - 1, 0)]
            driven += int(np.count_nonzero((np.abs(pushed) > 1e-3).any(axis=1)))
    if not repeated.count:
        return
    share = repeated.count / len(recording)
    look.add(
        "note",
        "repeated rows",
        repeated.kept,
        f"Observations equal to the one before, {runs.longest} in a row at most; "
        f"{driven} of them follow an action that is not zero.",
        "A parked robot does no harm."
        if share <= 0.5
        else f"They are {share:.0%} of the data, so most of what is learned is standing still; "
        "leave most of them out.",
        count=repeated.count,
    )


class _Runs:
    """The longest run of True in blocks that follow one another."""

    def __init__(self) -> None:
        self.longest = 0
        self._open = 0

    def take(self, marked: np.ndarray) -> None:
        gaps = np.flatnonzero(~marked)
        if not len(gaps):
            self._open += len(marked)
            self.longest = max(self.longest, self._open)
            return
        inner = int(np.diff(gaps).max(initial=1)) - 1
        self.longest = max(self.longest, self._open + int(gaps[0]), inner)
        self._open = len(marked) - 1 - int(gaps[-1])
        self.longest = max(self.longest, self._open)


def _actions(recording: Recording, look: _Look) -> None:
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        look.add(
            "error",
            "actions",
            wrong,
            "Actions with NaN or infinity.",
            "Leave these rows out, or write the actions that were meant.",
        )
    beyond, largest = _Rows(), 0.0
    for block in _blocks(len(recording)):
        size = np.abs(recording.actions[block]).max(axis=1)
        out = (size > 1 + 1e-6) & np.isfinite(size)
        beyond.take(block.start, out)
        largest = max(largest, float(size[out].max(initial=0.0)))
    if beyond.count:
        look.add(
            "note",
            "large actions",
            beyond.kept,
            f"Actions outside of [-1, 1], up to {largest:.4g}.",
            "dfplan clips them, as the simulators do; actions in other units need scaling.",
            count=beyond.count,
        )


def _ends(recording: Recording, look: _Look) -> None:
    """Terminals that end no episode, and files that say nothing of ends."""
    count, episodes, terminals = len(recording), recording.episodes, recording.terminals
    inside, any_terminal = _Rows(), False
    if terminals is not None:
        # An episode's last row, and where that is bare, the one that led to it.
        last = np.append(episodes[1:], count) - 1
        if recording.bare_ends is not None:
            last = np.union1d(last, last[recording.bare_ends] - 1)
        for block in _blocks(count):
            marked = terminals[block].astype(bool)
            any_terminal |= bool(marked.any())
            ends = last[np.searchsorted(last, block.start) : np.searchsorted(last, block.stop)]
            marked[ends - block.start] = False
            inside.take(block.start, marked)
    if inside.count:
        look.add(
            "note",
            "terminals",
            inside.kept,
            "Terminals within an episode, which goes on behind them.",
            "dfplan cuts only where the position jumps there.",
            count=inside.count,
        )
    if recording.timeouts is None and not any_terminal and len(episodes) == 1:
        look.add(
            "note",
            "no ends",
            [],
            "Neither terminals nor timeouts mark an end, so the file is one episode.",
            "dfplan cuts where the position jumps; if it is several episodes that start where "
            "the last one ended, mark their ends.",
            count=1,
        )


def _stale_goals(recording: Recording, goals: np.ndarray, look: _Look) -> None:
    """Episodes whose first goal is still the last episode's."""
    count, episodes = len(recording), recording.episodes
    first = episodes[1:][np.diff(episodes, append=count)[1:] >= 2]
    before = np.array(goals[first - 1])
    here, after = np.array(goals[first]), np.array(goals[first + 1])
    stale = first[(before == here).all(axis=1) & (here != after).any(axis=1)]
    if len(stale):
        look.add(
            "note",
            "stale goals",
            stale,
            "Episodes whose first row still has the goal of the episode before.",
            "Do not take an episode's goal from its first row; dfplan does not.",
        )


def _rewards(recording: Recording, rewards: np.ndarray, maze: Maze | None, look: _Look) -> str:
    """What the rewards pay for, in words: which goal, and at which row of a step."""
    scale = _reward_scale(rewards)
    if scale.least == scale.greatest:
        return f"all {scale.least:g}"
    text = f"{scale.least:.4g} {'or' if scale.two else 'to'} {scale.greatest:.4g}"
    goals: dict[str, np.ndarray] = {}
    if maze is not None and maze.goal is not None:
        goals["the maze's goal"] = np.broadcast_to(maze.goal, (len(recording), 2))
    if recording.goals is not None:
        goals["the row's goal"] = recording.goals
    if not goals:
        return f"{text}; no goal is known that they could be for"
    radius = GOAL_RADIUS if maze is None else _GOAL_RADII.get(maze.frame.name, GOAL_RADIUS)
    shares = {
        name: _shares_explained(recording, rewards, goal, scale, radius)
        for name, goal in goals.items()
    }
    best = max(shares, key=lambda name: max(shares[name]))
    here, after = shares[best]
    what = f"being within {radius:g} of {best}" if scale.two else f"nearness to {best}"
    fits = f"at the row itself {here:.1%} fit, at the row after {after:.1%}"
    if max(here, after) < _FITS:
        look.add(
            "note",
            "rewards",
            [],
            f"The rewards pay for no goal that is known: of those for {what}, {fits}.",
            "Planning by goals uses no rewards; before learning from them find out what they pay.",
            count=len(rewards),
        )
        return f"{text}; they fit no goal that is known"
    how = "as D4RL's files have it" if here > after else "as environments pay"
    return f"{text} for {what}, {how} ({fits})"


@dataclass(frozen=True)
class _Scale:
    """Least and greatest reward, and whether there are only these ``two``."""

    least: float
    greatest: float
    two: bool


def _reward_scale(rewards: np.ndarray) -> _Scale:
    least, greatest, other = np.inf, -np.inf, 0
    for block in _blocks(len(rewards)):
        part = rewards[block]
        part = part[np.isfinite(part)]
        least = min(least, float(part.min(initial=np.inf)))
        greatest = max(greatest, float(part.max(initial=-np.inf)))
    for block in _blocks(len(rewards)):
        part = rewards[block]
        other += int(np.count_nonzero((part > least) & (part < greatest)))
    return _Scale(least, greatest, two=not other)


def _shares_explained(
    recording: Recording, rewards: np.ndarray, goals: np.ndarray, scale: _Scale, radius: float
) -> tuple[float, float]:
    """Share of the rewards that a goal explains by a row's own position, and by the next row's.

    Of rewards with two levels only rows that pay, or should, are counted: nearly all the others
    fit whatever the goal.
    """
    fit, counted = np.zeros(2), np.zeros(2)
    for block in _blocks(len(recording) - 1):
        rows = recording.observations[block.start : block.stop + 1]
        position = rows[:, :2].astype(np.float64)
        goal, paid = goals[block], rewards[block]
        starts = _starts(recording.episodes, slice(block.start + 1, block.stop + 1))
        known = sound(rows)
        known = known[:-1] & known[1:] & np.isfinite(paid) & np.isfinite(goal).all(axis=1)
        known[starts - block.start - 1] = False
        for later in (0, 1):
            offset = position[later : later + len(paid)] - goal
            distance = np.hypot(*offset[known].T)
            if scale.two:
                pays, should = paid[known] == scale.greatest, distance <= radius
                fit[later] += np.count_nonzero(pays & should)
                counted[later] += np.count_nonzero(pays | should)
            else:
                fit[later] += np.count_nonzero(np.abs(paid[known] - np.exp(-distance)) < _NEAR)
                counted[later] += len(distance)
    here, after = fit / np.maximum(counted, 1)
    return float(here), float(after)


def _segments(recording: Recording, segment_by: str, look: _Look) -> np.ndarray:
    """What training would see, and why it would stop."""
    # Actions cut nothing, and what is wrong with them has been said.
    bare = np.broadcast_to(np.zeros(2, np.float32), recording.actions.shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return segmented(replace(recording, actions=bare), segment_by).segments
    except DataError as error:
        look.add(
            "error",
            "segments",
            [],
            str(error).removeprefix(recording.source).lstrip(": ").capitalize(),
            "Mend the rows above, or choose another --segment-by.",
            count=1,
        )
        return _EMPTY.reshape(0, 2)


def _short(segments: np.ndarray, window: int | None, look: _Look) -> None:
    lengths = np.diff(segments)[:, 0]
    least = 2 if window is None else window
    short = segments[lengths < least, 0]
    if len(short):
        look.add(
            "note",
            "short",
            short,
            f"Of {_plural(len(lengths), 'segment')} so many have fewer than the {least} rows "
            f"{'that motion' if window is None else 'that a training window'} needs.",
            "dfplan draws nothing from them."
            if len(short) < len(lengths)
            else "None is left to train on; take a shorter horizon.",
        )


def _velocities(recording: Recording, segments: np.ndarray, look: _Look) -> None:
    """Whether anything moves, and as the recorded velocities say."""
    rows = inner_rows(segments, _SAMPLE)
    if not len(rows):
        return
    before, after = (recording.observations[x].astype(np.float64) for x in (rows - 1, rows))
    moved = after[:, :2] - before[:, :2]
    if not moved.any():
        look.add(
            "error",
            "no motion",
            [],
            "Nothing moves, from no row to the next.",
            "Check the columns: the first two of an observation must be the position.",
            count=len(recording),
        )
        return
    if after.shape[1] != 4:
        return
    velocity = after[:, 2:]
    if not velocity.any():
        look.add(
            "error",
            "velocities",
            [],
            "Every velocity (columns 3 and 4) is 0, while positions move.",
            "Leave these columns out: positions alone will do.",
            count=len(recording),
        )
        return
    middle, spread = _ratio(moved, velocity)
    if middle > 0 and spread < _STEADY * middle:
        return
    swapped, calm = _ratio(moved, velocity[:, ::-1])
    hint = (
        "Columns 3 and 4 fit when they are swapped: swap them."
        if swapped > 0 and calm < _STEADY * swapped
        else "Are the columns in another order, or the rows of several episodes mixed?"
    )
    look.add(
        "error",
        "velocities",
        [],
        "Positions do not change as velocities (columns 3 and 4) say: the step is "
        f"{middle:.3g} of the velocity in the median, half of the steps within {spread:.3g}.",
        hint,
        count=len(recording),
    )


def _ratio(moved: np.ndarray, velocity: np.ndarray) -> tuple[float, float]:
    """Median of displacement by velocity where that is fast, and its middle half's width."""
    size = np.abs(velocity)
    fast = size > 0.5 * np.quantile(size, 0.999)
    low, middle, high = np.quantile(moved[fast] / velocity[fast], [0.25, 0.5, 0.75])
    return float(middle), float(high - low)


def _coverage(recording: Recording, maze: Maze, look: _Look) -> str:
    """How much of the maze the data has seen, in words; positions in its walls are a finding."""
    height, width = maze.shape
    visits = np.zeros(height * width, np.int64)
    inside, known = _Rows(), 0
    frame = maze.frame
    clear = frame.ball_radius - SOFT_CONTACT * frame.unit
    for block in _blocks(len(recording)):
        rows = recording.observations[block]
        good = np.flatnonzero(sound(rows))
        position = rows[good, :2]
        known += len(good)
        grid = maze.on_grid(position)
        near = np.clip(np.floor(grid + 0.5), -1, maze.shape)  # whatever floats there are
        cell = near.astype(np.int64)
        out = ((cell < 0) | (cell >= maze.shape)).any(axis=1)
        cell[out] = 0  # the outer ring is wall
        flat = cell[:, 0] * width + cell[:, 1]
        visits += np.bincount(flat, minlength=len(visits))
        # Looking for walls around a position is slow, and those in mid-cell need none.
        edge = np.abs(grid - near).max(axis=1, initial=0.0) > 0.5 - clear / frame.unit
        doubtful = np.flatnonzero(edge | maze.walls.ravel()[flat])
        wall = np.zeros(len(rows), bool)
        wall[good[doubtful[~maze.contains(position[doubtful], clear)]]] = True
        inside.take(block.start, wall)
    if inside.count:
        share = inside.count / known
        look.add(
            "note",
            "walls",
            inside.kept,
            f"Positions in walls, or nearer to one than contact allows ({share:.2g} of all).",
            "dfplan keeps them; the maze is only drawn, so no harm is done by a wrong one."
            if share < 0.01
            else "Is it another maze, or are the positions in another frame?",
            count=inside.count,
        )
    free = ~maze.walls.ravel()
    seen = int(np.count_nonzero(visits[free]))
    return f"{seen} of {int(free.sum())} free cells visited ({seen / free.sum():.0%})"


def _marks(recording: Recording, segment_by: str) -> dict[str, int]:
    """Timeouts and changes of goal within episodes, and whether they cut."""
    marks = {}
    for kind, name in (("timeouts", "timeouts"), ("goals", "changes of goal")):
        values = recording.timeouts if kind == "timeouts" else recording.goals
        if values is None:
            continue
        number = 0
        for block in _blocks(len(recording) - 1):
            rows = values[block.start : block.stop + 1]
            ends = rows[:-1] != 0 if kind == "timeouts" else (rows[1:] != rows[:-1]).any(axis=1)
            starts = _starts(recording.episodes, slice(block.start + 1, block.stop + 1))
            ends[starts - block.start - 1] = False
            number += int(np.count_nonzero(ends))
        cut = "cut" if segment_by == kind else "not cut"
        marks[f"{name} within episodes ({cut})"] = number
    return marks


def _statistics(recording: Recording) -> dict[str, tuple[float, float, float, float]]:
    columns = recording.observations.shape[1]
    names = ["position 1", "position 2", "velocity 1", "velocity 2"][:columns]
    names += ["action 1", "action 2"]
    zero, least, greatest = None, np.full(len(names), np.inf), np.full(len(names), -np.inf)
    total, squares, count = np.zeros(len(names)), np.zeros(len(names)), 0
    for block in _blocks(len(recording)):
        rows = np.concatenate(
            [recording.observations[block], recording.actions[block]], axis=1, dtype=np.float64
        )
        rows = rows[sound(rows[:, :columns]) & sound(rows[:, columns:] + 1)]
        if not len(rows):
            continue
        zero = rows[0] if zero is None else zero  # sums about it lose fewer digits
        total += (rows - zero).sum(axis=0)
        squares += ((rows - zero) ** 2).sum(axis=0)
        least, greatest = (
            np.minimum(least, rows.min(axis=0)),
            np.maximum(greatest, rows.max(axis=0)),
        )
        count += len(rows)
    if zero is None:
        return {}
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    table = np.stack([zero + mean, std, least, greatest], axis=1).tolist()
    return {name: (row[0], row[1], row[2], row[3]) for name, row in zip(names, table, strict=True)}


def _starts(episodes: np.ndarray, rows: slice) -> np.ndarray:
    """First rows of episodes among ``rows``."""
    return episodes[np.searchsorted(episodes, rows.start) : np.searchsorted(episodes, rows.stop)]


def _plural(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def _aligned(rows: Sequence[tuple[str, ...]], right: bool = False) -> list[str]:
    """Lines of columns, the first of them flush left, the others too unless ``right``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if right and place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
