"""Playing episodes, in groups that go in step: one batched call of the policy a step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dfplan.envs.make import make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import ObservationError
from dfplan.evaluation.protocols import Problems, Task
from dfplan.record import Record

GROUP = 20
"""Episodes that are played together. A policy's rounding and noise may depend on its batch, so this
is a part of every protocol: the first 20 of 500 episodes are the 20, to the digit."""

_BEYOND = 1.0 + 1e-6


class Actor(Protocol):
    """What a rollout needs of a policy; :class:`dfplan.planning.policy.Policy` is one."""

    def reset(self, seed: int | None = None) -> None:
        """Begin new episodes."""
        ...

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Actions [B, 2] for ``observation`` [B, 4] or [B, 2] and ``goal`` [B, 2]."""
        ...


@dataclass(frozen=True)
class Rollouts(Record):
    """n finished episodes of at most T steps.

    Attributes:
        task: what was played.
        problems: their starts and goals.
        rewards: of every step, float32 [n, T]; 0 after an episode's end.
        positions: before the first step and after each, in the maze's frame, float32
            [n, T + 1, 2]; the last is repeated after an episode's end.
        steps: that were played, int [n].
        faults: what the policy did wrong in each episode, or None; see :func:`rollout`.
        seconds: wall time of all episodes.
        policy_seconds: how much of it the policy took.
        environment_seconds: how much of it the environments took.
    """

    task: Task
    problems: Problems
    rewards: np.ndarray
    positions: np.ndarray
    steps: np.ndarray
    faults: tuple[str | None, ...]
    seconds: float
    policy_seconds: float
    environment_seconds: float

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def returns(self) -> np.ndarray:
        """The true sum of rewards of each episode, float64 [n]."""
        return np.asarray(self.rewards.sum(axis=1, dtype=np.float64))

    @property
    def first_touch(self) -> np.ndarray:
        """The first step of each episode, from 1, that ended at the goal; T + 1 where none did."""
        paid = self.rewards > 0
        return np.asarray(np.where(paid.any(axis=1), paid.argmax(axis=1), paid.shape[1]) + 1)

    def scores(self, needed: np.ndarray | int = 1) -> np.ndarray:
        """Each episode's score by the task's protocol, float [n].

        Args:
            needed: the fewest steps to each goal, [n], where the protocol counts them.
        """
        return self.task.scores(self.returns, self.first_touch, np.asarray(needed))

    @property
    def success(self) -> np.ndarray:
        """Whether each episode was ever at its goal, bool [n]."""
        return np.asarray((self.rewards > 0).any(axis=1))


