"""Measures how true a checkpoint's uncertainty is, on validation problems that no table scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import optimize, sparse
from tqdm import tqdm

from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import GROUP_SIZE, Actor, EpisodeBatch, EpisodeRunner
from dfplan.evaluation.protocols import Problems, Task, custom_problems, problems
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.disturbance import Disturbance, Disturber
from dfplan.planning.policy import Policy
from dfplan.planning.route import find_ways
from dfplan.planning.settings import MUCH_NOISE
from dfplan.planning.simulation import passing_distances, simulate
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import (
    Calibration,
    SuccessTest,
    log_odds,
    simulated_share,
    tracking_regions,
)
from dfplan.pretrained import checkpoint_path
from dfplan.regions import RegionTable, RegionTables, fit_regions, region_samples
from dfplan.training.checkpoint import Checkpoint
from dfplan.tuning import load_forcing, validation_tasks
from dfplan.types import Plan, Reward

SEED = 1
"""Of the validation problems; those of seed 0 are for judging the result."""

COVERAGE = 0.9
"""Of tracking regions."""

CONDITIONS = tuple(
    Disturbance(action_noise=0.3, push_chance=chance) for chance in (0.05, 0.1, 0.15, 0.2, 0.3)
)
"""Pushes and noise under which the probability of success is calibrated."""

_MOST_EPISODES = 300
"""Problems of which episodes are run, under each condition."""

_MOST_FITTED = 5000
"""Passed points from which tracking regions are fitted."""


def calibrate(path: str | Path, count: int = 600) -> tuple[RegionTables, Calibration]:
    """Measure a checkpoint's regions and the truth of its simulated episodes, and store both.

    Regions are measured while plans are denoised by the pyramid matrix, from the expected way with
    much noise and from pure noise. In the maze of a suite, the problems are validation problems,
    and simulated episodes are compared with real ones. In others, starts and goals are drawn from
    the data, and nothing is known of episodes. So it is for a body with a low-level policy, which
    is not simulated.

    Args:
        path: a checkpoint of a planner, or the folder of its training.
        count: number of problems; half as many from pure noise, which takes longer, and at most
            300 for episodes.

    Raises:
        ConfigError: the checkpoint is not that of a planner by Diffusion Forcing, or one whose
            plans end before the goal (:attr:`~dfplan.planning.settings.PlannerSettings.ahead`), or
            it has no roadmap, or one without ways, from which problems could be drawn.
    """
    path = checkpoint_path(path)
    planner = load_forcing(path)
    if planner.settings.ahead is not None:
        raise ConfigError(
            f"Regions are those of plans to the goal; the plans of {path} end after "
            f"{planner.settings.ahead} steps. Calibrate another checkpoint."
        )
    tasks = [task for task in validation_tasks(planner.maze) if task.random_goals]
    drawn = problems(tasks[0], count, SEED) if tasks else _from_data(planner, count)
    half = drawn.subset(slice(0, -(-len(drawn) // 2)))
    regions = RegionTables(
        way=measure_regions(planner, drawn, MUCH_NOISE),
        noise=measure_regions(planner, half, math.inf),
    )
    calibration = Calibration()
    if tasks and planner.low_level is None:
        some = drawn.subset(slice(0, min(count, _MOST_EPISODES)))
        calibration = measure_episodes(planner, tasks[0], some)
    stored = {"regions": regions.to_json(), "episodes": calibration.to_json()}
    replace(Checkpoint.load(path), calibration=stored).save(path)
    return regions, calibration


def measure_regions(planner: ForcingPlanner, drawn: Problems, route_noise: float) -> RegionTable:
    """Measure where noisy tokens end up while plans are denoised.

    Args:
        planner: whose network and settings are used.
        drawn: problems to plan for.
        route_noise: of the plans.
    """
    stack = planner.model.layout.frame_stack
    samples = [
        region_samples(*denoising, stack)
        for plan in denoised_plans(planner, drawn, route_noise)
        for denoising in rows_of(plan)
    ]
    noise, ahead, error = (np.concatenate(part) for part in zip(*samples, strict=True))
    return fit_regions(noise, ahead, error, stack)


def denoised_plans(planner: ForcingPlanner, drawn: Problems, route_noise: float) -> Iterator[Plan]:
    """Plans with this ``route_noise`` by the pyramid matrix, with their denoising, in groups."""
    noisy = planner.with_settings(route_noise=route_noise, matrix="pyramid", replans=0)
    for first in tqdm(range(0, len(drawn), GROUP_SIZE), desc="regions", unit="group"):
        group = drawn.subset(slice(first, first + GROUP_SIZE))
        yield noisy.plan(group.starts, group.goals, seed=first, trace=True)


def rows_of(plan: Plan) -> Iterator[tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]]:
    """For each query: noise and points of each row of its denoising, and the finished points."""
    for query, steps in enumerate(plan.steps):
        rows = [(level[query] / plan.max_level, points[query]) for level, points in plan.trace]
        yield rows, plan.points[query, : 1 + steps // plan.stride]


def measure_episodes(planner: ForcingPlanner, task: Task, drawn: Problems) -> Calibration:
    """Compare simulated episodes with real ones.

    Args:
        planner: its plans are followed to the end, without new ones.
        task: the environment.
        drawn: starts and goals.
    """
    passed: list[tuple[np.ndarray, np.ndarray]] = []
    shares, reached = [], []
    for condition in tqdm((Disturbance(), *CONDITIONS), desc="episodes", unit="condition"):
        test = success_test(task, condition)
        for plan, batch in followed(planner, task, drawn, condition, SEED):
            passed += passages(planner, plan, batch, Calibration(), condition, SEED)
            if condition == Disturbance():
                continue
            shares.append(
                simulated_share(plan, test, planner.model.statistics, planner.tracker(), seed=SEED)
            )
            reached.append(batch.success)
    slope, shift = _fit_odds(
        log_odds(np.concatenate(shares), test.episodes), np.concatenate(reached)
    )
    distances, radii = (np.concatenate(part) for part in zip(*passed, strict=True))
    return Calibration(*_fit_quantile(radii, distances, COVERAGE), slope, shift)


class Disturbed:
    """A policy in a disturbed environment: noise of observations, and pushes and noise of actions.

    Args:
        actor: the policy.
        disturbance: what happens.
        layout: the columns of the observations.
    """

    def __init__(
        self, actor: Actor, disturbance: Disturbance, layout: ObservationLayout = PLANAR
    ) -> None:
        self._actor, self._disturbance, self._layout = actor, disturbance, layout
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Start new episodes; ``seed`` is that of the policy and of the disturbance."""
        self._actor.reset(seed)
        self._disturber = Disturber(self._disturbance, np.random.default_rng(seed))

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        """What acts on the bodies, [B, 2], for observations [B, S] and goals [B, 2]."""
        seen = self._disturber.observed(observation, self._layout)
        return self._disturber.acted(self._actor.act(seen, goal=goal))


