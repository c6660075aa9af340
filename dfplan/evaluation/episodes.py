"""Run episodes in groups: one batched call of the policy per step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dfplan.envs.make import make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import ObservationError
from dfplan.evaluation.protocols import Problems, Task
from dfplan.record import Record

GROUP_SIZE = 20
"""Number of episodes that run together. Rounding and noise of a policy may depend on its batch, so
this is part of every protocol: the first 20 of 500 episodes equal a run of 20, to the bit."""

_MAX_ACTION = 1.0 + 1e-6


class Actor(Protocol):
    """A batched policy, such as :class:`dfplan.planning.policy.Policy`."""

    def reset(self, seed: int | None = None) -> None:
        """Start new episodes."""
        ...

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Return actions [B, A] for ``observation`` [B, S] and ``goal`` [B, 2]."""
        ...


@dataclass(frozen=True)
class EpisodeBatch(Record):
    """n finished episodes of at most T steps.

    Attributes:
        task: the environment and protocol.
        problems: starts and goals.
        rewards: of each step, float32 [n, T]; 0 after an episode's end.
        positions: before the first step and after each step, in the suite's coordinates, float32
            [n, T + 1, 2]; the last is repeated after an episode's end.
        steps: length of each episode, int [n].
        errors: what the policy did wrong in each episode, if anything; see :func:`run_episodes`.
        seconds: wall time of all episodes.
        policy_seconds: part of it that the policy took.
        environment_seconds: part of it that the environments took.
    """

    task: Task
    problems: Problems
    rewards: np.ndarray
    positions: np.ndarray
    steps: np.ndarray
    errors: tuple[str | None, ...]
    seconds: float
    policy_seconds: float
    environment_seconds: float

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def returns(self) -> np.ndarray:
        """Sum of rewards of each episode, float64 [n]."""
        return np.asarray(self.rewards.sum(axis=1, dtype=np.float64))

    @property
    def steps_to_goal(self) -> np.ndarray:
        """First step of each episode, from 1, that ended at the goal; T + 1 if none did; [n]."""
        at_goal = self.rewards > 0
        first = np.where(at_goal.any(axis=1), at_goal.argmax(axis=1), at_goal.shape[1])
        return np.asarray(first + 1)

    def scores(self, steps_needed: np.ndarray | int = 1) -> np.ndarray:
        """Score of each episode under the task's protocol, float [n].

        Args:
            steps_needed: lower bound on the steps to each goal, [n], for protocols that use it.
        """
        return self.task.scores(self.returns, self.steps_to_goal, np.asarray(steps_needed))

    @property
    def success(self) -> np.ndarray:
        """Whether each episode reached its goal, bool [n]."""
        return np.asarray((self.rewards > 0).any(axis=1))


def run_episodes(
    policy: Actor, task: Task, problems: Problems, *, seed: int = 0, progress: bool = True
) -> EpisodeBatch:
    """Run one episode from each problem, :data:`GROUP_SIZE` at a time.

    An action that is not finite ends its episode. The environment clips actions beyond [-1, 1].
    Both are reported in ``errors``.

    Args:
        policy: reset before each group, with ``seed`` plus the index of the group's first episode.
        task: the environment and protocol.
        problems: starts and goals, one episode each.
        seed: of the policy. The environment's randomness depends on the problems alone.
        progress: whether to show a progress bar.
    """
    groups = []
    with (
        closing(EpisodeRunner(task, min(GROUP_SIZE, len(problems)))) as runner,
        tqdm(total=len(problems), desc=task.id, unit="episode", disable=not progress) as bar,
    ):
        for first in range(0, len(problems), GROUP_SIZE):
            group = problems.subset(slice(first, first + GROUP_SIZE))
            groups.append(runner.run(policy, group, seed + first))
            bar.update(len(group))
    return concatenate_episodes(groups, problems)


def concatenate_episodes(batches: Sequence[EpisodeBatch], problems: Problems) -> EpisodeBatch:
    """Concatenate batches of episodes, whose problems in order are ``problems``."""
    return EpisodeBatch(
        task=batches[0].task,
        problems=problems,
        rewards=np.concatenate([batch.rewards for batch in batches]),
        positions=np.concatenate([batch.positions for batch in batches]),
        steps=np.concatenate([batch.steps for batch in batches]),
        errors=tuple(error for batch in batches for error in batch.errors),
        seconds=sum(batch.seconds for batch in batches),
        policy_seconds=sum(batch.policy_seconds for batch in batches),
        environment_seconds=sum(batch.environment_seconds for batch in batches),
    )


