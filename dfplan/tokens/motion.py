"""How the body moves, fitted from recorded states and actions.

A point mass whose axes are driven alike:

    v_next = (1 - drag) * clip(v, -limit, limit) + gain * action
    q_next = q + dt * v_next
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import DataError
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories

_STEADY = 0.5
_NO_COASTING = 0.95  # D4RL's ball loses 0.2% of its velocity in a step, OGBench's all of it
_UNEXPLAINED = 0.25  # share of the top speed below which the law says too little of how bodies move
_MOST_DRAG, _LEAST_DRAG = 1.2, -0.2  # what noise makes of none and of all, with some to spare
_MOST_UNDONE = 0.35  # of OGBench's noisiest steps the next undoes 0.23, of shuffled rows' a half
_ENOUGH = 50  # transitions from which on that is no chance
_CERTAIN = 6.0  # standard errors
_MOST_GAIN = 10.0  # times the fastest velocity
_PLAIN = 2.0**20  # velocities within this factor of 1 can be fitted along with actions


@dataclass(frozen=True)
class Motion:
    """A point mass fitted to data; one unit of time is one environment step.

    Attributes:
        dt: displacement in a step for a unit of velocity.
        drag: share of the velocity lost in a step.
        gain: velocity that a unit of action adds in a step.
        limit: velocity an axis is clipped to before each step.
    """

    dt: float
    drag: float
    gain: float
    limit: float

    @property
    def coasts(self) -> bool:
        """Whether velocity lasts; else a step is what its action says, as in OGBench."""
        return self.drag < _NO_COASTING

    @property
    def max_step(self) -> float:
        """The farthest an axis moves in one environment step."""
        return self.dt * ((1 - self.drag) * self.limit + self.gain)

    def advance(
        self, position: np.ndarray, velocity: np.ndarray, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One step from ``position`` and ``velocity`` under ``action``, each [..., 2]."""
        position, velocity, action = copy_array(position), copy_array(velocity), copy_array(action)
        velocity = (1 - self.drag) * np.clip(velocity, -self.limit, self.limit)
        velocity = velocity + self.gain * np.clip(action, -1.0, 1.0)
        return position + self.dt * velocity, velocity


def fit_motion(trajectories: Trajectories, rows: int = 200_000) -> Motion:
    """Fit a :class:`Motion` to at most ``rows`` evenly spaced transitions.

    Transitions that hit something do not follow the law; medians over all transitions and a
    second fit without the worst tenth keep them from mattering.

    Where no velocities were recorded they are taken from the positions
    (:func:`velocities`).

    Bodies that neither coast nor do as their actions say are taken to go on as they are.

    Raises:
        DataError: no recorded body ever moves, steps undo one another as those of shuffled rows do,
            positions do not change as velocities say, or what is fitted is no motion that a body
            can have.
    """
    index = _transitions(trajectories, rows)
    velocity, after = velocities(trajectories, index), velocities(trajectories, index + 1)
    if not velocity.any():
        raise DataError(
            f"{trajectories.source}: a body must move for its motion to be fitted, but every "
            "velocity (columns 3 and 4 of the observations) is 0 on all rows with a successor."
        )
    undone = -_carried(velocity, after)
    if undone > _MOST_UNDONE and len(index) >= _ENOUGH:
        raise DataError(
            f"{trajectories.source}: rows must be in the order in which they were recorded; "
            f"here a step undoes {undone:.0%} of the one before, as where rows are shuffled, or "
            "positions noisier than steps are long. Sort or smooth them."
        )
    moved = trajectories.observations[index + 1, :2].astype(np.float64)
    moved -= trajectories.observations[index, :2]
    action = np.clip(trajectories.actions[index].astype(np.float64), -1.0, 1.0)
    top = float(np.quantile(np.abs(velocity), 0.999))
    free = np.abs(velocity) < 0.9 * top
    if not velocity[free].any():  # slow rows that say nothing about drag
        free[:] = True
    drag, gain, doubt = _two_slopes(velocity[free], action[free], after[free])
    dt, spread = time_step(moved, after)
    if not steady(dt, spread):
        raise DataError(
            f"{trajectories.source}: positions must change along the velocities (columns 3 and 4 "
            f"of the observations); the change is {dt:.3g} of the velocity in the median, half of "
            f"them within {spread:.3g}. Are the columns in another order, or the rows of several "
            "episodes mixed? See `dfplan data check`."
        )
    # Noise of positions looks like drag in the velocities that are taken from them.
    most_drag = _MOST_DRAG if trajectories.observations.shape[1] == 4 else math.inf
    possible = _LEAST_DRAG <= drag <= most_drag and -_CERTAIN * doubt <= gain <= _MOST_GAIN * top
    kept = 1 - drag
    if drag >= _NO_COASTING and (drag > _MOST_DRAG or kept * top + gain < _UNEXPLAINED * top):
        drag = 0.0
    limit = (top - gain) / (1 - drag) if drag < _NO_COASTING and gain < top else top
    motion = Motion(dt=dt, drag=drag, gain=gain, limit=limit)
    if not (possible and motion.limit > 0 and 0 < motion.max_step < math.inf):
        raise DataError(
            f"{trajectories.source}: no body moves as these rows say: from one to the next it "
            f"keeps {kept:.3g} of its velocity (expected 0 to 1), an action of 1 adds {gain:.3g} "
            f"to it (expected 0 to {_MOST_GAIN * top:.3g}), and velocities go up to {top:.3g} "
            "(expected above 0). Are columns in another order, or actions in another unit, of the "
            "opposite sign or of other rows? Mend them; actions alone can be left out."
        )
    return motion