def followed(
    planner: ForcingPlanner,
    task: Task,
    drawn: Problems,
    disturbance: Disturbance,
    seed: int,
    reward: Reward | None = None,
) -> Iterator[tuple[Plan, EpisodeBatch]]:
    """Episodes that follow one plan to the end, in groups, and their plans.

    Args:
        planner: makes the plans.
        task: the environment.
        drawn: starts and goals.
        disturbance: pushes and noise.
        seed: of the plans and of the disturbance.
        reward: of the plans.
    """
    policy = Policy(planner, tolerance=None, reward=reward)
    actor = Disturbed(policy, disturbance, task.maze.suite.observation)
    with closing(EpisodeRunner(task, min(GROUP_SIZE, len(drawn)))) as runner:
        for first in range(0, len(drawn), GROUP_SIZE):
            group = drawn.subset(slice(first, first + GROUP_SIZE))
            batch = runner.run(actor, group, seed + first)
            if policy.plan is not None:
                yield policy.plan, batch


def passages(
    planner: ForcingPlanner,
    plan: Plan,
    batch: EpisodeBatch,
    calibration: Calibration,
    disturbance: Disturbance,
    seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each episode: how closely it passes the points of its plan, and their tracking regions.

    Points near the goal do not count, since some suites end an episode there.

    Args:
        planner: made the plan.
        plan: that the episodes followed.
        batch: the episodes.
        calibration: of the regions.
        disturbance: of the simulated episodes.
        seed: of the simulated episodes.
    """
    statistics, suite = planner.model.statistics, batch.task.maze.suite
    episodes = simulate(
        plan,
        statistics,
        planner.tracker(),
        steps=batch.task.max_steps,
        episodes=1 if disturbance == Disturbance() else 64,
        disturbance=disturbance,
        seed=seed,
    )
    radii = tracking_regions(plan, episodes, calibration, COVERAGE)
    for row, points in enumerate(plan.points):
        path = batch.positions[row, : batch.steps[row] + 1]
        index = np.arange(len(points))
        counts = (index > 0) & (index <= plan.steps[row] // plan.stride)
        counts &= np.linalg.norm(points - batch.problems.goals[row], axis=1) > suite.goal_radius
        yield passing_distances(points[counts], path[None])[0], radii[row, counts]


def success_test(task: Task, disturbance: Disturbance) -> SuccessTest:
    """What counts as a success in a task."""
    return SuccessTest(task.maze.suite.goal_radius, task.max_steps, disturbance)


def _fit_odds(odds: np.ndarray, reached: np.ndarray) -> tuple[float, float]:
    """Slope and shift of the log odds [N] that fit best to what was ``reached``, bool [N].

    Few data change them little (a normal prior with standard deviation 0.5 around 1 and 0).
    """

    def loss(parameters: np.ndarray) -> float:
        slope, shift = parameters
        signed = np.where(reached, 1.0, -1.0) * (slope * odds + shift)
        return float(np.logaddexp(0.0, -signed).sum() + 2 * ((slope - 1) ** 2 + shift**2))

    slope, shift = optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(shift)


def _fit_quantile(radii: np.ndarray, distances: np.ndarray, share: float) -> tuple[float, float]:
    """The factor and the addend, neither negative, with which ``radii`` [N] hold ``share``.

    They are the linear quantile regression of ``distances`` [N] on ``radii``.
    """
    chosen = np.random.default_rng(SEED).permutation(len(radii))[:_MOST_FITTED]
    count, one = len(chosen), sparse.identity(len(chosen), format="csr")
    columns = sparse.csr_matrix(np.stack([radii[chosen], np.ones(count)], 1).astype(float))
    cost = np.concatenate([[0.0, 0.0], np.full(count, share), np.full(count, 1 - share)])
    fitted = optimize.linprog(
        cost, A_eq=sparse.hstack([columns, one, -one]), b_eq=distances[chosen], method="highs"
    )
    return float(fitted.x[0]), float(fitted.x[1])


def _from_data(planner: ForcingPlanner, count: int) -> Problems:
    """Starts, at rest, and goals at places of the data between which a way leads."""
    roadmap = planner.model.statistics.roadmap
    if roadmap is None:
        raise ConfigError(
            "Problems are drawn from the roadmap of the data, which this checkpoint lacks. Train "
            "the model again."
        )
    rng, count_bins = np.random.default_rng(SEED), len(roadmap.centers)
    goals = roadmap.centers[rng.integers(count_bins, size=count)]
    starts, kept = [], []
    for row, way in enumerate(find_ways(planner.model.statistics, goals)):
        reachable = np.flatnonzero(np.isfinite(way.stages[-1].steps))
        if len(reachable):
            starts.append(roadmap.centers[rng.choice(reachable)])
            kept.append(row)
    if not kept:
        raise ConfigError(
            "No way leads between the places of this data, so there are no problems to plan for. "
            "Train on walks in which the body moves farther."
        )
    layout = planner.observation_layout
    states = np.zeros((len(kept), layout.width))
    states[:, list(layout.position)] = np.array(starts).reshape(-1, 2)
    return custom_problems(states, goals[kept])
