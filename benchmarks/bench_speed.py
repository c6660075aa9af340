"""How fast are the environments of the benchmark, and what is the overhead of its loop?

    python benchmarks/bench_speed.py --checkpoints runs/models

"Environments": one process per core runs groups of 20 episodes at the same time, as the benchmark
does. Only the time in the environments counts, including resets. "to the goal" replays recorded
actions of the data's own controller; "at random" repeats each random action for ten steps. A
finished episode costs nothing more. The target is 40,000 steps per second on two cores. "as
shipped" runs the suite's own environment through the same episodes in the same processes, and
"times" is how much faster ours is. D4RL ships no environment for Gymnasium, so Maze2D has no such
number.

"Loop": one process runs one group with one thread. "overhead" is the whole time divided by the time
of policy and environments, minus one. "with monitoring" also counts as overhead what the benchmark
adds to a policy: copies of its arguments, and the file that shows that it still runs. The target is
at most 5% for planners. The row of a method without a checkpoint is empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import NamedTemporaryFile

import gymnasium
import numpy as np
import torch
from findings import RESULTS, publish
from joblib import cpu_count
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.bench.methods import Method, make_tracker, named_method
from dfplan.bench.worker import MonitoredPolicy
from dfplan.cli.arguments import Names
from dfplan.collect.controllers import DataController
from dfplan.envs.make import make
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import GROUP_SIZE, Actor, EpisodeBatch, EpisodeRunner
from dfplan.evaluation.protocols import Task, named_task, problems
from dfplan.planning.policy import Policy
from dfplan.types import Planner

_REPEATS = 10
_START_TIMEOUT = 300.0  # seconds until all processes are ready

_barrier: Barrier  # of the processes, in each of them


class RecordedPolicy:
    """Records the actions of a policy in the first run, and repeats them in later runs.

    Attributes:
        actions: [B, 2] of each step.
    """

    def __init__(self, policy: Actor) -> None:
        self._policy = policy
        self.actions: list[np.ndarray] = []

    def reset(self, seed: int | None = None) -> None:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        self._policy.reset(seed)
        self._step = 0

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        if self._step == len(self.actions):
            self.actions.append(self._policy.act(observation, goal))
        self._step += 1
        return self.actions[self._step - 1]


class RandomPolicy:
    """Uniform random actions, each repeated for some steps, so that the body moves."""

    def reset(self, seed: int | None = None) -> None:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        self._rng = np.random.default_rng(seed)
        self._step = 0

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        if self._step % _REPEATS == 0:
            self._actions = self._rng.uniform(-1.0, 1.0, (len(observation), 2))
        self._step += 1
        return self._actions


POLICIES: dict[str, Callable[[Task], Actor]] = {
    "to the goal": lambda task: DataController(task.maze),
    "at random": lambda task: RandomPolicy(),
}
"""Policies for measuring the environments, by name."""


def main(
    tasks: Names = Names(
        "maze2d-large,pointmaze-large,ogbench-medium-navigate,ogbench-large-navigate,"
        "ogbench-giant-navigate,ogbench-teleport-navigate"
    ),
    loop_tasks: Names = Names("maze2d-large,pointmaze-large,ogbench-giant-navigate"),
    planners: Names = Names("dfplan,controller,bc"),
    seconds: float = 5.0,
    workers: int | None = None,
    checkpoints: Names = Names(()),
    out: Path = RESULTS,
) -> None:
    """Measure both.

    Args:
        tasks: for measuring environments.
        loop_tasks: for measuring the loop.
        planners: methods for measuring the loop.
        seconds: duration of each measurement of environments, in whole groups of episodes.
        workers: processes; by default one per core.
        checkpoints: folders to search for checkpoints that are not shipped.
        out: folder for the results.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    workers = workers or cpu_count()
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _ready, (context.Barrier(workers),)) as pool:
        environments = [
            _environments(pool, workers, task, policy_name, seconds)
            for task in tqdm(tasks)
            for policy_name in POLICIES
        ]
    folders = [Path(folder) for folder in checkpoints]
    loop = [
        {"task": task, "planner": planner, **_loop(named_method(planner), task, folders)}
        for task in tqdm(loop_tasks)
        for planner in planners
    ]
    publish(out, "bench_speed", __doc__, started, {"Environments": environments, "Loop": loop})


