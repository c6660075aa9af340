"""What a data file holds and what is wrong with it, before anything is trained on it.

The file is looked at block by block, so that one of a hundred million rows passes in the memory of
a small one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfplan.blocks import blocks
from dfplan.data.anomalies import Faults, find_faults, inner_rows, nonfinite_rows, sound
from dfplan.data.checks.report import Findings, Report, plural
from dfplan.data.checks.rewards import explain_rewards
from dfplan.data.checks.rows import ROWS, Rows, starts
from dfplan.data.segments import DataWarning, changes, segmented
from dfplan.errors import ConfigError, DataError, MazeError
from dfplan.mazes import Maze, parse_maze
from dfplan.tokens.motion import fit_motion, steady, time_step
from dfplan.tokens.statistics import require_resolved
from dfplan.types import Recording, Trajectories

if TYPE_CHECKING:
    from dfplan.plotting.output import Output

SOFT_CONTACT = 0.07
"""How deep a ball can be pressed into a wall, in cells: the simulators' contacts give way."""

_SAMPLE = 200_000
_DRAWN = 1000
_NONE = np.zeros(0, np.int64)


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
    look = Findings(episodes)
    facts = {"rows": _size(recording)}
    if count < 2:
        look.add(
            "error",
            "rows",
            [],
            "Motion needs at least 2 rows of observations.",
            "Check that the file is the right one and was written to its end.",
            unit="file",
        )
        return Report(recording.source, look.sorted(), facts, {}, _NONE.reshape(0, 2), {})
    maze = _maze(recording, look)
    if maze is not None:
        name = "" if maze.name == "custom" else f"{maze.name}, "
        height, width = maze.shape
        facts["maze"] = f"{name}{height} x {width} cells, frame of {maze.suite.name}"
    facts["episodes"] = _episodes(recording, look)
    faults = find_faults(recording.observations, episodes)
    _bad_rows(recording, faults, look)
    _jumps(recording, faults, look)
    _repeats(recording, look)
    _actions(recording, look)
    _ends(recording, look)
    if recording.goals is not None:
        _stale_goals(recording, recording.goals, look)
    if recording.rewards is not None:
        facts.update(explain_rewards(recording, recording.rewards, maze, look))
    trained = _segmented(recording, segment_by, look)
    segments = _NONE.reshape(0, 2) if trained is None else trained.segments
    _short(segments, window, look)
    statistics = _statistics(recording, faults.left_out)
    if trained is not None and _velocities(recording, segments, look) and statistics:
        _motion(trained, statistics, look)
    if maze is not None:
        facts["coverage"] = _coverage(recording, maze, look)
    boundaries = {
        "ends of episodes": len(episodes) - 1,
        "rows left out": len(faults.left_out),
        "jumps": len(faults.jumps),
        **_marks(recording, segment_by),
    }
    return Report(recording.source, look.sorted(), facts, statistics, segments, boundaries)


def draw_check(path: Output, recording: Recording, report: Report) -> Path | Any:
    """Draw where the data has been, a stretch of it as a line, and the places of the findings.

    Args:
        path: picture to write (PNG, SVG or PDF by its ending), or a file that is open for bytes.
        recording: the file as it is.
        report: what :func:`check` found in it.

    Raises:
        ConfigError: unknown ending.
        DataError: no row is finite.
        OSError: the picture cannot be written; nothing is left behind.
    """
    # Here, as matplotlib is to be imported when something is drawn and not before.
    from dfplan.plotting.figures import checked_path, coverage_figure, save

    path = checked_path(path)
    line = None
    if len(report.segments):
        first, end = report.segments[np.argmax(np.diff(report.segments))].tolist()
        line = recording.observations[first : min(end, first + _DRAWN), :2]
    observations = recording.observations
    if len(report.segments) and any(finding.kind == "stray" for finding in report.findings):
        observations = np.concatenate(
            [recording.observations[first:end, :2] for first, end in report.segments]
        )
    places = {
        finding.kind: recording.observations[finding.rows, :2]
        for finding in report.findings
        if finding.kind in ("jumps", "walls")
    }
    try:
        maze = None if recording.maze is None else parse_maze(recording.maze)
    except (ConfigError, MazeError):
        maze = None
    try:
        figure = coverage_figure(
            observations,
            maze=maze,
            line=line,
            jumps=places.get("jumps"),
            walls=places.get("walls"),
        )
    except DataError as error:
        raise DataError(f"{recording.source}: {error}") from error
    return save(figure, path)