def rollout(
    policy: Actor,
    task: Task,
    problems: Problems,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Rollouts:
    """Play one episode from each problem, :data:`GROUP` at a time.

    An action that is not finite ends its episode, and one beyond [-1, 1] is clipped by the
    environment; both are named in ``faults``.

    Args:
        policy: reset before each group, with ``seed`` plus the group's first index.
        task: what to play.
        problems: starts and goals, one episode each.
        seed: of the policy; an environment draws nothing but what the problem's own seed says.
        progress: whether to show a bar.
    """
    arena = Arena(task, min(GROUP, len(problems)))
    with tqdm(total=len(problems), desc=task.id, unit="episode", disable=not progress) as bar:
        parts = []
        for first in range(0, len(problems), GROUP):
            group = problems.rows(slice(first, first + GROUP))
            parts.append(arena.play(policy, group, seed + first))
            bar.update(len(group))
    arena.close()
    return joined(parts, problems)


def joined(parts: Sequence[Rollouts], problems: Problems) -> Rollouts:
    """Rollouts of ``problems``, of which ``parts`` are in order."""
    return Rollouts(
        task=parts[0].task,
        problems=problems,
        rewards=np.concatenate([part.rewards for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        faults=tuple(fault for part in parts for fault in part.faults),
        seconds=sum(part.seconds for part in parts),
        policy_seconds=sum(part.policy_seconds for part in parts),
        environment_seconds=sum(part.environment_seconds for part in parts),
    )


class Arena:
    """The environments of a group.

    Args:
        task: what they play.
        count: how many there are.
    """

    def __init__(self, task: Task, count: int) -> None:
        self._task = task
        self._environments = [
            make(task.environment, max_steps=task.max_steps) for _ in range(count)
        ]

    def close(self) -> None:
        """Free what the environments hold."""
        for environment in self._environments:
            environment.close()

    def play(self, policy: Actor, problems: Problems, seed: int) -> Rollouts:
        """Play one episode from each problem, all in step.

        One that is over waits at its goal, where there is nothing left to plan, and costs nothing
        but its row in the policy's batch.

        Args:
            policy: reset with ``seed``.
            problems: as many as there are environments, or fewer.
            seed: of the policy.

        Raises:
            ObservationError: the policy's actions have the wrong shape.
        """
        clock = time.perf_counter
        began, steps, count = clock(), self._task.max_steps, len(problems)
        environments = self._environments[:count]
        rewards = np.zeros((count, steps), dtype=np.float32)
        positions = np.empty((count, steps + 1, 2), dtype=np.float32)
        played = np.full(count, steps)
        faults: list[str | None] = [None] * count
        observations = np.array(
            [_begun(env, problems, row) for row, env in enumerate(environments)]
        )
        goals = problems.goals
        positions[:, 0] = observations[:, :2]
        environment_seconds, asked = clock() - began, clock()
        policy.reset(seed)
        policy_seconds = clock() - asked
        running, ends_at_goal = list(range(count)), self._task.protocol.ends_at_goal
        for step in range(steps):
            asked = clock()
            actions = policy.act(observations, goal=goals)
            told = clock()
            policy_seconds += told - asked
            over = _judged(actions, running, step, faults)
            for row in over:
                played[row] = step
            told = clock()
            for row in running:
                if row not in over:
                    observation, reward, terminated, _, _ = environments[row].step(actions[row])
                    observations[row] = observation["observation"]
                    rewards[row, step] = reward
                    if terminated or (ends_at_goal and reward > 0):
                        played[row] = step + 1
                        over.append(row)
            environment_seconds += clock() - told
            positions[:, step + 1] = observations[:, :2]
            if over:
                observations[over] = 0.0
                observations[over, :2] = goals[over]
                running = [row for row in running if row not in over]
                if not running:
                    break
        for row, last in enumerate(played):
            positions[row, last + 1 :] = positions[row, last]
        return Rollouts(
            task=self._task,
            problems=problems,
            rewards=rewards,
            positions=positions,
            steps=played,
            faults=tuple(faults),
            seconds=clock() - began,
            policy_seconds=policy_seconds,
            environment_seconds=environment_seconds,
        )


def _begun(environment: MazeEnv, problems: Problems, row: int) -> np.ndarray:
    """What is observed at the start of a problem, float [4] or [2]."""
    if problems.seeds is None:
        options = {"start": problems.starts[row], "goal": problems.goals[row]}
        observation, _ = environment.reset(options=options)
    else:
        part = int(problems.parts[row])
        observation, _ = environment.reset(
            seed=int(problems.seeds[row]), options={"task": part} if part else {}
        )
    return np.asarray(observation["observation"])


def _judged(
    actions: np.ndarray, running: Sequence[int], step: int, faults: list[str | None]
) -> list[int]:
    """Rows whose episodes cannot go on; what is wrong with ``actions`` goes into ``faults``."""
    if np.shape(actions) != (len(faults), 2):
        raise ObservationError(
            f"Expected actions [{len(faults)}, 2] of the policy, one for each of the observations "
            f"it was given; got the shape {list(np.shape(actions))}."
        )
    size = np.abs(actions.astype(float)).max(1)  # as floats: the least integer has no opposite
    if size.max() <= _BEYOND:  # which NaN is not
        return []
    over = []
    for row in running:
        if not np.isfinite(size[row]):
            faults[row] = "an action was not finite"
            over.append(row)
        elif faults[row] is None and size[row] > _BEYOND:
            faults[row] = "an action was out of bounds"
    return over
