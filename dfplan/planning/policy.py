"""Policies: planners in the loop with an environment."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from dfplan.boundary import isolated
from dfplan.errors import (
    ConfigError,
    DataError,
    DfplanError,
    ObservationError,
    read_seed,
    require_class,
    require_name,
)
from dfplan.observations import PLANAR
from dfplan.planning.background import BackgroundPlanning, Order
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.passed import PassedPlaces
from dfplan.planning.planner import HasTracker, PlanArguments, require_planner
from dfplan.planning.query import (
    MAX_START_DISTANCE,
    SEED_LIMIT,
    Observation,
    PlanQuery,
    read_goal,
    read_mask,
    read_observation,
    require_finite,
    split_observation,
)
from dfplan.planning.replanning import Replanning
from dfplan.planning.rewards import check_reward
from dfplan.planning.row_errors import (
    failing_rows,
    first_then_others,
    in_row,
    list_rows,
    renumber_rows,
)
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimator, StateEstimatorSettings
from dfplan.planning.trackers import Tracker, require_tracker
from dfplan.planning.trackers.base import TimedTracker
from dfplan.planning.warm_start import FollowedLine, lines_of
from dfplan.tokens.statistics import Statistics
from dfplan.types import Plan, Planner, Reward

ON_ERROR = ("raise", "hold")
"""What a policy can do if it cannot plan for a row."""

_OUTLIER = 6.0
"""Noise beyond this many standard deviations is an outlier."""


class Policy:
    """Plans when needed and tracks the plan in between, for one environment or a batch.

    A row (an environment of the batch) gets a new plan after a reset; if its goal changes; if its
    position is farther than ``tolerance`` from its plan; if it makes no progress, or the time of
    its plan is over, and the goal (without one, the plan's end) is still farther than half the
    tolerance; and, if set, every ``replan_every`` steps.

    With a state estimator, observations may be noisy, and a position or velocity that is not
    finite counts as missing. The state is then estimated from observations and actions
    (:class:`~dfplan.planning.state_estimator.StateEstimator`), and plans start from a history. The
    noise of velocities need not be known. Until a first position of a body is received, it is
    assumed to be at its goal, or without a goal at the mean of the data, and gets action 0.

    Args:
        planner: makes the plans; see :func:`dfplan.load`.
        tracker: computes actions from plans; by default the planner's own.
        goal: position [2] to plan to if :meth:`act` gets no other goal.
        reward: passed to the planner with each plan. Places of a
            :class:`~dfplan.planning.rewards.PassThrough` that the body has passed are left out of
            later plans in the episode. Without a goal, plans are made by reward alone. Such a plan
            ends like any other; set ``replan_every`` to continue forever. The
            steps of the reward start at 0 in each plan; for a reward that depends on time use
            ``tolerance=None``, which plans once.
        replan_every: steps between two plans; None plans only when needed, or as often as the
            planner's settings say
            (:attr:`~dfplan.planning.settings.PlannerSettings.replan_every`).
        tolerance: distance from the plan, in units of position, at which a new plan is made; None
            plans once.
        patience: steps without progress after which a new plan is made, for plans to a goal
            (:class:`~dfplan.planning.replanning.Replanning`). None waits until the plan's time is
            over.
        warm_start: whether a plan that is made only because of ``replan_every`` starts from what is
            left of the one before it, if the planner supports it.
        spread: whether plans have a spread, for pictures
            (:attr:`~dfplan.planning.settings.PlannerSettings.replans`); it takes time.
        seed: seed of the planner's noise; None draws a random one.
        state_estimator: how noisy observations are; by default they are exact.
        on_error: what to do if a row's observation or goal is not finite, or if the planner raises
            an error for it. ``"raise"`` raises an error, even if the other rows are valid.
            ``"hold"`` continues with the row's last plan, from its last valid observation if
            the new one is the cause, until it can be planned for again. The first plan of a policy
            or an episode always raises. A state estimator then ignores impossible positions.
        deadline_ms: milliseconds after which :meth:`act` waits no longer for a plan. The plan is
            then made in a thread, while the body follows the one before it, or gets action 0
            before the first. Actions then depend on the speed of the machine. None waits.

    Attributes:
        plan: the last plan that was made, for rows that needed one; None before the first. Rows
            that have passed other places of the reward get plans of their own.
        states: the states of the last :meth:`act`, observed or estimated, float32 [B, S] or
            [B, 2]; None before the first.
        failed: rows that kept their last plan because of an error in the last :meth:`act`, bool
            [B]. Each row is warned about once between two resets.
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
        patience: int | None = 20,
        warm_start: bool = True,
        spread: bool = False,
        seed: int | None = None,
        state_estimator: StateEstimatorSettings | None = None,
        on_error: str = "raise",
        deadline_ms: float | None = None,
    ) -> None:
        if isinstance(planner, LearnedPolicy):
            raise ConfigError(
                "Policy needs a planner; got a learned policy. Call its reset() and act() directly."
            )
        require_planner(planner)
        if isinstance(planner, ForcingPlanner) and not spread:
            planner = planner.with_settings(replans=0)
        if tracker is None:
            if not isinstance(planner, HasTracker):
                raise ConfigError(
                    f"{type(planner).__name__} has no tracker(); pass a tracker to Policy, such as "
                    "dfplan.Pursuit."
                )
            tracker = planner.tracker()
        require_tracker(tracker)
        if reward is not None:
            check_reward(reward)
        # A plan by reward may wait on purpose.
        patience = patience if reward is None else None
        inner = _innermost(planner)
        if replan_every is None and isinstance(inner, ForcingPlanner):
            replan_every = inner.settings.replan_every
        self._replanning = Replanning(tolerance, replan_every, patience)
        require_name("on_error", on_error, ON_ERROR)
        self._layout = getattr(planner, "observation_layout", PLANAR)
        self._estimator = _estimator(planner, state_estimator)
        self._action_size = _action_size(inner)
        self._hold = on_error == "hold"
        self._planner = planner
        self._background = None if deadline_ms is None else BackgroundPlanning(deadline_ms)
        self._warm_start = warm_start and "warm_start" in getattr(planner, "supports", ())
        self._tracker = tracker
        self._goal = None if goal is None else read_goal(goal, 1, self._layout)[0]
        self._passed = PassedPlaces(reward)
        self._reward = reward
        # Lines are only followed where that decides about later plans.
        self._follows = self._passed.any or (self._warm_start and replan_every is not None)
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Discard all plans. The next :meth:`act` plans again, with noise from ``seed``.

        Raises:
            ConfigError: the seed is not a whole number from 0 to below 2**63.
        """
        seed = read_seed(seed, SEED_LIMIT)
        if self._estimator is not None:
            self._estimator.reset()
        if self._background is not None:
            self._background.drop()
        self.plan: Plan | None = None
        self.states: np.ndarray | None = None
        self._rng = None if seed is None else np.random.default_rng(seed)
        # A separate generator, so that a plan's noise does not depend on the number of estimates.
        self._estimator_rng = None if self._rng is None else self._rng.spawn(1)[0]
        self._start(0)

    def _start(self, count: int) -> None:
        """Start with ``count`` rows without a plan."""
        self._replanning.start(count)
        self._lines: list[FollowedLine | None] = [None] * count
        self._passed.start(count)
        self._last = np.zeros((0, self._layout.width), dtype=np.float32)
        self.failed = np.zeros(count, dtype=bool)
        self._warned = np.zeros(count, dtype=bool)

    @isolated()
    def act(self, observation: Observation, goal: np.ndarray | None = None) -> np.ndarray:
        """The action for each environment; call it once per step.

        Args:
            observation: see :data:`~dfplan.planning.query.Observation`; in the data's coordinates.
                With a state estimator, values that are not finite count as missing.
            goal: position [2] or [B, 2], or an observation of the body there, [S] or [B, S]; by
                default the observation's ``desired_goal``, otherwise the policy's goal. It is
                optional with a reward.

        Returns:
            Action in [-1, 1], float32 [A] or [B, A] like the observation.

        Raises:
            ObservationError: wrong shapes, values that are not finite, no goal and no reward, or
                another number of environments than since the last reset. In a batch, errors about
                a row name it, also those of the planner.
        """
        if self._background is not None:
            self._background.begin_step()
        observation, goal = split_observation(observation, goal)
        goal = self._goal if goal is None else goal
        states, goals = self._read(observation, goal)
        count = len(states)
        failed: dict[int, DfplanError] = {}
        if goal is not None:
            self._replace_missing("goal", goals, self._replanning.goals, failed)
        if self._estimator is None:
            missing, located = ~np.isfinite(states).all(1), np.zeros(count, dtype=bool)
            self._replace_missing("observation", states, self._last, failed)
        else:
            states, located = self._estimated(states, goals, failed)
            missing = np.zeros(count, dtype=bool)
        self._follow(states)
        while True:  # rows that have passed other places have other rewards
            planned = self._planned(states, goals, located, missing, failed)
            if planned is None:
                break
            self._assign(*planned)
            missing[planned[0].rows] = True
        self._replanning.step()
        self._last, self.states = states, states.copy()
        action = self._tracked(states)
        if self._background is not None:
            self._background.end_step()
        if self._estimator is not None:
            action = np.where(self._estimator.received[:, None], action, np.float32(0))
            self._estimator.send(action)
        self.failed = np.zeros(count, dtype=bool)
        self.failed[list(failed)] = True
        self._warn(failed)
        return action if np.ndim(observation) == 2 else action.reshape(-1)

    def predict(
        self,
        observation: Observation,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | bool | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """:meth:`act` with the interface of Stable-Baselines3's ``predict``.

        Args:
            observation: as in :meth:`act`.
            state: returned unchanged; the policy keeps its state itself.
            episode_start: rows that start an episode and get a new plan, bool [B], or one for all.
            deterministic: has no effect; seed the policy instead.

        Returns:
            (action, ``state``).

        Raises:
            ObservationError: as :meth:`act`, or ``episode_start`` of another number of rows.
        """
        if episode_start is not None:
            array = split_observation(observation, None)[0]
            count = len(read_observation(array, self._layout, allow_missing=True))
            starts = read_mask("episode_start", episode_start, count)
            if starts.all():
                self.plan = None
                if self._estimator is not None:
                    self._estimator.reset()
            elif count == len(self._replanning.stale):
                self._replanning.stale |= starts
                if self._estimator is not None:
                    self._estimator.reset(starts)
        return self.act(observation), state

    def _read(
        self, observation: np.ndarray, goal: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """States [B, S] or [B, 2] and goals [B, 2], NaN without a goal; counts the rows."""
        if goal is None and self._reward is None:
            raise ObservationError(
                "A policy needs a goal or a reward: pass act(observation, goal=...), "
                "Policy(..., goal=...), a dict observation with desired_goal, or "
                "Policy(..., reward=...)."
            )
        allow_missing = self._hold or self._estimator is not None
        states = read_observation(observation, self._layout, allow_missing=allow_missing)
        count = len(states)
        goals = np.full((count, 2), np.nan, dtype=np.float32)
        if goal is not None:
            goals = read_goal(goal, count, self._layout, allow_missing=self._hold)
        if self.plan is None:
            self._start(count)
        elif count != len(self._replanning.stale):
            raise ObservationError(
                f"Expected {len(self._replanning.stale)} environments, as since the last reset; "
                f"got {count}. Call reset() before acting in others."
            )
        return states, goals

    def _replace_missing(
        self,
        name: str,
        values: np.ndarray,
        last: np.ndarray,
        failed: dict[int, DfplanError],
    ) -> None:
        """Replace rows of ``values`` that are not finite by those of ``last``; they ``failed``.

        Raises:
            ObservationError: such a row has no plan yet.
        """
        if np.isfinite(values).all():
            return
        require_finite(name, values, among=self._replanning.stale)
        try:
            require_finite(name, values)
        except ObservationError as error:
            rows = list(error.rows)
            if values.shape != last.shape:
                raise
            values[rows] = last[rows]
            failed.update(dict.fromkeys(rows, error))

    def _estimated(
        self, states: np.ndarray, goals: np.ndarray, failed: dict[int, DfplanError]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(estimated states [B, S], rows whose first position was received now [B])."""
        estimator = self._estimator
        assert estimator is not None
        if self._hold:
            try:
                self._require_possible(self._layout.positions(states))
            except ObservationError as error:
                states[list(error.rows)] = np.nan
                failed.update(dict.fromkeys(error.rows, error))
        mean = estimator.statistics.normalizer.mean[:2].numpy()
        default = np.where(np.isnan(goals), mean, goals)
        located = estimator.observe(states, default, seed=_draw_seed(self._estimator_rng))
        return estimator.states(), located

    def _require_possible(self, positions: np.ndarray) -> None:
        """Raise :class:`ObservationError` if a position [B, 2] is too far from the data.

        NaN is allowed, and so is the noise of observations.
        """
        assert self._estimator is not None
        statistics = self._estimator.statistics
        finite = np.isfinite(positions).all(1, keepdims=True)
        received = np.where(finite, positions, np.float32(np.nan))
        noise = _OUTLIER * self._estimator.settings.noise / statistics.motion.max_step
        inner, limit = _innermost(self._planner), MAX_START_DISTANCE
        if isinstance(inner, ForcingPlanner):
            limit = inner.settings.max_start_distance
        max_distance = limit + noise
        PlanQuery(received, None).require_near_data(statistics, max_distance, math.inf)

    def _planned(
        self,
        states: np.ndarray,
        goals: np.ndarray,
        located: np.ndarray,
        missing: np.ndarray,
        failed: dict[int, DfplanError],
    ) -> tuple[Order, Plan] | None:
        """What was planned for, and the plan; None if nothing is due, or no plan is made yet.

        If the planner raises an error for a row, a new goal is assumed to be the cause, otherwise
        the observation. It is replaced, in ``goals`` or ``states``, by the last valid one.

        Args:
            states: [B, S] or [B, 2].
            goals: [B, 2], NaN without a goal.
            located: rows to plan for in any case, bool [B].
            missing: rows not to plan for, bool [B].
            failed: the rows that cannot be planned for are added.
        """
        by_reward = bool(np.isnan(goals).all())

        def due() -> np.ndarray:
            possible = ~missing & (np.isnan(goals).any(1) == by_reward)
            rows = self._passed.group(
                np.flatnonzero((self._due(states, goals) | located) & possible)
            )
            self._replanning.following &= ~located  # their plans began at a placeholder
            return rows

        def attempt(rows: np.ndarray) -> Plan:
            return self._made(self._arguments(states, goals, rows, seed))

        rows = due()
        if self._background is not None:
            return self._in_background(self._background, rows, states, goals, failed)
        seed = _draw_seed(self._rng) if len(rows) else None
        while len(rows):
            try:
                return Order(rows, goals), attempt(rows)
            except DfplanError as error:
                renumber_rows(error, rows, len(states))
                if not self._hold:
                    raise
                for row in failing_rows(error, rows, attempt):
                    if self._replanning.stale[row]:
                        raise
                    failed.setdefault(row, error)
                    if self._replanning.changed(goals)[row]:
                        goals[row] = self._replanning.goals[row]
                    else:
                        states[row], missing[row] = self._last[row], True
            rows = due()
        return None

    def _in_background(
        self,
        background: BackgroundPlanning,
        rows: np.ndarray,
        states: np.ndarray,
        goals: np.ndarray,
        failed: dict[int, DfplanError],
    ) -> tuple[Order, Plan] | None:
        """As :meth:`_planned`, without waiting, for ``rows`` [R] that are due."""
        if background.order is None and len(rows):
            arguments = self._arguments(states, goals, rows, _draw_seed(self._rng))
            background.start(Order(rows, goals.copy()), lambda: self._made(arguments))
        order = background.order
        try:
            return background.result()
        except DfplanError as error:
            assert order is not None, "only a plan that was ordered can fail"
            renumber_rows(error, order.rows, len(states))
            if not self._hold or self._replanning.stale[order.rows].any():
                raise
            failed.update(dict.fromkeys(order.rows.tolist(), error))
            return None

    def _arguments(
        self, states: np.ndarray, goals: np.ndarray, rows: np.ndarray, seed: int | None
    ) -> PlanArguments:
        observation, reward = states[rows], self._passed.left(rows[0])
        goal = None if np.isnan(goals[rows]).all() else goals[rows]
        estimator = self._estimator
        history = None
        if estimator is not None and estimator.has_history:
            history = estimator.history().part(rows)
        following = self._replanning.following
        positions = self._layout.positions(states).astype(np.float64)
        lines = [
            line.rest(positions[row])
            if self._warm_start and following[row] and (line := self._lines[row])
            else None
            for row in rows
        ]
        return PlanArguments(
            observation,
            goal,
            reward,
            seed=seed,
            history=history,
            warm_start=lines if any(lines) else None,
        )

    def _made(self, arguments: PlanArguments) -> Plan:
        """The plan, whose points must be finite."""
        plan = arguments.plan_with(self._planner)
        wrong = ~np.isfinite(plan.points).all((1, 2))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"The points of the planner's plan{in_row(row, len(wrong))} are not all finite.",
                rows=first_then_others(row, wrong),
            )
        return plan

    def _assign(self, order: Order, plan: Plan) -> None:
        """Follow ``plan``, which begins where the bodies were when it was ordered."""
        rows = order.rows
        self._tracker.assign(rows, plan)
        if isinstance(self._tracker, TimedTracker):
            self._tracker.skip(rows, order.elapsed)
        self.plan = plan
        if self._follows:
            for row, line in zip(rows, lines_of(plan), strict=True):
                self._lines[row] = FollowedLine(line, plan.max_step)
        self._replanning.assign(rows, plan, order.goals)

    def _tracked(self, states: np.ndarray) -> np.ndarray:
        """Actions, float32 [B, A]; 0 for rows whose first plan is not made yet."""
        waiting = self._replanning.stale
        if waiting.all():
            return np.zeros((len(states), self._action_size), np.float32)
        action = np.array(self._tracker.act(states), dtype=np.float32)
        action[waiting] = 0.0
        return action

    def _follow(self, states: np.ndarray) -> None:
        """Move along the lines, and count the places that are passed."""
        if not self._follows:
            return
        self._passed.forget(self._replanning.stale)
        for row in np.flatnonzero(self._replanning.stale):
            self._lines[row] = None
        positions = self._layout.positions(states).astype(np.float64)
        for line, position in zip(self._lines, positions, strict=True):
            if line is not None:
                line.move(position)
        self._passed.move(positions, self._lines)

    def _due(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Rows that need a new plan, bool [B]."""
        some_planned = not self._replanning.stale.all()
        needed = some_planned and self._replanning.tolerance is not None
        deviation = self._tracker.deviation(states) if needed else None
        return self._replanning.due(self._layout.positions(states), goals, deviation)

    def _warn(self, failed: dict[int, DfplanError]) -> None:
        """Warn about each row the first time that it fails."""
        new = [row for row in sorted(failed) if not self._warned[row]]
        self._warned[new] = True
        if new:
            warnings.warn(
                f"Of {len(self._warned)} environments these keep their last plan, until they can "
                f"be planned for again: {list_rows(new)}. {failed[new[0]]} See Policy.failed.",
                stacklevel=4,
            )


def _estimator(planner: Planner, settings: StateEstimatorSettings | None) -> StateEstimator | None:
    if settings is None:
        return None
    require_class(StateEstimatorSettings, state_estimator=settings)
    inner = _innermost(planner)
    model = inner.model if isinstance(inner, ForcingPlanner) else None
    statistics = getattr(inner, "statistics", None) if model is None else model.statistics
    if not isinstance(statistics, Statistics):
        raise ConfigError(
            f"A state estimator needs the motion of the body, and {type(planner).__name__} has no "
            "statistics (dfplan.tokens.statistics.Statistics) of its data. Leave state_estimator "
            "out."
        )
    layout = getattr(planner, "observation_layout", PLANAR)
    plans_from_history = "history" in getattr(planner, "supports", ())
    return StateEstimator(settings, statistics, layout, model if plans_from_history else None)


def _action_size(planner: Any) -> int:
    """How many numbers the actions of a planner's body have."""
    if not isinstance(planner, ForcingPlanner):
        return 2
    if planner.low_level is not None:
        return planner.low_level.action_size
    features = planner.model.layout.features
    return next((len(each.columns) for each in features if each.name == "action"), 2)


def _innermost(planner: Any) -> Any:
    """The planner that ``planner`` wraps, or that one wraps, or ``planner`` itself."""
    while hasattr(planner, "planner"):
        planner = planner.planner
    return planner


def _draw_seed(rng: np.random.Generator | None) -> int | None:
    return None if rng is None else int(rng.integers(2**63))