def _size(recording: Recording) -> str:
    arrays = [recording.observations, recording.actions, recording.rewards, recording.goals]
    size = sum(array.nbytes for array in arrays if array is not None)
    kinds = {str(array.dtype) for array in arrays[:2] if array is not None}
    columns = recording.observations.shape[1]
    what = "positions and velocities" if columns == 4 else "positions alone"
    unit = "MB" if size >= 1e6 else "kB"
    size_text = f"{size / (1e6 if size >= 1e6 else 1e3):.4g} {unit}"
    return f"{len(recording):,} of {what}, {' and '.join(sorted(kinds))}, {size_text}"


def _maze(recording: Recording, look: Findings) -> Maze | None:
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
            unit="file",
        )
        return None


def _episodes(recording: Recording, look: Findings) -> str:
    """Episodes in words; empty ones and a mixture of layouts are findings."""
    episodes, bare = recording.episodes, recording.bare_ends
    empty = np.flatnonzero(np.diff(episodes, append=len(recording)) == 0)
    if len(empty):
        look.add(
            "note",
            "empty",
            episodes[empty],
            "Episodes without a row.",
            "dfplan passes over them.",
            unit="episode",
        )
    several = plural(len(episodes), "episode")
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
        unit="episode",
    )
    return f"{several}, {int(bare.sum())} of them with a bare last observation"


def _bad_rows(recording: Recording, faults: Faults, look: Findings) -> None:
    for kind, rows, message in (
        ("not finite", faults.lost, "Observations with NaN, infinity or what 32 bits cannot hold."),
        (
            "zeros",
            faults.blank,
            "Observations that are zero throughout, far from what is around them: filling.",
        ),
        (
            "rushed",
            faults.rushed,
            "Velocities far beyond what is usual, while positions do not move like that.",
        ),
        ("stray", faults.stray, "Rows that jumps or faults part from the others, mostly far off."),
    ):
        if len(rows):
            mend = "dfplan leaves these rows out and cuts there."
            look.add("mended", kind, rows, message, mend)
    for name, array in (("rewards", recording.rewards), ("goals", recording.goals)):
        rows = _NONE if array is None else nonfinite_rows(array)
        if len(rows):
            look.add(
                "note",
                f"{name} not finite",
                rows,
                f"{name.capitalize()} with NaN, infinity or what 32 bits cannot hold.",
                "Planning by goals does not use them; mend them before learning from them."
                if name == "rewards"
                else "Training does not use them; cutting by goals cuts before and after each.",
            )


def _jumps(recording: Recording, faults: Faults, look: Findings) -> None:
    jumps = faults.jumps
    if len(jumps):
        longest = 0.0
        for block in blocks(len(jumps), ROWS):
            rows = jumps[block]
            step = recording.observations[rows, :2].astype(np.float64)
            step -= recording.observations[rows - 1, :2]
            longest = max(longest, float(np.abs(step).max()))
        look.add(
            "mended",
            "jumps",
            jumps,
            f"Within an episode the position jumps, by up to {longest:.4g} along an axis; motion "
            f"keeps within {faults.limit:.4g} a step.",
            "dfplan cuts there: what follows counts as another stretch.",
        )


def _repeats(recording: Recording, look: Findings) -> None:
    """Rows like the one before: a parked robot, or a recorder that got stuck."""
    repeated, runs = Rows(), _Runs()
    driven = 0
    for block in blocks(len(recording), ROWS):
        before = max(block.start - 1, 0)
        rows = recording.observations[before : block.stop]
        same = np.logical_and.reduce([column[1:] == column[:-1] for column in rows.T])
        same &= sound(rows[1:])
        if not block.start:
            same = np.append(False, same)
        same[starts(recording.episodes, block) - block.start] = False
        repeated.take(block.start, same)
        runs.take(same)
        pushed = recording.actions[block.start + np.flatnonzero(same) - 1]
        driven += int(np.count_nonzero(_larger(np.abs(pushed)) > 1e-3))
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


