"""What can be asked for that a known goal cannot express, and is it done?

    python benchmarks/rewards.py --workers 2
    python benchmarks/rewards.py --split validation --episodes 20 --tasks via,slow

Random starts and goals in the large maze. Besides being at its goal each problem asks for one
thing more, placed by the maze, the problem's own random numbers and its usual plan (the one to
the goal alone), so that every planner is asked the same:

- via: come within 0.5 of the middle of a free cell whose detour is 2 to 8 cells;
- two_vias: the same for two cells, 3 or more apart, in order, with a detour of 2 to 16 cells;
- keep_out: stay out of a disc of radius 0.45 that fills a cell of the usual way; the maze has a
  way around that cell;
- moving: stay out of a disc of radius 0.3 that crosses the usual way at 2 cells a second, its
  middle on the usual plan when the plan is there;
- slow: stay below 3 cells a second in a disc of radius 0.5 on the usual way;
- arrive_by: be at the goal by half as many steps again, and 10, as the bound of the benchmark
  says that nobody can be faster than; problems of fewer than 60 steps are left out.

No walk is longer than 24 cells on the grid, which a plan of 560 steps has time for. Problems that
have no room for the wish are passed over: "drawn" is how many were looked at for n.

One problem is planned at a time, once, and all plans are then driven together in the environment,
each to the end of its episode, by a tracker that keeps the plan's time: some wishes depend on it,
and pure pursuit cuts the turn at the end of a detour. The unguided planner is the shipped one and
not told of the wish. The others have its horizon: 560 steps where a detour or slowness takes time,
the deadline of arrive_by, in moving none. "horizon" is told nothing more; "guided" has the reward
too, with the settings below, chosen on validation problems; "tree" is a tree search with the same
reward and settings at as many network evaluations.

"satisfied" is the share of episodes in which the wish is kept, from the first to the last position
driven, and the goal paid for at the last step; "kept" and "at goal" are the two alone. Score is of
the true summed reward, ± half of its 95% interval; "network calls" and "plan ms" (median, with as
many tasks at a time as workers) are of one plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.cli.arguments import Names
from dfplan.errors import MazeError, unknown_name
from dfplan.evaluation.bounds import steps_needed
from dfplan.evaluation.episodes import EpisodeRunner
from dfplan.evaluation.protocols import Problems, Split, Task, named_task, problems
from dfplan.evaluation.statistics import mean
from dfplan.mazes import Maze
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.rewards import (
    ComposableReward,
    Disc,
    Fast,
    KeepOut,
    OnSupport,
    PassThrough,
    SlowIn,
)
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import TimedPD, Tracker, timed_gains
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import load
from dfplan.suites import D4RL
from dfplan.types import Plan, Planner, Reward

LONGEST_WALK = 24
"""Cells of a walk, at most; the data takes 19 steps a cell."""

LONGEST_PLAN, TOKEN = 560, 20
"""Steps of the model's longest plan, and of one token."""

STEEPNESS = 30.0
"""How many times heavier than by default the planner's own terms are in guidance.

A wish must outweigh a detour of hundreds of steps in the score, so its gradient is steep, and
guidance takes steps that are a third of this times shorter.
"""


