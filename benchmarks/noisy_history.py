"""How much does a history of noisy observations help a planner?

    OMP_NUM_THREADS=1 python benchmarks/noisy_history.py  # about six minutes on two idle cores

Multi2D-medium with a poor sensor. It sends an observation every 10 environment steps, the distance
of two positions in a token: the position with Gaussian noise ("noise" is its standard deviation per
axis, in cells) and the velocity with ten times that noise in cells per second, because a tenth of a
second passes in between. The share "lost" of the observations never arrives. There is no other
information. The score uses the true state. All methods have the same starts, noise, losses and
tracker. They plan again every ``replan_every`` steps with the same shipped checkpoint, which was
not trained for this task:

- not used: the last observation that arrived counts as the exact state until the next one arrives,
  as for a planner without a history.
- odometry alone: the policy's state estimator predicts the state with a point mass that was fitted
  to the data and the actions that were sent. It is a filter that knows the noise of positions and
  estimates that of velocities. The plan starts from its estimate, and the network sees no history.
- context used: the same estimator, and the network's estimate of the history: ``tokens`` tokens of
  context, each at the level of its noise. It has more weight if the filter is less certain. The
  plan continues that history.

So the second method minus the first is the effect of the estimator, and the third minus the second
the effect of the context. "±" is half of the 95% interval, "against odometry" a paired difference.
"position error" and "velocity error" are root mean square errors of the policy's estimate per axis,
in cells and cells per second, over the first 200 steps. In the first row, the exact state of each
step is observed.

In the second table, only the position is uncertain: each step is observed, velocities are exact,
and noise and losses of positions are those of the row. "pushed": in a fifth of all tenths of a
second, the body is under full force in a random direction instead of the action, of which no method
knows. "exact, every step" is pushed, too.

The last table shows the network alone, without the estimator: the root mean square error per axis
of the current position, on windows of the data, from ``1 + 2 (n - 1)`` observations 10 steps apart.
"last" is the last observation that arrived, "mean" the mean of the last three that arrived. Levels
are integers, which limits the effect of little noise. A lost position of a token is replaced by the
token's other position; with "n = 1" there is none. If nothing arrived, the estimate is the mean of
the data.
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
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import StateEstimatorSettings, estimate_positions
from dfplan.pretrained import load
from dfplan.training.presets import PRESETS, preset_data
from dfplan.types import Trajectories

SENSORS = (
    *((noise, 0.0) for noise in (0.0, 0.1, 0.2, 0.3, 0.5)),
    *((0.1, lost) for lost in (0.2, 0.4, 0.6, 0.8)),
)
"""Noise in cells, and the share of observations that is lost."""

STEADY = (0.25, 0.3)
"""Noise and losses of the sensor that observes every step, with exact velocities."""

PUSHED, PUSH_STEPS = 0.2, 10
"""Share of the intervals of this many steps in which a body is pushed."""

METHODS = ("not used", "odometry alone", "context used")

CONTEXTS = (1, 2, 3, 4, 6)
"""Tokens of context in the last table."""

TRUE_STATE = "exact, every step"


class Sensor:
    """Gives a policy noisy observations, some of which are lost.

    Args:
        policy: called every step. It observes NaN if nothing arrived, or with ``hold`` the last
            observation that arrived. Before the first one, that is its goal, at rest.
        every: steps between two observations.
        noise: standard deviation of position and velocity, [4].
        lost: share of observations that never arrive.
        hold: see ``policy``.
        pushed: whether another force acts at times, unknown to the policy.
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
        """Return the force that acts instead of ``action`` [B, 2]."""
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
    """The result of a run.

    Attributes:
        scores: of each episode, [n].
        position: root mean square error of the policy's position.
        velocity: root mean square error of the policy's velocity.
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
    runs: Path = Path("runs/noisy_history"),
    out: Path = RESULTS,
) -> None:
    """Run all methods and the network alone.

    Args:
        maze: umaze, medium or large.
        episodes: number of starts, one episode each.
        tokens: of context.
        replan_every: environment steps between two plans.
        candidates: per plan.
        windows: of the data, for the last table.
        split: of starts; ``validation`` for choosing settings.
        workers: processes.
        runs: folder for data and runs.
        out: folder for the results.
    """
    started = time.perf_counter()
    data = load_data(preset_data(PRESETS[f"maze2d-{maze}"], runs / maze))
    runs_of_sensor = [Run(TRUE_STATE, 0.0, 0.0)]
    runs_of_sensor += [Run(method, *sensor) for sensor in SENSORS for method in METHODS]
    steady = [
        Run(method, *sensor, steady=True, pushed=pushed)
        for pushed in (False, True)
        for method, sensor in ((TRUE_STATE, (0.0, 0.0)), *((each, STEADY) for each in METHODS))
    ]
    run_one = partial(
        run_method,
        maze=maze,
        split=split,
        episodes=episodes,
        tokens=tokens,
        replan_every=replan_every,
        candidates=candidates,
    )
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        every = [*runs_of_sensor, *steady]
        results = dict(zip(every, pool.map(run_one, every), strict=True))
    publish(
        out,
        "noisy_history",
        __doc__,
        started,
        {
            f"multi2d-{maze}, {episodes} {split} starts": [
                _row(run, results) for run in runs_of_sensor
            ],
            f"Every step observed, velocities exactly; {episodes} {split} starts": [
                {"pushed": "yes" if run.pushed else "no", **_row(run, results)} for run in steady
            ],
            f"Error of the estimated current, {windows} windows of the data": _estimates(
                _planner(maze, candidates), data, windows
            ),
        },
    )


def run_method(
    run: Run,
    *,
    maze: str,
    split: Split,
    episodes: int,
    tokens: int,
    replan_every: int,
    candidates: int,
) -> Result:
    """Run one method with one sensor; for the other arguments see :func:`main`."""
    task = named_task(f"multi2d-{maze}", split)
    planner = _planner(maze, candidates)
    every = 1 if run.steady or run.method == TRUE_STATE else planner.model.layout.stride
    hold = run.method in (TRUE_STATE, "not used")
    use_network = run.method == "context used"
    estimator = None if hold else StateEstimatorSettings(run.noise, tokens, use_network)
    policy = Policy(planner, replan_every=replan_every, tolerance=None, state_estimator=estimator)
    speed = 0 if run.steady else 10
    noise = run.noise * np.array([1, 1, speed, speed])
    sensor = Sensor(policy, every, noise, run.lost, hold, run.pushed)
    runner = EpisodeRunner(task, episodes)
    scores = runner.run(sensor, problems(task, episodes), seed=0).scores()
    runner.close()
    errors = np.square(sensor.errors[:200]).mean((0, 1)) ** 0.5
    return Result(scores, float(errors[:2].mean()), float(errors[2:].mean()))


def _planner(maze: str, candidates: int) -> ForcingPlanner:
    """The shipped planner without a limit on starts: a noisy position may lie in a wall."""
    planner = load(f"maze2d-{maze}")
    assert isinstance(planner, ForcingPlanner)
    return planner.with_settings(
        max_start_distance=np.inf, candidates=candidates, route_noise=np.inf
    )


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
    """Return a row per sensor."""
    model, layout = planner.model, planner.model.layout
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
        present_mask = np.take_along_axis(arrived[:, ::-1], order, 1)[:, :3, None]
        row: dict[str, object] = {
            "noise": str(noise),
            "lost": f"{lost:.0%}",
            "last": _error(newest[:, 0], true),
            "mean": _error((newest * present_mask).sum(1) / present_mask.sum(1), true),
        }
        for n in CONTEXTS:
            recent = slice(-1 - (n - 1) * layout.frame_stack, None)
            deviation = np.where(arrived[:, recent], noise, np.inf)
            level = noise_to_level(deviation, model)
            known = arrived[:, recent].any(1)
            current = np.tile(model.statistics.normalizer.mean.numpy(), (windows, 1))
            past = ObservationHistory(seen[known, recent], level[known])
            current[known] = estimate_positions(past, model, seed=0)[:, -1]
            row[f"n = {n}"] = _error(current, true)
        rows.append(row)
    return rows


def _error(current: np.ndarray, true: np.ndarray) -> float:
    return float(np.square(current - true[:, -1]).mean() ** 0.5)


if __name__ == "__main__":
    auto_cli(main)