def _actions(recording: Recording, look: Findings) -> None:
    wrong = nonfinite_rows(recording.actions)
    if len(wrong):
        look.add(
            "error",
            "actions",
            wrong,
            "Actions with NaN, infinity or what 32 bits cannot hold.",
            "Leave these rows out, or write the actions that were meant.",
        )
    beyond, largest, acted = Rows(), 0.0, False
    for block in blocks(len(recording), ROWS):
        size = _larger(np.abs(recording.actions[block]))
        acted |= bool(size.any())
        out = (size > 1 + 1e-6) & np.isfinite(size)
        beyond.take(block.start, out)
        largest = max(largest, float(size[out].max(initial=0.0)))
    if not acted:
        look.add(
            "note",
            "no actions",
            [],
            "Every action is 0.",
            "Plans need none, but to follow them the default tracker must know what actions do.",
            unit="file",
        )
    if beyond.count:
        look.add(
            "note",
            "large actions",
            beyond.kept,
            f"Actions outside of [-1, 1], up to {largest:.4g}.",
            "dfplan clips them, as the simulators do; actions in other units need scaling.",
            count=beyond.count,
        )


def _ends(recording: Recording, look: Findings) -> None:
    """Terminals that end no episode, and files that say nothing of ends."""
    count, episodes, terminals = len(recording), recording.episodes, recording.terminals
    inside, any_terminal = Rows(), False
    if terminals is not None:
        # An episode's last row, and where that is bare, the one that led to it.
        last = np.append(episodes[1:], count) - 1
        if recording.bare_ends is not None:
            last = np.union1d(last, last[recording.bare_ends] - 1)
        for block in blocks(count, ROWS):
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
            unit="file",
        )


def _stale_goals(recording: Recording, goals: np.ndarray, look: Findings) -> None:
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
            "Take an episode's goal from its second row; dfplan's training needs no goals.",
            unit="episode",
        )


def _segmented(recording: Recording, segment_by: str, look: Findings) -> Trajectories | None:
    """What training would see, or why it would stop; actions that are not finite count as 0."""
    # Actions cut nothing, and what is wrong with them has been said.
    if len(nonfinite_rows(recording.actions)):
        bare = np.broadcast_to(np.zeros(2, np.float32), recording.actions.shape)
        recording = replace(recording, actions=bare)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return segmented(recording, segment_by)
    except DataError as error:
        look.add(
            "error",
            "segments",
            [],
            str(error),
            "Mend what else is found here, or cut by something else.",
            unit="file",
        )
        return None


def _short(segments: np.ndarray, window: int | None, look: Findings) -> None:
    lengths = np.diff(segments)[:, 0]
    least = 2 if window is None else window
    short = segments[lengths < least, 0]
    if len(short):
        look.add(
            "note" if len(short) < len(lengths) else "error",
            "short",
            short,
            f"Of {plural(len(lengths), 'segment')} these have fewer than {plural(least, 'row')}, "
            f"as {'motion' if window is None else 'a training window'} needs.",
            "dfplan draws nothing from them."
            if len(short) < len(lengths)
            else "None is left to train on; join what belongs together, or take a shorter stride.",
            unit="segment",
        )


def _velocities(recording: Recording, segments: np.ndarray, look: Findings) -> bool:
    """Whether anything moves, and as the recorded velocities say; if not, it is a finding."""
    rows = inner_rows(segments, _SAMPLE)
    before, after = (recording.observations[x].astype(np.float64) for x in (rows - 1, rows))
    moved = after[:, :2] - before[:, :2]
    if not moved.any():
        look.add(
            "error",
            "no motion",
            [],
            "Nothing moves, from no row to the next.",
            "Check the columns: the first two of an observation must be the position.",
            unit="file",
        )
        return False
    if after.shape[1] != 4:
        return True
    velocity = after[:, 2:]
    if not velocity.any():
        look.add(
            "error",
            "velocities",
            [],
            "Every velocity (columns 3 and 4) is 0, while positions move.",
            "Leave these columns out: positions alone will do.",
            unit="file",
        )
        return False
    middle, spread = time_step(moved, velocity)
    if steady(middle, spread):
        return True
    swapped = time_step(moved, velocity[:, ::-1])
    hint = (
        "Columns 3 and 4 fit when they are swapped: swap them."
        if steady(*swapped)
        else "Are the columns in another order, or the rows of several episodes mixed?"
    )
    look.add(
        "error",
        "velocities",
        [],
        "Positions do not change as velocities (columns 3 and 4) say: the step is "
        f"{middle:.3g} of the velocity in the median, half of the steps within {spread:.3g}.",
        hint,
        unit="file",
    )
    return False