class EpisodeRunner:
    """Runs groups of at most ``size`` episodes; that many environments are made once."""

    def __init__(self, task: Task, size: int) -> None:
        self._task = task
        self._environments = [make(task.environment, max_steps=task.max_steps) for _ in range(size)]

    def close(self) -> None:
        """Close the environments."""
        for environment in self._environments:
            environment.close()

    def run(self, policy: Actor, problems: Problems, seed: int) -> EpisodeBatch:
        """Run one episode from each problem, all at the same time, step by step.

        A finished episode stays in the policy's batch, with an observation at rest at its goal, so
        that nothing is left to plan. The policy is reset with ``seed``. There are at most as many
        problems as environments.

        Raises:
            ObservationError: the policy's actions have the wrong shape.
        """
        clock = time.perf_counter
        started, max_steps, count = clock(), self._task.max_steps, len(problems)
        environments, layout = self._environments[:count], self._task.maze.suite.observation
        shape = (count, *(environments[0].action_space.shape or ()))
        rewards = np.zeros((count, max_steps), dtype=np.float32)
        positions = np.empty((count, max_steps + 1, 2), dtype=np.float32)
        steps = np.full(count, max_steps)
        errors: list[str | None] = [None] * count
        starts = [_reset(env, problems, row) for row, env in enumerate(environments)]
        observations = np.array(starts)
        goals = problems.goals
        positions[:, 0] = layout.positions(observations)
        environment_seconds, before = clock() - started, clock()
        policy.reset(seed)
        policy_seconds = clock() - before
        running, ends_at_goal = list(range(count)), self._task.protocol.ends_at_goal
        for step in range(max_steps):
            before = clock()
            actions = policy.act(observations, goal=goals)
            policy_seconds += clock() - before
            finished = _check_actions(actions, shape, running, errors)
            steps[finished] = step
            before = clock()
            for row in running:
                if row not in finished:
                    observation, reward, terminated, _, _ = environments[row].step(actions[row])
                    observations[row] = observation["observation"]
                    rewards[row, step] = reward
                    if terminated or (ends_at_goal and reward > 0):
                        steps[row] = step + 1
                        finished.append(row)
            environment_seconds += clock() - before
            positions[:, step + 1] = layout.positions(observations)
            if finished:
                observations[finished] = 0.0
                observations[np.ix_(finished, layout.position)] = goals[finished]
                running = [row for row in running if row not in finished]
                if not running:
                    break
        for row, last in enumerate(steps):
            positions[row, last + 1 :] = positions[row, last]
        return EpisodeBatch(
            task=self._task,
            problems=problems,
            rewards=rewards,
            positions=positions,
            steps=steps,
            errors=tuple(errors),
            seconds=clock() - started,
            policy_seconds=policy_seconds,
            environment_seconds=environment_seconds,
        )


def _reset(environment: MazeEnv, problems: Problems, row: int) -> np.ndarray:
    """Reset an environment to a problem; return the observation, float [S]."""
    if problems.seeds is None:
        options = {"start": problems.starts[row], "goal": problems.goals[row]}
        observation, _ = environment.reset(options=options)
    else:
        number = int(problems.strata[row])
        observation, _ = environment.reset(
            seed=int(problems.seeds[row]), options={"start_goal_pair": number} if number else {}
        )
    return np.asarray(observation["observation"])


def _check_actions(
    actions: np.ndarray, shape: tuple[int, ...], running: list[int], errors: list[str | None]
) -> list[int]:
    """Write what is wrong with ``actions`` into ``errors``; return the rows that cannot go on."""
    if np.shape(actions) != shape:
        raise ObservationError(
            f"Expected actions {list(shape)} from the policy, one per observation; got the shape "
            f"{list(np.shape(actions))}."
        )
    size = np.abs(actions.astype(float)).max(1)  # as floats: the least integer has no opposite
    if size.max() <= _MAX_ACTION:  # False for NaN
        return []
    finished = []
    for row in running:
        if not np.isfinite(size[row]):
            errors[row] = "an action was not finite"
            finished.append(row)
        elif errors[row] is None and size[row] > _MAX_ACTION:
            errors[row] = "an action was out of bounds"
    return finished