@dataclass(frozen=True)
class Asked:
    """One start and goal, and the plan to that goal alone.

    Attributes:
        maze: where.
        start: position and velocity, [4].
        goal: position, [2].
        usual: the unguided plan.
        bound: no driver is at the goal before this step.
        careful: keeps a plan where the data has been, by its weight.
        rng: the problem's own.
    """

    maze: Maze
    start: np.ndarray
    goal: np.ndarray
    usual: Plan
    bound: int
    careful: ComposableReward
    rng: np.random.Generator

    def walk(self, cells: Sequence[np.ndarray] = (), blocked: np.ndarray | None = None) -> int:
        """Cells of the shortest way through ``cells`` in order, with one more cell a wall."""
        maze = self.maze
        if blocked is not None:
            rows = [list(row) for row in maze.rows]
            rows[blocked[0]][blocked[1]] = "#"
            maze = Maze(tuple("".join(row) for row in rows))
        stops = [maze.xy_to_cell(self.start[:2]), *cells, maze.xy_to_cell(self.goal)]
        return sum(len(maze.shortest_path(one, other)) for one, other in pairwise(stops))

    def usual_at(self, step: np.ndarray | float) -> np.ndarray:
        """Where the usual plan is at each step [...]; [..., 2]."""
        line = self.usual.points[0]
        time = np.arange(len(line)) * self.usual.stride
        return np.stack([np.interp(step, time, line[:, axis]) for axis in (0, 1)], -1)

    def usual_cells(self) -> list[np.ndarray]:
        """Cells whose middle the usual plan passes within 0.3, not within 1.2 of its ends."""
        line = self.usual_at(np.arange(int(self.usual.steps[0]) + 1))
        cells = np.unique(self.maze.xy_to_cell(line), axis=0)
        near = np.linalg.norm(self.maze.cell_to_xy(cells)[:, None] - line, axis=-1).min(1) < 0.3
        return list(cells[near & self._inner(self.maze.cell_to_xy(cells))])

    def usual_steps(self) -> np.ndarray:
        """Steps at which the usual plan moves, not within 1.2 of its ends; int [S]."""
        step = np.arange(5, int(self.usual.steps[0]) - 5)
        moves = np.linalg.norm(self.usual_at(step + 5) - self.usual_at(step - 5), axis=1) > 0.2
        return np.asarray(step[moves & self._inner(self.usual_at(step))])

    def _inner(self, places: np.ndarray) -> np.ndarray:
        ends = np.stack([self.start[:2], self.goal])
        inner: np.ndarray = np.linalg.norm(places[:, None] - ends, axis=-1).min(1) > 1.2
        return inner


@dataclass(frozen=True)
class Wish:
    """What is asked besides the goal.

    Attributes:
        reward: that asks for it.
        horizon: environment steps that the plan is given; None leaves them to the planner.
        kept: whether the positions [T + 1, 2] of an episode do as asked.
    """

    reward: Reward
    horizon: int | None
    kept: Callable[[np.ndarray], bool]


def via(asked: Asked) -> Wish | None:
    """Pass one cell."""
    return _pass(asked, [[cell] for cell in asked.maze.free_cells])


def two_vias(asked: Asked) -> Wish | None:
    """Pass two cells in order."""
    cells = asked.maze.free_cells
    return _pass(
        asked,
        [
            [one, other]
            for one in cells
            for other in cells
            if len(asked.maze.shortest_path(one, other)) >= 3
        ],
    )


def _pass(asked: Asked, choices: list[list[np.ndarray]]) -> Wish | None:
    direct = asked.walk()
    longest = min(LONGEST_WALK, direct + 8 * len(choices[0]))
    fit = [cells for cells in choices if direct + 2 <= asked.walk(cells) <= longest]
    if not fit:
        return None
    places = asked.maze.cell_to_xy(np.array(fit[asked.rng.integers(len(fit))]))

    def kept(positions: np.ndarray) -> bool:
        for place in places:
            near = np.linalg.norm(positions - place, axis=1) <= D4RL.goal_radius
            if not near.any():
                return False
            positions = positions[near.argmax() :]
        return True

    passing = 1000.0 * PassThrough(torch.tensor(places).float())
    # Without a pace the plan may jump to a place and back, which no body can follow.
    return Wish(passing + _pace(1000.0) + 2400.0 * asked.careful, LONGEST_PLAN, kept)


def keep_out(asked: Asked) -> Wish | None:
    """Keep out of a disc that blocks the usual way."""
    fit = [cell for cell in asked.usual_cells() if _way_around(asked, cell)]
    if not fit:
        return None
    center = asked.maze.cell_to_xy(fit[asked.rng.integers(len(fit))])
    # Depth counts squared: with a wide margin the disc itself is steep from its rim on.
    wish = _clear(Disc((center[0], center[1]), 0.45), weight=10000.0, margin=0.3)
    return replace(wish, horizon=LONGEST_PLAN)


def _way_around(asked: Asked, cell: np.ndarray) -> bool:
    try:
        return asked.walk(blocked=cell) <= LONGEST_WALK
    except MazeError:  # the cell parts start and goal
        return False