def _motion(
    trained: Trajectories, statistics: dict[str, tuple[float, float, float, float]], look: Findings
) -> None:
    """Whether bodies move in a way that can be, in numbers that can be told apart."""
    farthest = max(
        abs(end) for name in ("position 1", "position 2") for end in statistics[name][2:]
    )
    try:
        require_resolved(farthest, fit_motion(trained, _SAMPLE), trained.source)
    except DataError as error:
        look.add(
            "error",
            "motion",
            [],
            str(error),
            "Mend what else is found here first.",
            unit="file",
        )


def _coverage(recording: Recording, maze: Maze, look: Findings) -> str:
    """How much of the maze the data has seen, in words; positions in its walls are a finding."""
    height, width = maze.shape
    visits = np.zeros(height * width, np.int64)
    inside, known = Rows(), 0
    frame = maze.suite
    clear = frame.ball_radius - SOFT_CONTACT * frame.unit
    for block in blocks(len(recording), ROWS):
        rows = recording.observations[block]
        good = np.flatnonzero(sound(rows))
        position = rows[good, :2]
        known += len(good)
        grid = maze.on_grid(position)
        near = np.clip(np.floor(grid + 0.5), -1, maze.shape)  # whatever floats there are
        cell = near.astype(np.int64)
        cell[_larger((cell < 0) | (cell >= maze.shape))] = 0  # outside; the outer ring is wall
        flat = cell[:, 0] * width + cell[:, 1]
        visits += np.bincount(flat, minlength=len(visits))
        # Looking for walls around a position is slow, and those in mid-cell need none.
        edge = _larger(np.abs(grid - near)) > 0.5 - clear / frame.unit
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
            f"Positions in walls, or nearer to one than contact allows ({share:.1%} of all).",
            "dfplan keeps them; the maze is only drawn, so no harm is done by a wrong one."
            if share < 0.1
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
        for block in blocks(len(recording) - 1, ROWS):
            rows = values[block.start : block.stop + 1]
            ends = rows[:-1] != 0 if kind == "timeouts" else changes(rows)
            new = starts(recording.episodes, slice(block.start + 1, block.stop + 1))
            ends[new - block.start - 1] = False
            number += int(np.count_nonzero(ends))
        cut = "cut" if segment_by == kind else "not cut"
        marks[f"{name} within episodes ({cut})"] = number
    return marks


def _statistics(
    recording: Recording, left_out: np.ndarray
) -> dict[str, tuple[float, float, float, float]]:
    columns = recording.observations.shape[1]
    names = ["position 1", "position 2", "velocity 1", "velocity 2"][:columns]
    names += ["action 1", "action 2"]
    sums = [_Sums() for _ in names]
    for block in blocks(len(recording), ROWS):
        rows, actions = recording.observations[block], recording.actions[block]
        good = sound(rows)
        good[nonfinite_rows(actions)] = False
        good[starts(left_out, block) - block.start] = False
        for column, values in zip(sums, [*rows.T, *actions.T], strict=True):
            column.take(values[good].astype(np.float64))
    return {
        name: column.moments() for name, column in zip(names, sums, strict=True) if column.count
    }


@dataclass
class _Sums:
    """What mean, deviation and range of a column need, block by block."""

    count: int = 0
    zero: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    greatest: float = -np.inf

    def take(self, values: np.ndarray) -> None:
        if not len(values):
            return
        if not self.count:
            self.zero = float(values[0])  # sums about it lose fewer digits
        self.count += len(values)
        self.least = min(self.least, float(values.min()))
        self.greatest = max(self.greatest, float(values.max()))
        values -= self.zero
        self.total += float(values.sum())
        self.squares += float(values @ values)

    def moments(self) -> tuple[float, float, float, float]:
        mean = self.total / self.count
        deviation = float(np.sqrt(max(self.squares / self.count - mean**2, 0.0)))
        return self.zero + mean, deviation, self.least, self.greatest


def _larger(pairs: np.ndarray) -> np.ndarray:
    """The larger number, or whether either is True, of pairs [k, 2]."""
    # Reducing along a short last axis is several times slower.
    return np.asarray(np.maximum(pairs[:, 0], pairs[:, 1]))
