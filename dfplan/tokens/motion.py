"""The motion of the body, fitted to recorded states and actions.

The model is a point mass whose axes are independent and alike:

    v_next = (1 - drag) * clip(v, -limit, limit) + gain * action
    q_next = q + dt * v_next
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import DataError
from dfplan.observations import PLANAR
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories

_MAX_SPREAD = 0.5
"""Largest interquartile range of the time step, as a share of its median."""

_MAX_SHARE_OFF = 0.1
"""Largest share of large displacements that are far from the expected ones. Collisions are a few
percent."""

_NO_INERTIA = 0.95
"""Drag from which on a body has no inertia. D4RL's ball loses 0.2% of its velocity in a step,
OGBench's all of it."""

_MIN_EXPLAINED = 0.25
"""Share of the top speed that the model must explain; below it, drag is set to 0."""

_MIN_FORCE = 0.25
"""Share of the changes of velocity that forces explain at least. It is 0.9 or more in the data of
the suites, and 0 for the gas and the steering of a car."""

_MIN_DRAG, _MAX_DRAG = -0.2, 1.2
"""Range of the drag that noise can make of true values between 0 and 1, with a reserve."""

_MAX_REVERSAL = 0.35
"""Share of a step that the next step may reverse: 0.23 in OGBench's noisiest data, 0.5 in shuffled
rows."""

_MIN_TRANSITIONS = 50
"""Number of transitions from which on a reversal is not chance."""

_STANDARD_ERRORS = 6.0
"""Standard errors by which the fitted gain may be below 0."""

_MAX_GAIN = 10.0
"""Largest gain, in multiples of the top speed."""

_MAX_UNIT = 2.0**20
"""Velocities within this factor of 1 are fitted together with actions without a change of unit."""

_MIN_SPACINGS = 8
"""Spacings of float32 numbers that the longest step must span."""

_LARGEST = 1e15
"""The square of this number, and the inverse of its square, are within the range of float32."""


