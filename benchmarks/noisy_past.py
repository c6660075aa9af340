"""What is a noisy past worth to a planner: context used against not used.

    OMP_NUM_THREADS=1 python benchmarks/noisy_past.py  # about six minutes on two idle cores

Multi2D-medium with a poor sensor. Every 10 environment steps, the distance of two positions in a
token, an observation is sent: the position with Gaussian noise (its standard deviation an axis, in
cells, is "noise") and the velocity with ten times that noise in cells a second, for a tenth of a
second passes in between. Of the observations the share "lost" never arrives, and between them there
is nothing. The score counts the true state. All methods meet the same starts, the same noise and
the same losses, drive with the same tracker and plan anew every ``replan_every`` steps with the
same shipped checkpoint, which was not trained for this:

- not used: the last observation that arrived is taken for the exact state until the next arrives,
  which is what a planner without context can do.
- odometry alone: the policy's odometry, a filter that is told the noise of positions and finds out
  that of velocities, carries the point mass that was fitted to the data on by the actions sent; the
  plan starts from there. The network sees no past.
- context used: the same odometry, and the network's estimate of the past, ``tokens`` tokens of
  context, each at the level of its noise, which counts the more the less the filter knows; the plan
  is made after that past.

So the second method less the first is what odometry does, and the third less the second is what
context does. "±" is half of the 95% interval, "against odometry" a paired difference; "position
error" and "velocity error" are root mean squares of what the policy thinks less the truth, an axis,
in cells and cells a second, over the first 200 steps. In the first row every step's exact state is
seen.

In the second table the sensor is good in all but position: it observes every step, velocities are
exact, and of positions the noise and the loss are those of the row. "pushed": in a fifth of all
tenths of a second the body is under full force in a random direction instead of what it was sent,
of which no method is told. "exact, every step" is pushed, too.

The last table is of the network alone, without odometry: the root mean square error an axis of the
present, on windows of the data, estimated from ``1 + 2 (n - 1)`` observations 10 steps apart.
"last" is the last that arrived, "mean" the mean of the last three that did. Levels are whole
numbers, which limits what little noise gains; a lost position of a token is stood in for by the
other, and with "n = 1" there is none. Where nothing arrived the estimate is the mean of the data.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli

from dfplan.data import load_data
from dfplan.evaluation.episodes import EpisodeRunner
from dfplan.evaluation.protocols import Split, named_task, problems
from dfplan.evaluation.statistics import mean, paired_difference
from dfplan.planning.observation_history import ObservationHistory, noise_to_level
from dfplan.planning.policy import Policy
from dfplan.planning.query import PlanQuery
from dfplan.planning.select import Objective
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimatorSettings
from dfplan.pretrained import load
from dfplan.training.presets import PRESETS, preset_data
from dfplan.types import Reward, Trajectories

SENSORS = (
    *((noise, 0.0) for noise in (0.0, 0.1, 0.2, 0.3, 0.5)),
    *((0.1, lost) for lost in (0.2, 0.4, 0.6, 0.8)),
)
"""Noise in cells, and the share of observations that is lost."""

STEADY = (0.25, 0.3)
"""Noise and share lost of the sensor that observes every step, velocities exactly."""

PUSHED, PUSH_STEPS = 0.2, 10
"""The share of spans of so many steps in which a body is pushed."""

METHODS = ("not used", "odometry alone", "context used")

CONTEXTS = (1, 2, 3, 4, 6)
"""Tokens of context in the last table."""

TRUE_STATE = "exact, every step"


class Unaided(ForcingPlanner):
    """A planner that takes histories as exact, and plans without them."""

    def estimate(self, history: ObservationHistory, *, seed: int | None = None) -> np.ndarray:
        return history.positions

    def read_query(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None,
        reward: Reward | None,
        history: ObservationHistory | None = None,
    ) -> tuple[PlanQuery, Objective]:
        return super().read_query(observation, goal, reward)


class Sensor:
    """What a policy sees of the state: now and then, with noise, unless it is lost.

    Args:
        policy: is asked every step; sees NaN where nothing arrived, or with ``hold`` what arrived
            last. Before the first, that is its goal, at rest.
        every: steps between two observations.
        noise: standard deviation of position and velocity, [4].
        lost: share of observations that never arrive.
        hold: see ``policy``.
        pushed: whether another force acts now and then, of which the policy is not told.
    """

    def __init__(
        self,
        policy: Policy,
        every: int,
        noise: np.ndarray,
        lost: float,
        hold: bool,
        pushed: bool,
    ) -> None:
        self._policy = policy
        self._every = every
        self._noise = noise
        self._lost = lost
        self._hold = hold
        self._pushed = pushed

    def reset(self, seed: int | None = None) -> None:
        self._policy.reset(seed)
        self._rng = np.random.default_rng(seed)
        self._pushes = self._rng.spawn(1)[0]
        self._last: np.ndarray | None = None
        self.errors: list[np.ndarray] = []

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        assert goal is not None
        if self._last is None:
            self._last = np.concatenate([goal, np.zeros_like(goal)], 1)
        seen = np.full_like(observation, np.nan)
        if len(self.errors) % self._every == 0:
            noisy = observation + self._noise * self._rng.standard_normal(observation.shape)
            noisy[:, 2:] = noisy[:, 2:].clip(-5.0, 5.0)
            arrived = self._rng.random(len(noisy)) >= self._lost
            seen[arrived] = noisy[arrived]
            self._last[arrived] = noisy[arrived]
        action = self._policy.act(self._last if self._hold else seen, goal)
        assert self._policy.states is not None
        self.errors.append(self._policy.states - observation)
        return self._after_push(action) if self._pushed else action

    def _after_push(self, action: np.ndarray) -> np.ndarray:
        """The force that acts instead of ``action`` [B, 2]."""
        if (len(self.errors) - 1) % PUSH_STEPS == 0:
            angle = self._pushes.uniform(0, 2 * np.pi, len(action))
            self._force = np.stack([np.cos(angle), np.sin(angle)], 1)
            self._force[self._pushes.random(len(action)) >= PUSHED] = np.nan
        return np.where(np.isnan(self._force), action, self._force)


@dataclass(frozen=True)
class Run:
    """One method with one sensor.

    Attributes:
        method: one of ``METHODS``, or ``TRUE_STATE``.
        noise: of a position, in cells.
        lost: share of observations that never arrive.
        steady: whether every step is observed, and velocities exactly.
        pushed: whether bodies are pushed.
    """

    method: str
    noise: float
    lost: float
    steady: bool = False
    pushed: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        scores: of each episode, [n].
        position: root mean square error of the policy's position.
        velocity: likewise.
    """

    scores: np.ndarray
    position: float
    velocity: float


