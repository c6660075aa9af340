"""How fast is the benchmark beside the planners: its environments, and the loop around both?

    python benchmarks/bench_speed.py --checkpoints runs/models

"Environments": as many processes as cores play groups of 20 episodes at the same time, as the
benchmark does, and what counts is the time that their environments take, resets included. Driven
"to the goal" they replay the actions of the data's own controller, which were recorded before;
driven "at random" each action is held for ten steps. An episode that is over costs nothing more.
Wanted are 40,000 steps a second on two cores. "as shipped": the suite's own environment, driven
through the same episodes in the same processes, and how many "times" as fast ours is; Maze2D's
suite, D4RL, has none for Gymnasium.

"Loop": one process plays one group with one thread. "overhead" is what all takes over what policy
and environments take, less one; "with the watch" counts as overhead, too, what the benchmark puts
around a policy to copy what it is shown and to notice where it hangs. Wanted are 5% at most for
whoever plans. Where a planner is not shipped and not in the named folders, its row is empty.
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

from dfplan.bench.methods import Method, follower, named_method
from dfplan.bench.worker import MonitoredPolicy
from dfplan.cli.arguments import Names
from dfplan.collect.controllers import DataController
from dfplan.envs.make import make
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import GROUP_SIZE, Actor, EpisodeRunner, EpisodeBatch
from dfplan.evaluation.protocols import Task, named_task, problems
from dfplan.planning.policy import Policy
from dfplan.types import Planner

_HELD = 10
_LONGEST_WAIT = 300.0  # seconds until all processes are ready

_barrier: Barrier  # of the processes, in each of them


class Tape:
    """The actions of a policy, made the first time through and given again every later time.

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


class Random:
    """Uniform actions, each held for some steps, so that the body gets somewhere."""

    def reset(self, seed: int | None = None) -> None:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        self._rng = np.random.default_rng(seed)
        self._step = 0

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """See :class:`~dfplan.evaluation.episodes.Actor`."""
        if self._step % _HELD == 0:
            self._actions = self._rng.uniform(-1.0, 1.0, (len(observation), 2))
        self._step += 1
        return self._actions


DRIVERS: dict[str, Callable[[Task], Actor]] = {
    "to the goal": lambda task: DataController(task.maze),
    "at random": lambda task: Random(),
}
"""Who drives the environments whose speed is measured."""


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
        tasks: whose environments are measured.
        loop_tasks: on which the loop is measured.
        planners: of the benchmark, with which the loop is measured.
        seconds: that each environment is driven for, in whole groups of episodes.
        workers: processes; by default as many as there are cores.
        checkpoints: folders in which to look for planners that are not shipped.
        out: folder of the results.
    """
    began = time.perf_counter()
    torch.set_num_threads(1)
    workers = workers or cpu_count()
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, _ready, (context.Barrier(workers),)) as pool:
        environments = [
            _environments(pool, workers, task, driver, seconds)
            for task in tqdm(tasks)
            for driver in DRIVERS
        ]
    folders = [Path(folder) for folder in checkpoints]
    loop = [
        {"task": task, "planner": planner, **_loop(named_method(planner), task, folders)}
        for task in tqdm(loop_tasks)
        for planner in planners
    ]
    publish(out, "bench_speed", __doc__, began, {"Environments": environments, "Loop": loop})


def _ready(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _environments(
    pool: ProcessPoolExecutor, workers: int, task: str, driver: str, seconds: float
) -> dict[str, object]:
    """A row: every process drives at once, none begins before all are ready."""
    driven = [pool.submit(_driven, task, driver, seconds) for _ in range(workers)]
    ours, shipped = np.sum([future.result() for future in driven], axis=0)
    return {
        "task": task,
        "driven": driver,
        "processes": workers,
        "steps a second": round(ours),
        "a second and process": round(ours / workers),
        "as shipped": round(shipped) or None,
        "times": ours / shipped if shipped else None,
    }


def _driven(name: str, driver: str, seconds: float) -> tuple[float, float]:
    """Environment steps a second of one process: ours, and the suite's, 0 where it ships none."""
    task = named_task(name)
    posed, runner, actor = problems(task, GROUP_SIZE), EpisodeRunner(task, GROUP_SIZE), Tape(DRIVERS[driver](task))
    runner.run(actor, posed, seed=0)  # records, and warms up
    _barrier.wait(_LONGEST_WAIT)
    steps, spent, until = 0, 0.0, time.perf_counter() + seconds
    while not steps or time.perf_counter() < until:
        played = runner.run(actor, posed, seed=0)
        steps += int(played.steps.sum())
        spent += played.environment_seconds
    runner.close()
    _barrier.wait(_LONGEST_WAIT)
    return steps / spent, _as_shipped(played, np.clip(actor.actions, -1.0, 1.0))


def _as_shipped(played: EpisodeBatch, actions: np.ndarray) -> float:
    """Steps a second of the suite's environment in the same episodes; ``actions`` [T, B, 2]."""
    task, posed = played.task, played.problems
    if posed.seeds is None:
        return 0.0
    identifier = make(task.environment).env.spec.id
    suite = gymnasium.make(identifier, disable_env_checker=True, max_episode_steps=task.max_steps)
    began = time.perf_counter()
    for row, steps in enumerate(played.steps):
        part, seed = int(posed.strata[row]), int(posed.seeds[row])
        np.random.seed(seed)  # OGBench draws from here
        state, _ = suite.reset(seed=seed, options={"task_id": part} if part else None)
        for action in actions[:steps, row]:
            state, *_ = suite.step(action)
    spent = time.perf_counter() - began
    if isinstance(state, dict):
        state = state["observation"]
    if not np.array_equal(state[:2].astype(np.float32), played.positions[row, steps]):
        raise RuntimeError(f"{identifier} ended elsewhere than ours of {task.id}, driven alike.")
    return int(played.steps.sum()) / spent


def _loop(method: Method, name: str, folders: list[Path]) -> dict[str, object]:
    """The rest of a row, with nothing in it where there is no checkpoint."""
    columns = ("steps", "policy, s", "environments, s", "overhead, %", "with the watch, %")
    task = named_task(name)
    try:
        path = method.checkpoint(task, 0, folders)
    except ConfigError:
        return dict.fromkeys(columns)
    made = method.make(task, 0, path)
    if isinstance(made, Planner):
        tracker = follower(made, method.tracker, task, folders)
        made = Policy(made, tracker, tolerance=method.tolerance)
    runner = EpisodeRunner(task, GROUP_SIZE)
    with NamedTemporaryFile() as beat:
        actor = MonitoredPolicy(made, Path(beat.name))
        played = runner.run(actor, problems(task, GROUP_SIZE), seed=0)
    runner.close()
    alone, environments = sum(actor.seconds), played.environment_seconds
    values = (
        int(played.steps.sum()),
        played.policy_seconds,
        environments,
        100 * (played.seconds / (played.policy_seconds + environments) - 1),
        100 * (played.seconds / (alone + environments) - 1),
    )
    return dict(zip(columns, values, strict=True))


if __name__ == "__main__":
    auto_cli(main)