@dataclass(frozen=True)
class Motion:
    """A point mass fitted to data. The unit of time is one environment step.

    Attributes:
        dt: displacement in a step per unit of velocity.
        drag: share of the velocity that is lost in a step.
        gain: velocity that an action of 1 adds in a step.
        limit: each component of the velocity is clipped to this value before each step.
    """

    dt: float
    drag: float
    gain: float
    limit: float

    @property
    def has_inertia(self) -> bool:
        """Whether velocity persists. If not, the action alone determines a step, as in OGBench."""
        return self.drag < _NO_INERTIA

    @property
    def max_step(self) -> float:
        """The largest displacement along an axis in one environment step."""
        return self.dt * ((1 - self.drag) * self.limit + self.gain)

    def advance(
        self, position: np.ndarray, velocity: np.ndarray, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return position and velocity one step later; all arrays are [..., 2]."""
        position, velocity, action = (copy_array(x) for x in (position, velocity, action))
        velocity = (1 - self.drag) * np.clip(velocity, -self.limit, self.limit)
        velocity = velocity + self.gain * np.clip(action, -1.0, 1.0)
        return position + self.dt * velocity, velocity


def fit_motion(trajectories: Trajectories, rows: int = 200_000) -> Motion:
    """Fit a :class:`Motion` to at most ``rows`` evenly spaced transitions.

    Contacts do not follow the model. Medians over all transitions, and a second fit without the
    worst tenth, keep their influence small. Velocities that were not recorded are differences of
    positions (:func:`velocities`). If a body has no inertia and its actions do not explain its
    steps either, its velocity is taken as constant (drag 0). Actions of other than two numbers are
    no forces in the plane; they are taken as 0. So are actions that do not explain the changes of
    the velocity, with a warning, if the columns of the observation are named.

    Raises:
        DataError: no body moves; steps reverse each other, as in shuffled rows; positions do not
            change along the velocities; or the fitted values are physically impossible.
    """
    starts = transitions(trajectories)
    index = starts.locate(np.arange(0, len(starts), max(1, len(starts) // rows)))[0]
    velocity, after = velocities(trajectories, index), velocities(trajectories, index + 1)
    source = trajectories.source
    _require_order(velocity, after, source)
    positions = trajectories.layout.positions(trajectories.observations)
    moved = positions[index + 1].astype(np.float64)
    moved -= positions[index]
    dt = _fit_dt(moved, after, source)
    action = np.clip(forces(trajectories, index).astype(np.float64), -1.0, 1.0)
    # Noise of positions looks like drag if velocities are differences of positions.
    max_drag = _MAX_DRAG if has_velocities(trajectories) else math.inf
    motion, fault = _fit_point_mass(dt, velocity, action, after, max_drag)
    named = trajectories.layout != PLANAR
    if named and action.any() and (fault or not _are_forces(motion, velocity, action, after)):
        motion, fault = _fit_point_mass(dt, velocity, 0 * action, after, max_drag)
        warnings.warn(
            f"{source}: the actions do not explain how the velocity changes, so they are taken as "
            "no forces. The model makes plans, but it has no tracker of its own. If the actions "
            "are forces, check the columns of the position and of the velocity.",
            stacklevel=2,
        )
    if fault:
        raise DataError(f"{source}: the fitted motion is impossible. {fault}")
    return motion


def _fit_dt(moved: np.ndarray, after: np.ndarray, source: str) -> float:
    """The displacement per unit of velocity; raises unless ``moved`` follows ``after`` [R, 2]."""
    dt, spread = estimate_dt(moved, after)
    if not is_consistent(dt, spread):
        raise DataError(
            f"{source}: positions must change along the velocities of the observations. "
            f"The displacement is {dt:.3g} of the velocity in the median, with an interquartile"
            f" range of {spread:.3g}. Is the order of the columns different, or are "
            "rows of several episodes mixed? Run `dfplan data check`. If these columns are no "
            "velocity, say so: velocity=() or --velocity none."
        )
    # Both quantiles: a few long steps alone, or the noise of bodies at rest alone, prove nothing.
    if min(_share_off(moved, dt * after, quantile) for quantile in (0.999, 0.9)) > _MAX_SHARE_OFF:
        raise DataError(
            f"{source}: positions must change along the velocities of the observations "
            f"in all of the data. For high velocities the displacement is {dt:.3g} "
            "of the velocity, but not in another part. Do the velocities of some parts have "
            "another unit or sign?"
        )
    return dt


def _fit_point_mass(
    dt: float, velocity: np.ndarray, action: np.ndarray, after: np.ndarray, max_drag: float
) -> tuple[Motion, str]:
    """Fit drag, gain and limit; also returns why the result is impossible, or an empty text."""
    top = float(np.quantile(np.abs(velocity), 0.999))
    below_top = np.abs(velocity) < 0.9 * top
    if not velocity[below_top].any():  # only rows at rest, which carry no information on drag
        below_top[:] = True
    drag, gain, error = _fit_slopes(velocity[below_top], action[below_top], after[below_top])
    possible = (
        _MIN_DRAG <= drag <= max_drag and -_STANDARD_ERRORS * error <= gain <= _MAX_GAIN * top
    )
    kept = 1 - drag
    if drag >= _NO_INERTIA and (drag > _MAX_DRAG or kept * top + gain < _MIN_EXPLAINED * top):
        drag = 0.0
    limit = (top - gain) / (1 - drag) if drag < _NO_INERTIA and gain < top else top
    motion = Motion(dt=dt, drag=drag, gain=gain, limit=limit)
    if possible and motion.limit > 0 and 0 < motion.max_step < math.inf:
        return motion, ""
    return motion, (
        f"A body keeps {kept:.3g} of its velocity from row to row (expected 0 to 1), an action of "
        f"1 adds {gain:.3g} to it (expected 0 to {_MAX_GAIN * top:.3g}), and the top speed is "
        f"{top:.3g} (expected above 0). Is the order of the columns different, or do actions have "
        "another unit, the opposite sign, or belong to other rows? Correct them, or leave out the "
        "actions. If they are no forces in the plane, use velocity=() or --velocity none."
    )


@np.errstate(over="ignore", invalid="ignore")  # velocities may have any unit
def _are_forces(
    motion: Motion, velocity: np.ndarray, action: np.ndarray, after: np.ndarray
) -> bool:
    """Whether the actions explain enough of the changes of the velocity that drag leaves."""
    change = after - (1 - motion.drag) * velocity
    left = np.square(change - motion.gain * action).sum()
    return bool(left <= (1 - _MIN_FORCE) * np.square(change).sum())


def velocities(trajectories: Trajectories, rows: np.ndarray) -> np.ndarray:
    """Return the velocities at ``rows`` [...], float64 [..., 2].

    Without recorded velocities, this is the displacement from the row before, in units of position
    per step. ``rows`` must then not contain the first row of a segment.
    """
    observations, layout = trajectories.observations, trajectories.layout
    recorded = layout.velocities(observations)
    if recorded is not None:
        return np.asarray(recorded[rows], np.float64)
    positions = layout.positions(observations)
    here = positions[rows].astype(np.float64)
    return np.asarray(here - positions[rows - 1])


def has_velocities(trajectories: Trajectories) -> bool:
    """Whether velocities were recorded."""
    return trajectories.layout.velocities(trajectories.observations[:0]) is not None


def forces(trajectories: Trajectories, rows: np.ndarray) -> np.ndarray:
    """The actions at ``rows`` as forces in the plane [R, 2]; zeros for actions of another width."""
    actions, plane = trajectories.actions, len(trajectories.layout.position)
    return actions[rows] if actions.shape[1] == plane else np.zeros((len(rows), plane))


def estimate_dt(moved: np.ndarray, velocity: np.ndarray) -> tuple[float, float]:
    """Estimate displacement per unit of velocity, from rows with high velocity.

    Args:
        moved: displacements [R, 2].
        velocity: velocity after each displacement [R, 2].

    Returns:
        (median, interquartile range); both are 0 if nothing moves.
    """
    size = np.abs(velocity)
    fast = size > 0.5 * np.quantile(size, 0.999)
    if not fast.any():
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # units may differ by many magnitudes
        low, middle, high = np.quantile(moved[fast] / velocity[fast], [0.25, 0.5, 0.75])
        return float(middle), float(high - low)


def _share_off(moved: np.ndarray, expected: np.ndarray, quantile: float) -> float:
    """Share of the large displacements [R, 2] that differ from the expected ones by half."""
    size = np.abs(moved)
    if not size.any():
        return 0.0
    far = size > 0.5 * np.quantile(size[size > 0], quantile)
    return float(np.mean(np.abs(moved - expected)[far] > 0.5 * size[far]))


def is_consistent(median: float, spread: float) -> bool:
    """Whether positions follow the velocities: a positive median with a small relative spread.

    Args:
        median: first value that :func:`estimate_dt` returns.
        spread: second value that it returns.
    """
    return median > 0 and spread < _MAX_SPREAD * median


def require_resolved(farthest: float, motion: Motion, source: str) -> None:
    """Raise :class:`DataError` unless float32 can represent positions and resolve steps.

    Args:
        farthest: the largest absolute coordinate, in units of position.
        motion: the fitted motion.
        source: name of the data, for error messages.
    """
    step = motion.max_step
    if not (farthest < _LARGEST and 1 / _LARGEST < step < _LARGEST):
        raise DataError(
            f"{source}: networks compute with float32, so positions and steps must be smaller than "
            f"{_LARGEST:g}, and steps larger than {1 / _LARGEST:g}. Got positions up to "
            f"{farthest:.3g} and steps up to {step:.3g}. Convert them to another unit."
        )
    spacing = float(np.spacing(np.float32(farthest)))
    if step < _MIN_SPACINGS * spacing:
        raise DataError(
            f"{source}: positions are as large as {farthest:.6g}, where the spacing of float32 "
            f"numbers is {spacing:.3g}, but the longest step is only {step:.3g}. Subtract an "
            "offset from the positions first, such as their mean."
        )


def transitions(trajectories: Trajectories) -> WindowSampler:
    """The rows whose successor is in the same segment.

    Without recorded velocities, the predecessor is in the same segment too.
    """
    return WindowSampler(
        trajectories.segments,
        successors=1,
        predecessors=int(not has_velocities(trajectories)),
        source=trajectories.source,
    )


def _require_order(velocity: np.ndarray, after: np.ndarray, source: str) -> None:
    """Raise unless bodies move, and steps do not reverse each other as in shuffled rows."""
    if not velocity.any():
        raise DataError(
            f"{source}: a body must move before its motion can be fitted, but every velocity "
            "of the observations is 0 in all rows that have a successor."
        )
    reversal = -_persistence(velocity, after)
    if reversal > _MAX_REVERSAL and len(velocity) >= _MIN_TRANSITIONS:
        raise DataError(
            f"{source}: rows must be in the order in which they were recorded. Here a step "
            f"reverses {reversal:.0%} of the step before it. Either rows are shuffled, or the "
            "noise of positions is larger than the steps. Sort or smooth the rows."
        )


@np.errstate(over="ignore", invalid="ignore")
def _persistence(velocity: np.ndarray, after: np.ndarray) -> float:
    """Regression slope of ``after`` [R, 2] on ``velocity`` [R, 2], which is not all 0."""
    top = np.abs(velocity).max()
    velocity, after = velocity / top, after / top
    return float((velocity * after).sum() / np.square(velocity).sum())


@np.errstate(over="ignore", invalid="ignore")  # the caller checks the result
def _fit_slopes(
    velocity: np.ndarray, action: np.ndarray, after: np.ndarray
) -> tuple[float, float, float]:
    """Fit ``after = (1 - drag) velocity + gain action`` by trimmed least squares.

    Returns:
        (drag, gain, standard error of gain).
    """
    # Velocities in a very small or very large unit would vanish by rounding next to actions.
    top = max(np.abs(velocity).max(), np.abs(after).max())
    unit = float(2.0 ** np.round(np.log2(top)))
    unit = 1.0 if 1 / _MAX_UNIT <= unit <= _MAX_UNIT else unit
    inputs, after = np.stack([velocity / unit, action], 1), after / unit
    keep = np.ones(len(after), dtype=bool)
    solution, error = np.zeros(2), 0.0
    for _ in range(2):
        solution = np.linalg.lstsq(inputs[keep], after[keep], rcond=None)[0]
        residual = np.abs(after - inputs @ solution)
        sum_of_squares = np.square(action[keep]).sum()
        error = float(np.sqrt(np.square(residual[keep]).sum() / max(keep.sum(), 1)))
        error = error / float(np.sqrt(sum_of_squares)) if sum_of_squares else 0.0
        keep = residual <= np.quantile(residual, 0.9)
    return float(1 - solution[0]), unit * float(solution[1]), unit * error