def moving(asked: Asked) -> Wish | None:
    """Keep out of a disc that crosses the usual way where and when the plan is there."""
    fit = asked.usual_steps()
    if not len(fit):
        return None
    step = int(fit[asked.rng.integers(len(fit))])
    ahead = asked.usual_at(step + 5) - asked.usual_at(step - 5)
    across = np.array([-ahead[1], ahead[0]]) / np.linalg.norm(ahead)
    velocity = 0.02 * asked.rng.choice([-1, 1]) * across
    center = asked.usual_at(step) - step * velocity
    disc = Disc((center[0], center[1]), 0.3, (velocity[0], velocity[1]))
    wish = _clear(disc, weight=1000.0, margin=0.15)
    return replace(wish, reward=wish.reward + _pace(1000.0) + 2400.0 * asked.careful)


def _clear(disc: Disc, weight: float, margin: float) -> Wish:
    def kept(positions: np.ndarray) -> bool:
        line = torch.from_numpy(positions)[None].double()
        return bool((disc.signed_distance(line, torch.arange(len(positions)).double()) >= 0).all())

    return Wish(weight * KeepOut([disc], margin, points_per_line=4), None, kept)


def slow(asked: Asked) -> Wish | None:
    """Be slow in a disc on the usual way."""
    radius, limit = 0.5, 0.03
    fit = asked.usual_cells()
    if not fit:
        return None
    center = asked.maze.cell_to_xy(fit[asked.rng.integers(len(fit))])

    def kept(positions: np.ndarray) -> bool:
        middle = (positions[1:] + positions[:-1]) / 2
        within = np.linalg.norm(middle - center, axis=1) < radius
        return bool((np.linalg.norm(np.diff(positions, axis=0), axis=1)[within] <= limit).all())

    zone = Disc((center[0], center[1]), radius + 0.1)
    reward = 3000.0 * SlowIn(zone, 0.7 * limit) + _pace(3000.0) + 2400.0 * asked.careful
    return Wish(reward, LONGEST_PLAN, kept)


