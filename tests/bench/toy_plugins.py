"""Toy planners and policies, most of them faulty, named such as ``toy_plugins:line``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from dfplan.evaluation.protocols import Task
from dfplan.planning.trackers import Pursuit, PursuitGains
from dfplan.types import Plan

NUMBER = 7


class Straight:
    """A policy that pushes toward the goal; others change what it does."""

    def __init__(self) -> None:
        self.step = 0

    def reset(self, seed: int | None = None) -> None:
        self.step = 0

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> Any:
        assert goal is not None
        self.step += 1
        force = 10 * (goal - observation[:, :2])
        if observation.shape[1] == 4:
            force -= observation[:, 2:]
        return self.changed(np.clip(force, -1, 1), observation)

    def changed(self, actions: np.ndarray, observation: np.ndarray) -> Any:
        return actions


class Line:
    """A planner of straight lines, without a tracker; ``calls`` counts them."""

    calls = 0

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: object = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Any:
        Line.calls += 1
        states, goals = np.atleast_2d(observation), np.atleast_2d(goal)
        share = np.linspace(0, 1, 10)[:, None]
        points = (states[:, None, :2] * (1 - share) + goals[:, None] * share).astype(np.float32)
        count = len(points)
        return Plan(
            points=points,
            steps=np.full(count, 180),
            stride=20,
            level=np.zeros((count, 10), dtype=int),
            max_level=1,
            spread=np.zeros((count, 10), dtype=np.float32),
            candidates=points[:, None],
            scores=np.zeros((count, 1), dtype=np.float32),
            observation=np.float32(states),
            goal=np.float32(goals),
            evaluations=3,
            seconds=0.0,
        )


class Tracked(Line):
    """The same with a tracker of its own."""

    def tracker(self) -> Pursuit:
        return Pursuit(PursuitGains(0.2, 10.0, 1.0), 0.02)


class Wandering(Tracked):
    """Its plans come from a generator of its own, whatever the seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def plan(self, observation: np.ndarray, goal: Any = None, **more: Any) -> Any:
        plan = super().plan(observation, goal, **more)
        noise = self.rng.normal(0.0, 0.2, plan.points[:, 1:-1].shape)
        plan.points[:, 1:-1] += noise.astype(np.float32)
        return plan


class Timid(Line):
    """Its tracker cannot be made."""

    def tracker(self) -> Pursuit:
        raise RuntimeError("no tracker today")


def straight(task: Task, seed: int) -> Any:
    return Straight()


def line(task: Task, seed: int) -> Any:
    return Line()


def tracked(task: Task, seed: int) -> Any:
    return Tracked()


def wandering(task: Task, seed: int) -> Any:
    return Wandering()


def timid(task: Task, seed: int) -> Any:
    return Timid()


def raises_in_make(task: Task, seed: int) -> Any:
    raise ValueError("no such\nthing\udcff as " + "that " * 100)


def neither(task: Task, seed: int) -> Any:
    return object()


def nothing(task: Task, seed: int) -> Any:
    return None


def _changed(change: Any) -> Any:
    """A maker of :class:`Straight` of which ``change(self, actions, observation)`` is executed."""

    def make(task: Task, seed: int) -> Any:
        policy = Straight()
        policy.changed = lambda actions, observation: change(policy, actions, observation)  # type: ignore[method-assign]
        return policy

    return make


def _left(observation: np.ndarray) -> np.ndarray:
    """The rows on one side of the maze, at the start."""
    return observation[:, 0] < 2.0


def _picky(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    if policy.step == 1:
        policy.hated = _left(observation)
    if policy.step == 5 and policy.hated.any():
        raise KeyError("left")
    return actions


def _nan(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    if policy.step == 1:
        actions[_left(observation)] = np.nan
    return actions


def _leaves(code: int) -> Any:
    def change(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
        os._exit(code)

    return _changed(change)


def _exits(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    sys.exit(0)


def _sleeps(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    time.sleep(0.2)
    return actions


def _hangs(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    if len(actions) < 20 and policy.step == 3:
        time.sleep(3600)
    return actions


def _spawns(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    if policy.step == 3:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", sys.argv[1]])
        time.sleep(3600)
    return actions


class _MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("I say nothing")


def _mutely(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    raise _MuteError


def _talks(policy: Any, actions: np.ndarray, observation: np.ndarray) -> np.ndarray:
    print("talk " * 10_000)
    sys.stderr.write("more \xe9\n" * 1000)
    return actions


picky = _changed(_picky)
nan = _changed(_nan)
beyond = _changed(lambda policy, actions, observation: 3 * actions)
flat = _changed(lambda policy, actions, observation: actions.reshape(-1))
words = _changed(lambda policy, actions, observation: actions.astype(str))
complexes = _changed(lambda policy, actions, observation: actions + 0j)
ragged = _changed(lambda policy, actions, observation: [[1], [1, 2]])
none = _changed(lambda policy, actions, observation: None)
twenty = _changed(lambda policy, actions, observation: actions if len(actions) == 20 else 1 / 0)
leaves = _leaves(0)
crashes = _leaves(3)
exits = _changed(_exits)
sleeps = _changed(_sleeps)
hangs = _changed(_hangs)
talks = _changed(_talks)
spawns = _changed(_spawns)
mutely = _changed(_mutely)
beyond_clipped = _changed(lambda policy, actions, observation: np.clip(3 * actions, -1, 1))
least = _changed(lambda policy, actions, observation: np.full((len(actions), 2), -(2**63)))
least_clipped = _changed(lambda policy, actions, observation: np.full((len(actions), 2), -1.0))


class Greedy(Straight):
    """Writes into whatever it is given."""

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> Any:
        actions = super().act(observation, goal)
        observation[:], goal[:] = np.nan, np.nan  # type: ignore[index]
        return actions


class GreedyLine(Line):
    """The same of plans."""

    def plan(self, observation: np.ndarray, goal: Any = None, **more: Any) -> Any:
        plan = super().plan(observation, goal, **more)
        observation[..., 0], goal[...] = np.nan, np.nan
        return plan


class Locked(Straight):
    """Cannot be pickled or copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.function = threading.Lock(), lambda: None


class Odd(Line):
    """A plan with something else in it."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def plan(self, observation: np.ndarray, goal: Any = None, **more: Any) -> Any:
        plan = super().plan(observation, goal, **more)
        for name, value in self._fields.items():
            object.__setattr__(plan, name, value)
        return plan

    def tracker(self) -> Any:
        return Tracked().tracker()


class Blank(Line):
    """No plan at all."""

    def plan(self, observation: np.ndarray, goal: Any = None, **more: Any) -> Any:
        return None


def greedy(task: Task, seed: int) -> Any:
    return Greedy()


def greedy_line(task: Task, seed: int) -> Any:
    return GreedyLine()


def locked(task: Task, seed: int) -> Any:
    return Locked()


def blank(task: Task, seed: int) -> Any:
    return Blank()


class NanLine(Line):
    """A plan through nowhere."""

    def plan(self, observation: np.ndarray, goal: Any = None, **more: Any) -> Any:
        plan = super().plan(observation, goal, **more)
        plan.points[:, 5:] = np.nan
        return plan


def nan_line(task: Task, seed: int) -> Any:
    return NanLine()


def odd(task: Task, seed: int) -> Any:
    return Odd(stride=0)


def uncounted(task: Task, seed: int) -> Any:
    return Odd(evaluations=None)
