"""Policies: planners in the loop of an environment."""

from __future__ import annotations

import math
import re
import warnings
from typing import Protocol, runtime_checkable

import numpy as np

from dfplan.arrays import copy_array
from dfplan.boundary import isolated
from dfplan.errors import (
    ConfigError,
    DataError,
    DfplanError,
    ObservationError,
    read_seed,
    require_numbers,
    unknown_name,
)
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.query import (
    SEEDS,
    Observation,
    Problem,
    Vicinity,
    named_first,
    read_goal,
    read_observation,
    require_finite,
    unpacked,
)
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import Odometry, PastSettings
from dfplan.planning.trackers import Tracker
from dfplan.types import Plan, Planner, Reward

ON_ERROR = ("raise", "hold")
"""What a policy can do where a row cannot be planned anew."""

_OUTLIER = 6.0  # standard deviations


@runtime_checkable
class BringsTracker(Protocol):
    """A planner that knows how its plans want to be followed."""

    def tracker(self) -> Tracker: ...


class Policy:
    """Plans when it must and tracks the plan in between; for one environment or a batch.

    A row is planned anew after a reset, when its goal changes, when its position has left the
    plan by more than ``tolerance``, when the plan's time is over and its end is still farther
    than half of that, and, if asked, every ``replan_every`` steps.

    With ``past`` observations may be noisy, and what is not finite is lost: a position, a velocity
    or both. Where the body is follows from them and from the actions sent, by the motion fitted to
    the data (:class:`~dfplan.planning.state_estimator.Odometry`); the planner estimates the past every
    ``stride`` steps, which counts the more the less is known. The noise of velocities need not be
    stated. A body of which no position was received yet is taken to be where it is to go, or
    without a goal at the mean of the data, and is left alone.

    Args:
        planner: what plans; see :func:`dfplan.load`.
        tracker: from plan to action; by default the planner's own.
        goal: position [2] to plan to wherever :meth:`act` finds no other goal.
        reward: handed to the planner with each plan, which it shapes alone where there is no goal;
            such a plan is over like any other, so one that should never end wants
            ``replan_every``. Its steps count from when that plan is made, so a reward that depends
            on time wants ``tolerance=None``, which plans once.
        replan_every: steps between two plans; None plans only when it must.
        tolerance: distance from the plan, in units of position, at which to plan anew; None
            plans once.
        seed: of the planner's noise; None draws afresh.
        past: how noisy observations are, and how many the planner is given; None takes them for
            exact.
        on_error: what becomes of a row whose observation or goal is not finite, or that the
            planner refuses to plan for: ``"raise"`` raises, whatever the other rows are;
            ``"hold"`` goes on with the row's last plan, from its last good observation where the
            new one is to blame, until it can be planned for again. A first plan, of a policy or of
            an episode, always raises. With a past, an observed position where no body can be is
            then taken for lost.

    Attributes:
        plan: the last plan made, of the rows that needed one; None before the first.
        states: what was last acted on, float32 [B, 4] or [B, 2]: what was observed, or with a past
            what was estimated; None before.
        held: rows that went on with their last plan in the last :meth:`act` because of an error,
            bool [B]. For each of them there is one warning between two resets.
    """

    def __init__(
        self,
        planner: Planner,
        tracker: Tracker | None = None,
        *,
        goal: np.ndarray | None = None,
        reward: Reward | None = None,
        replan_every: int | None = None,
        tolerance: float | None = 1.0,
        seed: int | None = None,
        past: PastSettings | None = None,
        on_error: str = "raise",
    ) -> None:
        if isinstance(planner, LearnedPolicy):
            raise ConfigError(
                "What was loaded is a policy and makes no plans: call its own reset() and act()."
            )
        if tracker is None:
            if not isinstance(planner, BringsTracker):
                raise ConfigError(
                    f"{type(planner).__name__} has no tracker() of its own; pass a tracker, such "
                    "as dfplan.Pursuit, to Policy."
                )
            tracker = planner.tracker()
        if replan_every is not None:
            require_numbers({"replan_every": replan_every}, whole=True, least=1)
        if tolerance is not None:
            require_numbers({"tolerance": tolerance}, above=0, most=math.inf)
        self._odometry: Odometry | None = None
        if past is not None:
            if not isinstance(past, PastSettings):
                raise ConfigError(
                    "past says how noisy observations are, as dfplan.PastSettings(noise=...); got "
                    f"{past!r}."
                )
            if not isinstance(planner, ForcingPlanner):
                raise ConfigError(
                    f"{type(planner).__name__} cannot plan from a noisy past; give Policy a "
                    "planner trained by Diffusion Forcing, or leave past out."
                )
            self._odometry = Odometry(planner, past)
            spread = _OUTLIER * past.noise / planner.statistics.motion.max_step
            self._anywhere = Vicinity(planner.settings.vicinity.start + spread, math.inf)
        if on_error not in ON_ERROR:
            raise unknown_name("way to meet an error", on_error, ON_ERROR)
        self._hold = on_error == "hold"
        self._planner = planner
        self._tracker = tracker
        self._goal = None if goal is None else read_goal(goal, 1)[0]
        self._reward = reward
        self._replan_every = replan_every
        self._tolerance = tolerance
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forget every plan; the next :meth:`act` plans anew, with noise from ``seed``."""
        seed = read_seed(seed, SEEDS)
        if self._odometry is not None:
            self._odometry.forget()
        self.plan: Plan | None = None
        self.states: np.ndarray | None = None
        self._rng = None if seed is None else np.random.default_rng(seed)
        # Of their own, so that a plan's noise does not depend on how often a past is estimated.
        self._estimates = None if self._rng is None else self._rng.spawn(1)[0]
        self._begin(0)

    def _begin(self, count: int) -> None:
        """``count`` rows without a plan."""
        self._stale = np.ones(count, dtype=bool)
        self._goals = np.full((count, 2), np.nan, dtype=np.float32)  # NaN: there was none
        self._age = np.zeros(count, dtype=int)
        self._steps = np.zeros(count, dtype=int)
        self._ends = np.zeros((count, 2), dtype=np.float32)
        self._last = np.zeros((0, 4), dtype=np.float32)
        self.held = np.zeros(count, dtype=bool)
        self._warned = np.zeros(count, dtype=bool)

    @isolated()
    def act(self, observation: Observation, goal: np.ndarray | None = None) -> np.ndarray:
        """The action for each environment, one step on.

        Args:
            observation: see :data:`~dfplan.planning.query.Observation`; positions in the frame of
                the data. With a past, rows whose position is not finite are lost.
            goal: position [2] or [B, 2]; by default the observation's ``desired_goal``, else the
                policy's own. With a reward there need not be one.

        Returns:
            Action in [-1, 1], float32 [2] or [B, 2] like the observation.

        Raises:
            ObservationError: wrong shapes, values that are not finite, neither a goal nor a reward
                anywhere, or another number of environments than since the last reset. What is
                wrong with a row names it, and so do the planner's own errors.
        """
        observation, goal = unpacked(observation, goal)
        goal = self._goal if goal is None else goal
        if goal is None and self._reward is None:
            raise ObservationError(
                "A policy needs a goal: pass act(observation, goal=...), Policy(..., goal=...) or "
                "a dict observation with desired_goal. Or give it Policy(..., reward=...) to plan "
                "by alone."
            )
        may_be_lost = self._hold or self._odometry is not None
        states = read_observation(observation, may_be_lost=may_be_lost)
        count = len(states)
        goals = _NONE.repeat(count, 0)
        if goal is not None:
            goals = read_goal(goal, count, may_be_lost=self._hold)
        if self.plan is None:
            self._begin(count)
        elif count != len(self._stale):
            raise ObservationError(
                f"Expected {len(self._stale)} environments, as since the last reset; got {count}. "
                "Call reset() before acting in others."
            )
        held: dict[int, DfplanError] = {}
        if goal is not None:
            self._mend("goal", goals, self._goals, held)
        if self._odometry is None:
            lost, found = ~np.isfinite(states).all(1), np.zeros(count, dtype=bool)
            self._mend("observation", states, self._last, held)
        else:
            states, found = self._located(states, goals, held)
            lost = np.zeros(count, dtype=bool)
        rows, plan = self._planned(states, goals, found, lost, held)
        if plan is not None:
            self._tracker.assign(rows, plan)
            self.plan = plan
            # Not before: where no plan could be made, the next step asks again.
            self._goals[rows] = goals[rows]
            self._stale[rows] = False
            self._age[rows] = 0
            self._steps[rows] = plan.steps
            self._ends[rows] = plan.points[:, -1]
        self._age += 1
        self._last, self.states = states, states.copy()
        action: np.ndarray = np.array(self._tracker.act(states), dtype=np.float32)
        if self._odometry is not None:
            action = np.where(self._odometry.received[:, None], action, np.float32(0))
            self._odometry.send(action)
        self.held = np.zeros(count, dtype=bool)
        self.held[list(held)] = True
        new = [row for row in sorted(held) if not self._warned[row]]
        self._warned[new] = True
        if new:
            warnings.warn(
                f"Of {count} environments these go on with their last plan, until they can be "
                f"planned for again: {_listed(new)}. {held[new[0]]} See Policy.held.",
                stacklevel=3,
            )
        return action if np.ndim(observation) == 2 else action.reshape(2)

    def predict(
        self,
        observation: Observation,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | bool | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """:meth:`act` in the form of Stable-Baselines3's ``predict``.

        Rows where ``episode_start`` is true are planned anew: bool [B], or one for all. The state
        is kept inside, so ``state`` is returned as it came; ``deterministic`` changes nothing:
        seed the policy.

        Raises:
            ObservationError: what :meth:`act` says, or starts of another number of environments.
        """
        if episode_start is not None:
            array = unpacked(observation, None)[0]
            count = len(read_observation(array, may_be_lost=True))
            starts = _mask("episode_start", episode_start, count)
            if starts.all():
                self.plan = None
                if self._odometry is not None:
                    self._odometry.forget()
            elif count == len(self._stale):
                self._stale |= starts
                if self._odometry is not None:
                    self._odometry.forget(starts)
        return self.act(observation), state

    def _mend(
        self,
        what: str,
        values: np.ndarray,
        last: np.ndarray,
        held: dict[int, DfplanError],
    ) -> None:
        """Put ``last`` in place of rows of ``values`` that are not finite; these are ``held``.

        Raises:
            ObservationError: such a row has no plan to go on with.
        """
        if np.isfinite(values).all():
            return
        require_finite(what, values, among=self._stale)
        try:
            require_finite(what, values)
        except ObservationError as error:
            rows = list(error.rows)
            if values.shape != last.shape:
                raise
            values[rows] = last[rows]
            held.update(dict.fromkeys(rows, error))

    def _located(
        self, states: np.ndarray, goals: np.ndarray, held: dict[int, DfplanError]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(states to act from [B, 4], rows of which something was received at last [B])."""
        odometry = self._odometry
        assert odometry is not None
        planner = odometry.planner
        if self._hold:
            try:
                here = np.isfinite(states[:, :2]).all(1, keepdims=True)
                seen = np.where(here, states[:, :2], np.float32(np.nan))
                rest = np.concatenate([seen, np.zeros_like(seen)], 1)
                Problem(rest, None).require_known(planner.statistics, self._anywhere)
            except ObservationError as error:
                states[list(error.rows)] = np.nan
                held.update(dict.fromkeys(error.rows, error))
        mean = planner.statistics.normalizer.mean.numpy()
        otherwise = np.where(np.isnan(goals), mean, goals)
        found = odometry.observe(states, otherwise, seed=_drawn(self._estimates))
        return odometry.states(), found

    def _planned(
        self,
        states: np.ndarray,
        goals: np.ndarray,
        found: np.ndarray,
        lost: np.ndarray,
        held: dict[int, DfplanError],
    ) -> tuple[np.ndarray, Plan | None]:
        """The rows that were planned for, and their plan.

        Of a row that the planner refuses, a goal that is new is taken to be at fault, and then the
        observation; what was last good takes its place in ``goals`` and ``states``.

        Args:
            states: [B, 4] or [B, 2].
            goals: [B, 2], NaN where there are none.
            found: rows to plan for in any case, bool [B].
            lost: rows not to plan for, whatever is due, bool [B].
            held: gets the rows that cannot be planned for.
        """
        alone = bool(np.isnan(goals).all())  # by reward

        def due() -> np.ndarray:
            plannable = ~lost & (np.isnan(goals).any(1) == alone)
            return np.flatnonzero((self._due(states, goals) | found) & plannable)

        rows = due()
        seed = _drawn(self._rng) if len(rows) else None
        while len(rows):
            try:
                return rows, self._plan(states, goals, rows, seed)
            except DfplanError as error:
                _renumber(error, rows, len(states))
                if not self._hold:
                    raise
                for row in self._refused(error, states, goals, rows, seed):
                    if self._stale[row]:
                        raise
                    held.setdefault(row, error)
                    if self._changed(goals)[row]:
                        goals[row] = self._goals[row]
                    else:
                        states[row], lost[row] = self._last[row], True
            rows = due()
        return rows, None

    def _refused(
        self,
        error: DfplanError,
        states: np.ndarray,
        goals: np.ndarray,
        rows: np.ndarray,
        seed: int | None,
    ) -> list[int]:
        """Those of ``rows`` that ``error`` is about; all where none of them fails by itself."""
        if error.rows:
            return list(error.rows)
        refused = []
        for row in rows if len(rows) > 1 else []:
            try:
                self._plan(states, goals, np.array([row]), seed)
            except DfplanError:
                refused.append(int(row))
        return refused or rows.tolist()

    def _plan(
        self, states: np.ndarray, goals: np.ndarray, rows: np.ndarray, seed: int | None
    ) -> Plan:
        observation, reward = states[rows], self._reward
        goal = None if np.isnan(goals[rows]).all() else goals[rows]
        if self._odometry is None:
            plan = self._planner.plan(observation, goal, reward=reward, seed=seed)
        else:
            past, planner = self._odometry.past().rows(rows), self._odometry.planner
            plan = planner.plan(observation, goal, reward=reward, seed=seed, past=past)
        wrong = ~np.isfinite(plan.points).all((1, 2))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"The planner gave a plan whose points are not all finite, for row {row}.",
                rows=named_first(wrong, row),
            )
        return plan

    def _changed(self, goals: np.ndarray) -> np.ndarray:
        """Which rows' goals are others than those planned to, bool [B]."""
        same = (goals == self._goals) | (np.isnan(goals) & np.isnan(self._goals))
        changed: np.ndarray = ~same.all(1)
        return changed

    def _due(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Which rows need a new plan, bool [B]."""
        if self._stale.all():  # and there may be no plan at all
            return self._stale
        due: np.ndarray = self._stale | self._changed(goals)
        if self._tolerance is not None:
            due |= self._tracker.deviation(states) > self._tolerance
            missing = np.linalg.norm(states[:, :2] - self._ends, axis=1)
            due |= (self._age >= self._steps) & (missing > self._tolerance / 2)
        if self._replan_every is not None:
            due |= self._age >= self._replan_every
        return due


_NONE = np.full((1, 2), np.nan, dtype=np.float32)
"""The goals of a row that has none."""


def _drawn(rng: np.random.Generator | None) -> int | None:
    """A seed from ``rng``, or None where there is none."""
    return None if rng is None else int(rng.integers(2**63))


def _mask(what: str, values: object, count: int) -> np.ndarray:
    """``values``, a bool or one for each of ``count`` environments, as bool [count].

    Raises:
        ObservationError: another number of them, or other numbers than 0 and 1.
    """
    try:
        mask = copy_array(values)
    except ObservationError as error:
        raise ObservationError(f"{what} must be True or False for each row. {error}") from error
    if mask.shape not in ((), (count,)) or not np.isin(mask, (0, 1)).all():
        raise ObservationError(
            f"{what} must be one bool, or one for each of {count} environments, [{count}]; got "
            f"{values!r:.200}."
        )
    return np.broadcast_to(mask.astype(bool), count).copy()


def _listed(rows: list[int]) -> str:
    few = ", ".join(map(str, rows[:5]))
    return few if len(rows) <= 5 else f"{few} and {len(rows) - 5} more"


def _renumber(error: DfplanError, rows: np.ndarray, count: int) -> None:
    """Have ``error``, about a plan for ``rows`` of ``count``, name them as the caller does."""
    if error.rows and max(error.rows) < len(rows):
        first = error.rows[0]
        message = re.sub(rf"\brow {first}\b", f"row {rows[first]}", str(error))
        error.rows = tuple(rows[list(error.rows)].tolist())
    elif len(rows) < count:
        message = f"{error} (In a plan for {_listed(rows.tolist())} of {count} environments.)"
        error.rows = ()
    else:
        return
    error.args = (message, *error.args[1:])