def _ready(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _environments(
    pool: ProcessPoolExecutor, workers: int, task: str, policy_name: str, seconds: float
) -> dict[str, object]:
    """Return a row: all processes start together when all are ready."""
    futures = [pool.submit(_steps_per_second, task, policy_name, seconds) for _ in range(workers)]
    ours, shipped = np.sum([future.result() for future in futures], axis=0)
    return {
        "task": task,
        "driven": policy_name,
        "processes": workers,
        "steps a second": round(ours),
        "a second and process": round(ours / workers),
        "as shipped": round(shipped) or None,
        "times": ours / shipped if shipped else None,
    }


def _steps_per_second(name: str, policy_name: str, seconds: float) -> tuple[float, float]:
    """Steps per second in this process: our environment, and the suite's (0 if there is none)."""
    task = named_task(name)
    episodes, runner, actor = (
        problems(task, GROUP_SIZE),
        EpisodeRunner(task, GROUP_SIZE),
        RecordedPolicy(POLICIES[policy_name](task)),
    )
    runner.run(actor, episodes, seed=0)  # records, and warms up
    _barrier.wait(_START_TIMEOUT)
    steps, spent, until = 0, 0.0, time.perf_counter() + seconds
    while not steps or time.perf_counter() < until:
        batch = runner.run(actor, episodes, seed=0)
        steps += int(batch.steps.sum())
        spent += batch.environment_seconds
    runner.close()
    _barrier.wait(_START_TIMEOUT)
    return steps / spent, _as_shipped(batch, np.clip(actor.actions, -1.0, 1.0))


def _as_shipped(batch: EpisodeBatch, actions: np.ndarray) -> float:
    """Steps per second of the suite's environment in the same episodes; ``actions`` [T, B, 2]."""
    task, episodes = batch.task, batch.problems
    if episodes.seeds is None:
        return 0.0
    identifier = make(task.environment).env.spec.id
    suite = gymnasium.make(identifier, disable_env_checker=True, max_episode_steps=task.max_steps)
    started = time.perf_counter()
    for row, steps in enumerate(batch.steps):
        part, seed = int(episodes.strata[row]), int(episodes.seeds[row])
        np.random.seed(seed)  # OGBench draws from here
        state, _ = suite.reset(seed=seed, options={"task_id": part} if part else None)
        for action in actions[:steps, row]:
            state, *_ = suite.step(action)
    spent = time.perf_counter() - started
    if isinstance(state, dict):
        state = state["observation"]
    if not np.array_equal(state[:2].astype(np.float32), batch.positions[row, steps]):
        raise RuntimeError(
            f"{identifier} and our environment of {task.id} differ after the same actions."
        )
    return int(batch.steps.sum()) / spent


def _loop(method: Method, name: str, folders: list[Path]) -> dict[str, object]:
    """Return the rest of a row, with None if there is no checkpoint."""
    columns = ("steps", "policy, s", "environments, s", "overhead, %", "with monitoring, %")
    task = named_task(name)
    try:
        path = method.checkpoint(task, 0, folders)
    except ConfigError:
        return dict.fromkeys(columns)
    made = method.make(task, 0, path)
    if isinstance(made, Planner):
        tracker = make_tracker(made, method.default_tracker, task, folders)
        made = Policy(made, tracker, tolerance=method.tolerance)
    runner = EpisodeRunner(task, GROUP_SIZE)
    with NamedTemporaryFile() as heartbeat:
        actor = MonitoredPolicy(made, Path(heartbeat.name))
        batch = runner.run(actor, problems(task, GROUP_SIZE), seed=0)
    runner.close()
    policy_seconds, environments = sum(actor.seconds), batch.environment_seconds
    values = (
        int(batch.steps.sum()),
        batch.policy_seconds,
        environments,
        100 * (batch.seconds / (batch.policy_seconds + environments) - 1),
        100 * (batch.seconds / (policy_seconds + environments) - 1),
    )
    return dict(zip(columns, values, strict=True))


if __name__ == "__main__":
    auto_cli(main)