def main(
    maze: str = "medium",
    episodes: int = 50,
    tokens: int = 3,
    replan_every: int = 100,
    candidates: int = 8,
    windows: int = 1000,
    split: Split = "test",
    workers: int = 2,
    runs: Path = Path("runs/noisy_past"),
    out: Path = RESULTS,
) -> None:
    """Play all methods, and estimate.

    Args:
        maze: umaze, medium or large.
        episodes: starts, one episode each.
        tokens: of context.
        replan_every: environment steps between two plans.
        candidates: of a plan.
        windows: of the data, to estimate the present of.
        split: of starts; ``validation`` to choose settings.
        workers: processes that play.
        runs: folder for data and runs.
        out: folder for the findings.
    """
    began = time.perf_counter()
    data = load_data(preset_data(PRESETS[f"maze2d-{maze}"], runs / maze))
    todo = [Run(TRUE_STATE, 0.0, 0.0)]
    todo += [Run(method, *sensor) for sensor in SENSORS for method in METHODS]
    steady = [
        Run(method, *sensor, steady=True, pushed=pushed)
        for pushed in (False, True)
        for method, sensor in ((TRUE_STATE, (0.0, 0.0)), *((each, STEADY) for each in METHODS))
    ]
    played = partial(
        play,
        maze=maze,
        split=split,
        episodes=episodes,
        tokens=tokens,
        replan_every=replan_every,
        candidates=candidates,
    )
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        every = [*todo, *steady]
        results = dict(zip(every, pool.map(played, every), strict=True))
    publish(
        out,
        "noisy_past",
        __doc__,
        began,
        {
            f"multi2d-{maze}, {episodes} {split} starts": [_row(run, results) for run in todo],
            f"Every step observed, velocities exactly; {episodes} {split} starts": [
                {"pushed": "yes" if run.pushed else "no", **_row(run, results)} for run in steady
            ],
            f"Error of the estimated present, {windows} windows of the data": _estimates(
                _planner(maze, candidates), data, windows
            ),
        },
    )


