"""A policy in the loop of one environment, kept to be looked at."""

from __future__ import annotations

from typing import Any, Protocol, SupportsFloat

import numpy as np

from dfplan.arrays import copy_array
from dfplan.errors import read_seed, require_numbers
from dfplan.planning.policy import Policy
from dfplan.planning.query import SEEDS, unpacked
from dfplan.types import Plan, Rollout


class Environment(Protocol):
    """What is asked of an environment: Gymnasium's two methods."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: observation and info."""
        ...

    def step(self, action: Any, /) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Observation, reward, whether it is terminated, whether truncated, and info."""
        ...


def drive(
    env: Environment,
    policy: Policy,
    *,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    max_steps: int | None = None,
    past_goal: bool = False,
) -> Rollout:
    """Play one episode and keep its path and its plans.

    Args:
        env: of any suite, or whatever is like Gymnasium's. Its observations are as
            :data:`~dfplan.planning.query.Observation` has them; a goal is looked for in a dict
            observation, then in ``info["goal"]``, and else is the policy's. A step has reached the
            goal where ``info["success"]`` says so.
        policy: plans; it is reset.
        seed: of the episode and of the planner's noise.
        options: of the environment's reset.
        max_steps: after which to stop; None for the end of the episode.
        past_goal: whether to go on once the goal is reached.

    Raises:
        ConfigError: a seed that is not a whole number of at least 0.
        ObservationError: what :meth:`Policy.act` says of observations and goals.
    """
    if max_steps is not None:
        require_numbers({"max_steps": max_steps}, whole=True, least=1)
    seed = read_seed(seed, SEEDS)
    observation, info = env.reset(seed=seed, options=options)
    policy.reset(seed)
    positions: list[np.ndarray] = []
    rewards: list[float] = []
    plans: list[tuple[int, Plan]] = []
    last: Plan | None = None
    reached: int | None = None
    over = False
    while True:
        state, goal = unpacked(observation, None)
        goal = info.get("goal") if goal is None else goal
        positions.append(copy_array(state, np.float64)[:2])
        if over or len(rewards) == max_steps or (reached is not None and not past_goal):
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
    return Rollout(
        positions=np.stack(positions),
        rewards=np.array(rewards),
        plans=tuple(plans),
        goal=None if goal is None else copy_array(goal, np.float64),
        reached=reached,
        maze=maze,
    )