def arrive_by(asked: Asked) -> Wish | None:
    """Be at the goal by a time."""
    if asked.bound < 60:
        return None
    deadline = round(1.5 * asked.bound) + 10

    def kept(positions: np.ndarray) -> bool:
        near = np.linalg.norm(positions[: deadline + 1] - asked.goal, axis=1) <= D4RL.goal_radius
        return bool(near.any())

    fast = Fast(torch.tensor(asked.goal).float(), D4RL.goal_radius)
    reward = 3.0 * fast + _pace(1000.0) + 2400.0 * asked.careful
    # A horizon is rounded up to whole tokens, and must not be late by that.
    return Wish(reward, min(deadline // TOKEN * TOKEN, LONGEST_PLAN), kept)


def _pace(weight: float) -> ComposableReward:
    """Be nowhere faster than 4.5 cells a second, which a tracker can follow."""
    return weight * SlowIn(Disc((0.0, 0.0), 1e3), 0.045)


Place = Callable[[Asked], Wish | None]
"""The wish for a problem, or None where there is no room for it."""

CHALLENGES: dict[str, Place] = {
    "via": via,
    "two_vias": two_vias,
    "keep_out": keep_out,
    "moving": moving,
    "slow": slow,
    "arrive_by": arrive_by,
}


@dataclass(frozen=True)
class GoalAlone(BasePlanner):
    """A planner that does not see the reward, and sees the horizon only if ``sees_horizon``."""

    planner: Planner
    sees_horizon: bool = False

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        horizon = arguments.horizon if self.sees_horizon else None
        return replace(arguments, reward=None, horizon=horizon).plan_with(self.planner)


def _shipped() -> ForcingPlanner:
    return cast(ForcingPlanner, load("maze2d-large"))


def _guided(mc_samples: int = 1) -> ForcingPlanner:
    planner = _shipped()
    settings = planner.settings
    settings = replace(
        settings,
        guidance=replace(settings.guidance, scale=3 * settings.guidance.scale / STEEPNESS),
        smoothness_weight=settings.smoothness_weight * STEEPNESS,
        support_weight=settings.support_weight * STEEPNESS,
        support_penalty=200.0,
        steps=5,
        candidates=144,
        refine_steps=100,
        refine_top_k=8,
        mc_samples=mc_samples,
    )
    return replace(planner, settings=settings)


def _tree() -> TreePlanner:
    planner = _guided()
    evaluations = planner.settings.candidates * planner.settings.steps
    return TreePlanner(planner, TreeSettings(evaluations, leaves=48, horizons=72))


ARMS: dict[str, Callable[[], Planner]] = {
    "unguided": lambda: GoalAlone(_shipped()),
    "horizon": lambda: GoalAlone(_shipped(), sees_horizon=True),
    "guided": _guided,
    "tree": _tree,
    "guided-mc": lambda: _guided(mc_samples=4),
}
"""Planners by name; horizon is unguided but has the wish's horizon, guided-mc is guided over four
futures."""


def main(
    tasks: Names = Names(tuple(CHALLENGES)),
    arms: Names = Names("unguided,horizon,guided,tree"),
    episodes: int = 50,
    split: Split = "test",
    workers: int = 1,
    out: Path = RESULTS,
) -> None:
    for name in tasks:
        if name not in CHALLENGES:
            raise unknown_name("task", name, CHALLENGES)
    for arm in arms:
        if arm not in ARMS:
            raise unknown_name("planner", arm, ARMS)
    began = time.perf_counter()
    tables: dict[str, list[dict[str, object]]] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        rows = partial(_table, arms=arms, episodes=episodes, split=split)
        for name, table in zip(tasks, pool.map(rows, tasks), strict=True):
            tables[name] = table
            publish(out, "rewards", __doc__, began, tables)


def _table(name: str, arms: Sequence[str], episodes: int, split: Split) -> list[dict[str, object]]:
    """A row for each planner."""
    task = named_task("multi2d-large", split)
    rows, wishes = _placed(CHALLENGES[name], task, episodes)
    pool = problems(task, rows[-1] + 1)
    starts = pool.rows(rows)
    return [
        {"planner": arm, "n": len(rows), "drawn": len(pool)}
        | _figures(ARMS[arm](), task, starts, wishes, rows)
        for arm in arms
    ]


def _placed(place: Place, task: Task, count: int) -> tuple[list[int], list[Wish]]:
    """The first ``count`` problems that have room, and their wishes."""
    planner, pool = _shipped(), problems(task, 8 * count)
    bounds = steps_needed(task.maze, pool.starts, pool.goals)
    careful = OnSupport(planner.statistics.support)
    rows: list[int] = []
    wishes: list[Wish] = []
    for index in range(len(pool)):
        start, goal = pool.starts[index], pool.goals[index]
        usual = planner.plan(start, goal, seed=index)
        rng = np.random.default_rng(index)
        asked = Asked(task.maze, start, goal, usual, int(bounds[index]), careful, rng)
        wish = place(asked)
        if wish is not None:
            rows.append(index)
            wishes.append(wish)
        if len(rows) == count:
            break
    return rows, wishes


def _figures(
    planner: Planner,
    task: Task,
    starts: Problems,
    wishes: list[Wish],
    seeds: list[int],
) -> dict[str, object]:
    """Plan each problem with its seed, that of its usual plan, drive all plans, and count."""
    plans = [
        planner.plan(start, goal, reward=wish.reward, horizon=wish.horizon, seed=seed)
        for start, goal, wish, seed in zip(
            tqdm(starts.starts), starts.goals, wishes, seeds, strict=True
        )
    ]
    motion = _shipped().statistics.motion
    drive = _Drive(TimedPD(*timed_gains(motion), dt=motion.dt), plans)
    runner = EpisodeRunner(task, len(starts))
    played = runner.run(drive, starts, seed=0)
    runner.close()
    kept = [wish.kept(line) for wish, line in zip(wishes, played.positions, strict=True)]
    there = played.rewards[:, -1] > 0
    score = mean(played.scores()[None])
    return {
        "satisfied": float((np.array(kept) & there).mean()),
        "kept": float(np.mean(kept)),
        "at goal": float(there.mean()),
        "score": score.value,
        "±": score.half_width,
        "network calls": float(np.mean([plan.evaluations for plan in plans])),
        "plan ms": 1e3 * float(np.median([plan.seconds for plan in plans])),
    }


@dataclass(frozen=True)
class _Drive:
    """Follows a plan in each environment, come what may."""

    tracker: Tracker
    plans: list[Plan]

    def reset(self, seed: int | None = None) -> None:
        for row, plan in enumerate(self.plans):
            self.tracker.assign(np.array([row]), plan)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return self.tracker.act(observation)


if __name__ == "__main__":
    auto_cli(main)