def play(
    run: Run,
    *,
    maze: str,
    split: Split,
    episodes: int,
    tokens: int,
    replan_every: int,
    candidates: int,
) -> Result:
    """Play a run; what is named like an argument of :func:`main` is that."""
    task = named_task(f"multi2d-{maze}", split)
    planner = _planner(maze, candidates)
    every = 1 if run.steady or run.method == TRUE_STATE else planner.layout.stride
    hold = run.method in (TRUE_STATE, "not used")
    if run.method == "odometry alone":
        planner = Unaided(**vars(planner))
    policy = Policy(
        planner,
        replan_every=replan_every,
        tolerance=None,
        state_estimator=None if hold else StateEstimatorSettings(run.noise, tokens),
    )
    speed = 0 if run.steady else 10
    noise = run.noise * np.array([1, 1, speed, speed])
    sensor = Sensor(policy, every, noise, run.lost, hold, run.pushed)
    runner = EpisodeRunner(task, episodes)
    scores = runner.run(sensor, problems(task, episodes), seed=0).scores()
    runner.close()
    errors = np.square(sensor.errors[:200]).mean((0, 1)) ** 0.5
    return Result(scores, float(errors[:2].mean()), float(errors[2:].mean()))


def _planner(maze: str, candidates: int) -> ForcingPlanner:
    """The shipped planner, from anywhere, for a noisy position may lie in a wall."""
    planner = load(f"maze2d-{maze}")
    assert isinstance(planner, ForcingPlanner)
    settings = replace(planner.settings, max_start_distance=np.inf, candidates=candidates)
    return replace(planner, settings=settings)


def _row(run: Run, results: dict[Run, Result]) -> dict[str, object]:
    result, score = results[run], mean(results[run].scores[None])
    noise, lost = STEADY if run.steady else (run.noise, run.lost)
    odometry = results.get(replace(run, method="odometry alone", noise=noise, lost=lost))
    against = None
    if odometry is not None and odometry is not result:
        against = paired_difference(result.scores[None], odometry.scores[None])
    return {
        "noise": str(run.noise),
        "lost": f"{run.lost:.0%}",
        "method": run.method,
        "score": score.value,
        "±": score.half_width,
        "against odometry": None if against is None else against.value,
        "± of it": None if against is None else against.half_width,
        "position error": result.position,
        "velocity error": result.velocity,
    }


def _estimates(
    planner: ForcingPlanner, data: Trajectories, windows: int
) -> list[dict[str, object]]:
    """A row for each sensor."""
    layout = planner.layout
    frames = 1 + (CONTEXTS[-1] - 1) * layout.frame_stack
    rng = np.random.default_rng(0)
    segment = rng.integers(len(data.segments), size=windows)
    rooms = data.segments[segment, 1] - data.segments[segment, 0] - frames * layout.stride
    first = data.segments[segment, 0] + (rng.random(windows) * rooms).astype(int)
    true = data.observations[first[:, None] + np.arange(frames) * layout.stride, :2]
    rows: list[dict[str, object]] = []
    for noise, lost in SENSORS:
        seen = true + noise * rng.standard_normal(true.shape)
        arrived = rng.random(true.shape[:2]) >= lost
        arrived[:, 0] |= ~arrived.any(1)
        order = np.argsort(~arrived[:, ::-1], axis=1, kind="stable")
        newest = np.take_along_axis(seen[:, ::-1], order[..., None], 1)[:, :3]
        there = np.take_along_axis(arrived[:, ::-1], order, 1)[:, :3, None]
        row: dict[str, object] = {
            "noise": str(noise),
            "lost": f"{lost:.0%}",
            "last": _error(newest[:, 0], true),
            "mean": _error((newest * there).sum(1) / there.sum(1), true),
        }
        for n in CONTEXTS:
            few = slice(-1 - (n - 1) * layout.frame_stack, None)
            deviation = np.where(arrived[:, few], noise, np.inf)
            level = noise_to_level(deviation, planner.statistics, planner.schedule)
            known = arrived[:, few].any(1)
            present = np.tile(planner.statistics.normalizer.mean.numpy(), (windows, 1))
            past = ObservationHistory(seen[known, few], level[known])
            present[known] = planner.estimate(past, seed=0)[:, -1]
            row[f"n = {n}"] = _error(present, true)
        rows.append(row)
    return rows


def _error(present: np.ndarray, true: np.ndarray) -> float:
    return float(np.square(present - true[:, -1]).mean() ** 0.5)


if __name__ == "__main__":
    auto_cli(main)
