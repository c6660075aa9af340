"""Policies: planners in the loop of an environment."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np

from dfplan.errors import ConfigError, DataError, ObservationError, require_numbers
from dfplan.planning.forcing import ForcingPlanner
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.odometry import Odometry, PastSettings
from dfplan.planning.problem import (
    Observation,
    read_goal,
    read_observation,
    require_seed,
    unpacked,
)
from dfplan.planning.tracking import Tracker
from dfplan.types import Plan, Planner, Reward


@runtime_checkable
class BringsTracker(Protocol):
    """A planner that knows how its plans want to be followed."""

    def tracker(self) -> Tracker: ...


class Policy:
    """Plans when it must and tracks the plan in between; for one environment or a batch.

    A row is planned anew after a reset, when its goal changes, when its position has left the
    plan by more than ``tolerance``, when the plan's time is over and its end is still farther
    than half of that, and, if asked, every ``replan_every`` steps.

    With ``past`` observations may be noisy, and rows that are not finite are lost. The planner
    estimates from the last of them where the body is, every ``stride`` steps, and plans from
    there; in between, the estimate is carried on by the motion fitted to the data, from the actions
    sent (:class:`~dfplan.planning.odometry.Odometry`). Observed velocities are not used. A body of
    which nothing was received yet is taken to be where it is to go, or without a goal at the mean
    of the data, and is left alone.

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

    Attributes:
        plan: the last plan made, of the rows that needed one; None before the first.
        states: what was last acted on, float32 [B, 4] or [B, 2]: what was observed, or with a past
            what was estimated; None before.
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
        self._planner = planner
        self._tracker = tracker
        self._goal = goal
        self._reward = reward
        self._replan_every = replan_every
        self._tolerance = tolerance
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forget every plan; the next :meth:`act` plans anew, with noise from ``seed``."""
        require_seed(seed)
        if self._odometry is not None:
            self._odometry.forget()
        self.plan: Plan | None = None
        self.states: np.ndarray | None = None
        self._rng = None if seed is None else np.random.default_rng(seed)
        # Of their own, so that a plan's noise does not depend on how often a past is estimated.
        self._estimates = None if self._rng is None else self._rng.spawn(1)[0]
        self._goals: np.ndarray | None = None
        self._stale = np.zeros(0, dtype=bool)
        self._age = np.zeros(0, dtype=int)
        self._steps = np.zeros(0, dtype=int)
        self._ends = np.zeros((0, 2), dtype=np.float32)

    def act(self, observation: Observation, goal: np.ndarray | None = None) -> np.ndarray:
        """The action for each environment, one step on.

        Args:
            observation: see :data:`~dfplan.planning.problem.Observation`; positions in the frame of
                the data. With a past, rows whose position is not finite are lost.
            goal: position [2] or [B, 2]; by default the observation's ``desired_goal``, else the
                policy's own. With a reward there need not be one.

        Returns:
            Action in [-1, 1], float32 [2] or [B, 2] like the observation.

        Raises:
            ObservationError: wrong shapes, values that are not finite, neither a goal nor a reward
                anywhere, or another number of environments than since the last reset.
        """
        observation, goal = unpacked(observation, goal)
        goal = self._goal if goal is None else goal
        if goal is None and self._reward is None:
            raise ObservationError(
                "A policy needs a goal: pass act(observation, goal=...), Policy(..., goal=...) or "
                "a dict observation with desired_goal. Or give it Policy(..., reward=...) to plan "
                "by alone."
            )
        states = read_observation(observation, may_be_lost=self._odometry is not None)
        goals = None if goal is None else read_goal(goal, len(states))
        self._require_as_many(states)
        states, found = self._located(states, goals)
        rows = np.flatnonzero(self._due(states, goals) | found)
        if len(rows):
            self.plan = self._plan(states, goals, rows)
            self._tracker.assign(rows, self.plan)
            # Not before: where no plan could be made, the next step asks again.
            if goals is None or self._goals is None:
                self._goals = goals
            else:
                self._goals[rows] = goals[rows]
            self._stale[rows] = False
            self._age[rows] = 0
            self._steps[rows] = self.plan.steps
            self._ends[rows] = self.plan.points[:, -1]
        self._age += 1
        self.states = states
        action: np.ndarray = np.asarray(self._tracker.act(states), dtype=np.float32)
        if self._odometry is not None:
            action = np.where(self._odometry.received[:, None], action, np.float32(0))
            self._odometry.send(action)
        return action if np.ndim(observation) == 2 else action.reshape(2)

    def predict(
        self,
        observation: Observation,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """:meth:`act` in the form of Stable-Baselines3's ``predict``.

        Rows where ``episode_start`` is true are planned anew. The state is kept inside, so
        ``state`` is returned as it came; ``deterministic`` changes nothing: seed the policy.
        """
        if episode_start is not None:
            starts = np.asarray(episode_start, dtype=bool)
            if starts.all():
                self.plan = None
                if self._odometry is not None:
                    self._odometry.forget()
            elif len(starts) == len(self._stale):
                self._stale |= starts
                if self._odometry is not None:
                    self._odometry.forget(starts)
        return self.act(observation), state

    def _require_as_many(self, states: np.ndarray) -> None:
        if self.plan is not None and len(states) != len(self._stale):
            raise ObservationError(
                f"Expected {len(self._stale)} environments, as since the last reset; got "
                f"{len(states)}. Call reset() before acting in others."
            )

    def _located(
        self, states: np.ndarray, goals: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(states to act from [B, 4], rows of which something was received at last [B])."""
        if self._odometry is None:
            return states, np.zeros(len(states), dtype=bool)
        if goals is None:
            mean = self._odometry.planner.statistics.normalizer.mean.numpy()
            goals = np.tile(mean, (len(states), 1))
        found = self._odometry.observe(states[:, :2], goals, seed=_drawn(self._estimates))
        return self._odometry.states(), found

    def _plan(self, states: np.ndarray, goals: np.ndarray | None, rows: np.ndarray) -> Plan:
        observation, goal = states[rows], None if goals is None else goals[rows]
        reward, seed = self._reward, _drawn(self._rng)
        if self._odometry is None:
            plan = self._planner.plan(observation, goal, reward=reward, seed=seed)
        else:
            past, planner = self._odometry.past().rows(rows), self._odometry.planner
            plan = planner.plan(observation, goal, reward=reward, seed=seed, past=past)
        if not np.isfinite(plan.points).all():
            raise DataError("The planner gave a plan whose points are not all finite.")
        return plan

    def _due(self, states: np.ndarray, goals: np.ndarray | None) -> np.ndarray:
        """Which rows need a new plan, bool [B]."""
        if self.plan is None:
            self._goals = goals
            self._stale = np.ones(len(states), dtype=bool)
            self._age = np.zeros(len(states), dtype=int)
            self._steps = np.zeros(len(states), dtype=int)
            self._ends = np.zeros((len(states), 2), dtype=np.float32)
            return self._stale
        due: np.ndarray = self._stale.copy()
        if goals is not None and self._goals is not None:
            due |= (goals != self._goals).any(1)
        elif goals is not self._goals:  # there was none, or there is none any more
            due[:] = True
        if self._tolerance is not None:
            due |= self._tracker.deviation(states) > self._tolerance
            missing = np.linalg.norm(states[:, :2] - self._ends, axis=1)
            due |= (self._age >= self._steps) & (missing > self._tolerance / 2)
        if self._replan_every is not None:
            due |= self._age >= self._replan_every
        return due


def _drawn(rng: np.random.Generator | None) -> int | None:
    """A seed from ``rng``, or None where there is none."""
    return None if rng is None else int(rng.integers(2**63))