def velocities(trajectories: Trajectories, rows: np.ndarray) -> np.ndarray:
    """Velocities at ``rows`` [...], none the first of a segment, float64 [..., 2].

    Where none were recorded it is the step that led to the row, in units of position a step.
    """
    observations = trajectories.observations
    if observations.shape[1] == 4:
        return np.asarray(observations[rows, 2:], np.float64)
    here = observations[rows].astype(np.float64)
    return np.asarray(here - observations[rows - 1])


def time_step(moved: np.ndarray, velocity: np.ndarray) -> tuple[float, float]:
    """Displacement by velocity, where that is fast: the median, and its middle half's width.

    Args:
        moved: displacements [R, 2].
        velocity: at their ends [R, 2]; where none is fast, both are 0.
    """
    size = np.abs(velocity)
    fast = size > 0.5 * np.quantile(size, 0.999)
    if not fast.any():
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # where the two are worlds apart
        low, middle, high = np.quantile(moved[fast] / velocity[fast], [0.25, 0.5, 0.75])
        return float(middle), float(high - low)


def steady(middle: float, spread: float) -> bool:
    """Whether a :func:`time_step` is one that positions follow velocities by."""
    return middle > 0 and spread < _STEADY * middle


def _transitions(trajectories: Trajectories, rows: int) -> np.ndarray:
    """Indices, evenly spaced, whose successor lies in the same segment; int [R].

    Without recorded velocities their predecessor does, too.
    """
    before = int(trajectories.observations.shape[1] == 2)
    starts = WindowSampler(trajectories, successors=1, predecessors=before)
    return starts.locate(np.arange(0, len(starts), max(1, len(starts) // rows)))[0]


@np.errstate(over="ignore", invalid="ignore")
def _carried(velocity: np.ndarray, after: np.ndarray) -> float:
    """The share of all ``velocity`` [R, 2], not all 0, that ``after`` [R, 2] goes on with."""
    top = np.abs(velocity).max()
    velocity, after = velocity / top, after / top
    return float((velocity * after).sum() / np.square(velocity).sum())


@np.errstate(over="ignore", invalid="ignore")  # whoever calls looks at what comes out
def _two_slopes(
    velocity: np.ndarray, action: np.ndarray, after: np.ndarray
) -> tuple[float, float, float]:
    """(drag, gain, standard error of gain) by trimmed least squares.

    Fitted is ``after = (1 - drag) velocity + gain action``.
    """
    # In a very small or large unit what velocities say would pass for rounding beside actions.
    top = max(np.abs(velocity).max(), np.abs(after).max())
    unit = float(2.0 ** np.round(np.log2(top)))
    unit = 1.0 if 1 / _PLAIN <= unit <= _PLAIN else unit
    inputs, after = np.stack([velocity / unit, action], 1), after / unit
    keep = np.ones(len(after), dtype=bool)
    solution, error = np.zeros(2), 0.0
    for _ in range(2):
        solution = np.linalg.lstsq(inputs[keep], after[keep], rcond=None)[0]
        residual = np.abs(after - inputs @ solution)
        acted = np.square(action[keep]).sum()
        error = float(np.sqrt(np.square(residual[keep]).sum() / max(keep.sum(), 1)))
        error = error / float(np.sqrt(acted)) if acted else 0.0
        keep = residual <= np.quantile(residual, 0.9)
    return float(1 - solution[0]), unit * float(solution[1]), unit * error
