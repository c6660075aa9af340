"""Playing episodes: many environments in lockstep, one batched call of the policy a step."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from dfplan.envs.suites import make
from dfplan.errors import ConfigError, DfplanError
from dfplan.evaluation.protocols import Problems, Task
from dfplan.types import Planner

_CHUNK = 250


class Actor(Protocol):
    """What a rollout needs of a policy; :class:`dfplan.planning.policy.Policy` is one."""

    def reset(self, seed: int | None = None) -> None:
        """Begin new episodes."""
        ...

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """Forces [B, 2] for ``observation`` [B, 4] and ``goal`` [B, 2]."""
        ...


@dataclass(frozen=True)
class Rollouts:
    """n finished episodes of T steps.

    Attributes:
        task: what was played.
        digest: of the problems, see :class:`dfplan.evaluation.protocols.Problems`.
        rewards: of every step, float32 [n, T].
        positions: before the first step and after each, in D4RL's frame, float32 [n, T + 1, 2].
        seconds: wall time of all episodes.
        policy_seconds: how much of it the policy took.
    """

    task: Task
    digest: str
    rewards: np.ndarray
    positions: np.ndarray
    seconds: float
    policy_seconds: float

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def returns(self) -> np.ndarray:
        """The true sum of rewards of each episode, float64 [n]."""
        return np.asarray(self.rewards.sum(axis=1, dtype=np.float64))


@dataclass(frozen=True)
class Latency:
    """What single plans cost, one problem at a time.

    Attributes:
        seconds: wall time of each plan, float64 [count].
        evaluations: network evaluations of each plan, int [count].
    """

    seconds: np.ndarray
    evaluations: np.ndarray

    @property
    def p50(self) -> float:
        """Median seconds of a plan."""
        return float(np.percentile(self.seconds, 50))

    @property
    def p95(self) -> float:
        """95th percentile of the seconds of a plan."""
        return float(np.percentile(self.seconds, 95))


def rollout(
    policy: Actor,
    task: Task,
    problems: Problems,
    *,
    seed: int = 0,
    workers: int = 1,
    chunk: int = _CHUNK,
    progress: bool = True,
) -> Rollouts:
    """Play one episode from each problem.

    Args:
        policy: reset once a chunk, with ``seed`` plus the chunk's first index, and then called
            with observations [b, 4] and goals [b, 2] at every step.
        task: what to play.
        problems: starts and goals, one episode each.
        seed: of the policy; the environments draw nothing.
        workers: processes that step the environments while the policy waits. 1 steps them in
            this process; with more, the main script needs ``if __name__ == "__main__":``. The
            numbers do not depend on it.
        chunk: the most episodes that run at a time, which bounds the policy's batch.
        progress: whether to show a bar.

    Raises:
        ConfigError: ``workers`` or ``chunk`` is not positive.
    """
    if workers < 1 or chunk < 1:
        raise ConfigError(f"workers and chunk must be at least 1; got {workers} and {chunk}.")
    n, steps = len(problems), task.max_steps
    rewards = np.empty((n, steps), dtype=np.float32)
    positions = np.empty((n, steps + 1, 2), dtype=np.float32)
    began, policy_seconds = time.perf_counter(), 0.0
    with (
        _environments(task, min(chunk, n), workers) as environments,
        tqdm(
            total=n * steps, desc=task.id, unit="step", unit_scale=True, disable=not progress
        ) as bar,
    ):
        for first in range(0, n, chunk):
            rows = slice(first, first + chunk)
            goals = problems.goals[rows]
            observations = environments.reset(problems.starts[rows], goals)
            positions[rows, 0] = observations[:, :2]
            policy.reset(seed + first)
            for step in range(steps):
                asked = time.perf_counter()
                actions = policy.act(observations, goal=goals)
                policy_seconds += time.perf_counter() - asked
                observations, rewards[rows, step] = environments.step(actions)
                positions[rows, step + 1] = observations[:, :2]
                bar.update(len(goals))
    return Rollouts(
        task=task,
        digest=problems.digest,
        rewards=rewards,
        positions=positions,
        seconds=time.perf_counter() - began,
        policy_seconds=policy_seconds,
    )


def latency(planner: Planner, problems: Problems, count: int) -> Latency:
    """Time one plan from each of the first ``count`` problems, after one that is not counted.

    Raises:
        ConfigError: there are not so many problems, or ``count`` is not positive.
    """
    if not 1 <= count <= len(problems):
        raise ConfigError(f"Can time 1 to {len(problems)} plans on these problems; got {count}.")
    planner.plan(problems.starts[0], problems.goals[0], seed=0)
    seconds, evaluations = np.empty(count), np.empty(count, dtype=int)
    for index in range(count):
        began = time.perf_counter()
        plan = planner.plan(problems.starts[index], problems.goals[index], seed=index)
        seconds[index] = time.perf_counter() - began
        evaluations[index] = plan.evaluations
    return Latency(seconds=seconds, evaluations=evaluations)


class _Environments(Protocol):
    """Environments that go in step; ``reset`` may use fewer of them than there are."""

    def reset(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Observations [b, 4] of episodes from ``starts`` [b, 4] to ``goals`` [b, 2]."""
        ...

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Observations [b, 4] and rewards [b] after ``actions`` [b, 2]."""
        ...


@contextmanager
def _environments(task: Task, count: int, workers: int) -> Iterator[_Environments]:
    """``count`` environments, in this process or spread over ``workers`` others."""
    if workers == 1:
        yield _Local(task, count)
        return
    pool = _Workers(task, count, min(workers, count))
    try:
        yield pool
    finally:
        pool.close()


class _Local:
    """Environments in one process, stepped one after another."""

    def __init__(self, task: Task, count: int) -> None:
        self._all = [make(task.environment, max_steps=task.max_steps) for _ in range(count)]
        self._active = self._all

    def reset(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        self._active = self._all[: len(starts)]
        return np.array(
            [
                env.reset(options={"start": start, "goal": goal})[0]["observation"]
                for env, start, goal in zip(self._active, starts, goals, strict=True)
            ]
        ).reshape(-1, 4)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = [env.step(action) for env, action in zip(self._active, actions, strict=True)]
        observations = np.array([result[0]["observation"] for result in results]).reshape(-1, 4)
        return observations, np.array([result[1] for result in results], dtype=float)


class _Workers:
    """The same, in processes that each own a slice; a whole slice crosses a pipe at once."""

    def __init__(self, task: Task, count: int, workers: int) -> None:
        self._pipes: list[Connection] = []
        self._processes = []
        context = _process_context()
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, task, -(-count // workers)), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def reset(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return np.concatenate(self._each("reset", starts, goals))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        observations, rewards = zip(*self._each("step", actions), strict=True)
        return np.concatenate(observations), np.concatenate(rewards)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def _each(self, method: str, *arrays: np.ndarray) -> list[Any]:
        """Call a method of every worker with its slice of the arrays; their answers in order."""
        parts = zip(*(np.array_split(array, len(self._pipes)) for array in arrays), strict=True)
        try:
            for pipe, part in zip(self._pipes, parts, strict=True):
                pipe.send((method, part))
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError) as error:
            raise DfplanError(
                "A process that steps environments has died (out of memory?). "
                "Run with fewer workers; workers=1 uses none."
            ) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


def _serve(pipe: Connection, task: Task, count: int) -> None:
    """The life of a worker: answer calls until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller gets it too, and closes the pipe
    environments = _Local(task, count)
    with suppress(EOFError, OSError):  # the other end has closed
        while True:
            method, arrays = pipe.recv()
            pipe.send(_answer(environments, method, arrays))


def _answer(environments: _Local, method: str, arrays: tuple[np.ndarray, ...]) -> Any:
    try:
        return getattr(environments, method)(*arrays)
    except Exception as error:  # whatever it is, it belongs to the caller
        return error


def _process_context() -> Any:
    """How workers start: never as a fork of this process, which may hold threads.

    A fork server imports once what they need, so that all pools but the first start at once.
    Torch is for the main script, which workers import again.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    preload = ["torch"] if "torch" in sys.modules else []
    context.set_forkserver_preload([*preload, "dfplan.envs.maze2d", __name__])
    return context
