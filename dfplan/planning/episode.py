"""Run a policy for one episode and record it."""

from __future__ import annotations

from typing import Any, Protocol, SupportsFloat

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import read_seed, require_numbers
from dfplan.planning.policy import Policy
from dfplan.planning.query import SEED_LIMIT, split_observation
from dfplan.planning.trackers import Tracker
from dfplan.types import Episode, Plan


class Environment(Protocol):
    """The two methods of a Gymnasium environment that an episode needs."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; returns observation and info."""
        ...

    def step(self, action: Any, /) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Returns observation, reward, terminated, truncated and info."""
        ...


def run_episode(
    env: Environment,
    policy: Policy,
    *,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    max_steps: int | None = None,
    stop_at_goal: bool = True,
) -> Episode:
    """Run one episode and record its positions and plans.

    Args:
        env: an environment of any suite, or one with the same interface. Observations are those of
            :data:`~dfplan.planning.query.Observation`. The goal is taken from a dict observation,
            otherwise from ``info["goal"]``, otherwise from the policy. A step reaches the goal if
            ``info["success"]`` is true.
        policy: acts; it is reset.
        seed: seed of the episode and of the planner's noise.
        options: for the environment's reset.
        max_steps: largest number of steps; None runs to the end of the episode.
        stop_at_goal: whether to stop when the goal is reached.

    Raises:
        ConfigError: the seed is not a whole number of at least 0, or ``max_steps`` not one of at
            least 1.
        ObservationError: as :meth:`Policy.act`.
    """
    if max_steps is not None:
        require_numbers({"max_steps": max_steps}, integer=True, minimum=1)
    seed = read_seed(seed, SEED_LIMIT)
    observation, info = env.reset(seed=seed, options=options)
    policy.reset(seed)
    positions: list[np.ndarray] = []
    rewards: list[float] = []
    plans: list[tuple[int, Plan]] = []
    last: Plan | None = None
    reached: int | None = None
    over = False
    while True:
        state, goal = split_observation(observation, None)
        goal = info.get("goal") if goal is None else goal
        positions.append(copy_array(state, np.float64)[:2])
        if over or len(rewards) == max_steps or (reached is not None and stop_at_goal):
            break
        action = policy.act(observation, goal=goal)
        if policy.plan is not None and policy.plan is not last:
            last = policy.plan
            plans.append((len(rewards), last))
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        over = terminated or truncated
        if reached is None and info.get("success"):
            reached = len(rewards)
    maze = next((plan.maze for _, plan in plans), None)
    return Episode(
        positions=np.stack(positions),
        rewards=np.array(rewards),
        plans=tuple(plans),
        goal=None if goal is None else copy_array(goal, np.float64),
        reached=reached,
        maze=maze,
    )


def follow_plan(
    env: Environment, plan: Plan, start: np.ndarray, tracker: Tracker, max_steps: int
) -> np.ndarray:
    """Follow one plan to its goal, without new ones; returns the positions, float64 [S + 1, 2].

    Args:
        env: of the plan's suite; it is reset to the start and the plan's goal.
        plan: for one query.
        start: of the body, as the environment's reset takes it.
        tracker: follows the plan.
        max_steps: largest number of steps.
    """
    options = {"start": start.astype(np.float64)}
    if plan.goal is not None:
        options["goal"] = plan.goal[0].astype(np.float64)
    tracker.assign(np.array([0]), plan)
    observation, _ = env.reset(options=options)
    positions: list[np.ndarray] = []
    for _ in range(max_steps + 1):
        state, _ = split_observation(observation, None)
        state = copy_array(state, np.float64)
        positions.append(plan.layout.positions(state[None])[0])
        observation, _, terminated, truncated, info = env.step(tracker.act(state[None])[0])
        if terminated or truncated or info.get("success"):
            break
    return np.array(positions)
