"""Executes a plan in its environment and emits the positions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from dfplan.envs.make import make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import DfplanError
from dfplan.planning.episode import run_episode
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.policy import Policy
from dfplan.planning.single import ForcingPlanner
from dfplan.types import Plan, Reward
from dfplan.view.planners import ServedPlanner, rounded
from dfplan.view.requests import PlanRequest, errors_of

Event = dict[str, Any]
"""Numbers and text that can be written as JSON; see :func:`dfplan.view.answer.answer`."""

Emit = Callable[[Event], None]
"""Called with each event. An exception from it stops the planning."""

_POSITIONS_PER_EVENT = 8
_STEPS_AT_GOAL = 20

# Making and resetting an environment compiles its model with files and global random generators.
_ENVIRONMENT_LOCK = threading.Lock()


def execute_plan(
    request: PlanRequest,
    served: ServedPlanner,
    planner: ForcingPlanner,
    reward: Reward | None,
    plan: Plan,
    emit: Emit,
) -> None:
    """Run an episode that starts with a plan, and emit the events ``episode``.

    Raises:
        RequestError: there is no simulator, or the episode failed; its field is ``execute``.
    """
    # The spread of later plans is not shown.
    first_plan = _GivenFirstPlan(planner.with_settings(replans=0), plan)
    # A later plan would go back to via-points that have been passed.
    tolerance = None if request.via_points else served.maze.suite.cell_size
    policy = Policy(first_plan, planner.tracker(), reward=reward, tolerance=tolerance)
    with errors_of("execute", DfplanError):
        with _ENVIRONMENT_LOCK:
            env = make(served.maze)
        with closing(env):
            streamed = _StreamedEnvironment(env, request, int(plan.steps[0]), first_plan, emit)
            run_episode(streamed, policy, seed=request.seed, stop_at_goal=False)


class _GivenFirstPlan(BasePlanner):
    """A planner whose first plan is given; ``replanned`` is the number of the later ones."""

    def __init__(self, planner: ForcingPlanner, plan: Plan) -> None:
        self._planner = planner
        self._first: Plan | None = plan
        self.replanned = 0

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """Return the given plan, then make new ones."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self.replanned += 1
        return arguments.plan_with(self._planner)


class _StreamedEnvironment:
    """An environment that emits the body's positions.

    The episode is over some steps after the goal is reached, or at the latest after one and a half
    times the plan's steps and 50 more, or at the environment's own limit. Without a goal it is over
    after the plan's steps; the goal that the environment draws is ignored.
    """

    def __init__(
        self, env: MazeEnv, request: PlanRequest, steps: int, planner: _GivenFirstPlan, emit: Emit
    ) -> None:
        self._env, self._planner, self._emit = env, planner, emit
        self._start = np.array(request.start)
        self._goal = None if request.goal is None else np.array(request.goal)
        longest = min(env.max_steps, steps + steps // 2 + 50)
        self._last = max(1, steps) if self._goal is None else longest
        self._positions: list[np.ndarray] = []
        self._reached: int | None = None
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset to the request's start and goal; the arguments are ignored."""
        start = self._start
        if self._env.suite.has_velocity:
            start = np.concatenate([start, np.zeros(2)])
        options = {"start": start} if self._goal is None else {"start": start, "goal": self._goal}
        with _ENVIRONMENT_LOCK:
            observation, info = self._env.reset(seed=0, options=options)
        info = self._record(observation, info)
        return observation["observation"], info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """See :meth:`gymnasium.Env.step`; terminated is true when the episode is over."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._step += 1
        if terminated or truncated:
            self._last = self._step
        info = self._record(observation, info)
        return observation["observation"], reward, self._over, False, info

    @property
    def _over(self) -> bool:
        at_goal = self._reached is not None and self._step >= self._reached + _STEPS_AT_GOAL
        return self._step >= self._last or at_goal

    def _record(self, observation: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
        """Record a position, emit the positions if there are enough, and return the new info."""
        success = self._goal is not None and bool(info["success"])
        if success and self._reached is None:
            self._reached = self._step
        self._positions.append(observation["achieved_goal"])
        if self._over or len(self._positions) >= _POSITIONS_PER_EVENT:
            self._emit(
                {
                    "kind": "episode",
                    "positions": rounded(np.array(self._positions)),
                    "step": self._step,
                    "reached": self._reached,
                    "replanned": self._planner.replanned,
                    "over": self._over,
                }
            )
            self._positions = []
        return {"goal": self._goal, "success": success}
