"""Requirements besides the goal, for ``rewards.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from dfplan.errors import MazeError
from dfplan.mazes import Maze
from dfplan.planning.rewards import (
    ComposableReward,
    Disc,
    Fast,
    KeepOut,
    PassThrough,
    Reach,
    SlowIn,
)
from dfplan.suites import D4RL
from dfplan.types import Plan, Reward

LONGEST_PATH = 24
"""Maximum length of a path, in cells; the data takes 19 steps per cell."""

LONGEST_PLAN, TOKEN = 560, 20
"""Steps of the model's longest plan, and of one token."""


@dataclass(frozen=True)
class Setup:
    """A start, a goal, and the plan to that goal alone.

    Attributes:
        maze: of the problem.
        start: position and velocity, [4].
        goal: position, [2].
        baseline: the unguided plan.
        bound: lower bound on the steps to the goal.
        on_support: reward for plans inside the data's support.
        rng: the problem's own random generator.
    """

    maze: Maze
    start: np.ndarray
    goal: np.ndarray
    baseline: Plan
    bound: int
    on_support: ComposableReward
    rng: np.random.Generator

    def path_length(
        self, cells: Sequence[np.ndarray] = (), blocked: np.ndarray | None = None
    ) -> int:
        """Cells of the shortest path through ``cells`` in order, with ``blocked`` as a wall."""
        maze = self.maze
        if blocked is not None:
            rows = [list(row) for row in maze.rows]
            rows[blocked[0]][blocked[1]] = "#"
            maze = Maze(tuple("".join(row) for row in rows))
        stops = [maze.xy_to_cell(self.start[:2]), *cells, maze.xy_to_cell(self.goal)]
        return sum(len(maze.shortest_path(one, other)) for one, other in pairwise(stops))

    def baseline_at(self, step: np.ndarray | float) -> np.ndarray:
        """Position of the baseline plan at each step [...]; [..., 2]."""
        line = self.baseline.points[0]
        time = np.arange(len(line)) * self.baseline.stride
        return np.stack([np.interp(step, time, line[:, axis]) for axis in (0, 1)], -1)

    def baseline_cells(self) -> list[np.ndarray]:
        """Cells whose center the baseline plan passes within 0.3, at least 1.2 from its ends."""
        line = self.baseline_at(np.arange(int(self.baseline.steps[0]) + 1))
        cells = np.unique(self.maze.xy_to_cell(line), axis=0)
        near = np.linalg.norm(self.maze.cell_to_xy(cells)[:, None] - line, axis=-1).min(1) < 0.3
        return list(cells[near & self._inner(self.maze.cell_to_xy(cells))])

    def baseline_steps(self) -> np.ndarray:
        """Steps at which the baseline plan moves, at least 1.2 from its ends; int [S]."""
        step = np.arange(5, int(self.baseline.steps[0]) - 5)
        moves = (
            np.linalg.norm(self.baseline_at(step + 5) - self.baseline_at(step - 5), axis=1) > 0.2
        )
        return np.asarray(step[moves & self._inner(self.baseline_at(step))])

    def _inner(self, places: np.ndarray) -> np.ndarray:
        ends = np.stack([self.start[:2], self.goal])
        inner: np.ndarray = np.linalg.norm(places[:, None] - ends, axis=-1).min(1) > 1.2
        return inner


@dataclass(frozen=True)
class Requirement:
    """A requirement besides the goal.

    Attributes:
        reward: expresses the requirement.
        horizon: environment steps of the plan; None leaves them to the planner.
        is_met: whether the positions [T + 1, 2] of an episode meet the requirement.
        by_reward_alone: whether the planner gets no goal, only the reward.
    """

    reward: Reward
    horizon: int | None
    is_met: Callable[[np.ndarray], bool]
    by_reward_alone: bool = False


def via(setup: Setup) -> Requirement | None:
    """Pass one cell."""
    return _pass(setup, [[cell] for cell in setup.maze.free_cells])


def two_vias(setup: Setup) -> Requirement | None:
    """Pass two cells in order."""
    cells = setup.maze.free_cells
    return _pass(
        setup,
        [
            [one, other]
            for one in cells
            for other in cells
            if len(setup.maze.shortest_path(one, other)) >= 3
        ],
    )


def _pass(setup: Setup, choices: list[list[np.ndarray]]) -> Requirement | None:
    direct = setup.path_length()
    longest = min(LONGEST_PATH, direct + 8 * len(choices[0]))
    fit = [cells for cells in choices if direct + 2 <= setup.path_length(cells) <= longest]
    if not fit:
        return None
    places = setup.maze.cell_to_xy(np.array(fit[setup.rng.integers(len(fit))]))

    def is_met(positions: np.ndarray) -> bool:
        for place in places:
            near = np.linalg.norm(positions - place, axis=1) <= D4RL.goal_radius
            if not near.any():
                return False
            positions = positions[near.argmax() :]
        return True

    passing = 1000.0 * PassThrough(torch.tensor(places).float())
    # Without a speed limit, the plan may jump to a position and back, which no body can follow.
    return Requirement(
        passing + _speed_limit(1000.0) + 2400.0 * setup.on_support, LONGEST_PLAN, is_met
    )


def keep_out(setup: Setup) -> Requirement | None:
    """Keep out of a disc that blocks the baseline plan."""
    fit = [cell for cell in setup.baseline_cells() if _has_detour(setup, cell)]
    if not fit:
        return None
    center = setup.maze.cell_to_xy(fit[setup.rng.integers(len(fit))])
    # The penalty is quadratic in depth: with a wide margin it is steep inside the whole disc.
    requirement = _clear(Disc((center[0], center[1]), 0.45), weight=20000.0, margin=0.3)
    return replace(requirement, horizon=LONGEST_PLAN)


def _has_detour(setup: Setup, cell: np.ndarray) -> bool:
    try:
        return setup.path_length(blocked=cell) <= LONGEST_PATH
    except MazeError:  # the cell separates start and goal
        return False


def moving(setup: Setup) -> Requirement | None:
    """Keep out of a disc that crosses the baseline plan where and when the plan is there."""
    fit = setup.baseline_steps()
    if not len(fit):
        return None
    step = int(fit[setup.rng.integers(len(fit))])
    ahead = setup.baseline_at(step + 5) - setup.baseline_at(step - 5)
    across = np.array([-ahead[1], ahead[0]]) / np.linalg.norm(ahead)
    velocity = 0.02 * setup.rng.choice([-1, 1]) * across
    center = setup.baseline_at(step) - step * velocity
    disc = Disc((center[0], center[1]), 0.3, (velocity[0], velocity[1]))
    requirement = _clear(disc, weight=2000.0, margin=0.15)
    return replace(
        requirement, reward=requirement.reward + _speed_limit(1000.0) + 2400.0 * setup.on_support
    )


def _clear(disc: Disc, weight: float, margin: float) -> Requirement:
    def is_met(positions: np.ndarray) -> bool:
        line = torch.from_numpy(positions)[None].double()
        return bool((disc.signed_distance(line, torch.arange(len(positions)).double()) >= 0).all())

    return Requirement(weight * KeepOut([disc], margin), None, is_met)


def slow(setup: Setup) -> Requirement | None:
    """Be slow in a disc on the baseline plan."""
    radius, limit = 0.5, 0.03
    fit = setup.baseline_cells()
    if not fit:
        return None
    center = setup.maze.cell_to_xy(fit[setup.rng.integers(len(fit))])

    def is_met(positions: np.ndarray) -> bool:
        middle = (positions[1:] + positions[:-1]) / 2
        within = np.linalg.norm(middle - center, axis=1) < radius
        return bool((np.linalg.norm(np.diff(positions, axis=0), axis=1)[within] <= limit).all())

    zone = Disc((center[0], center[1]), radius + 0.1)
    reward = 3000.0 * SlowIn(zone, 0.7 * limit) + _speed_limit(3000.0) + 2400.0 * setup.on_support
    return Requirement(reward, LONGEST_PLAN, is_met)


def arrive_by(setup: Setup) -> Requirement | None:
    """Be at the goal before a deadline."""
    if setup.bound < 60:
        return None
    deadline = round(1.5 * setup.bound) + 10

    def is_met(positions: np.ndarray) -> bool:
        near = np.linalg.norm(positions[: deadline + 1] - setup.goal, axis=1) <= D4RL.goal_radius
        return bool(near.any())

    fast = Fast(torch.tensor(setup.goal).float(), D4RL.goal_radius)
    reward = 3.0 * fast + _speed_limit(1000.0) + 2400.0 * setup.on_support
    # The planner rounds a horizon up to whole tokens, which must not exceed the deadline.
    return Requirement(reward, min(deadline // TOKEN * TOKEN, LONGEST_PLAN), is_met)


def reach(setup: Setup) -> Requirement | None:
    """End at the goal, which only the reward knows."""
    # A plan without a goal has the horizon that is asked for.
    steps = min(2 * setup.bound // TOKEN * TOKEN + TOKEN, LONGEST_PLAN)
    reward = 100.0 * Reach(torch.tensor(setup.goal).float()) + 2400.0 * setup.on_support
    return Requirement(reward, steps, lambda positions: True, by_reward_alone=True)


def _speed_limit(weight: float) -> ComposableReward:
    """Stay below 4.5 cells per second, which a tracker can follow."""
    return weight * SlowIn(Disc((0.0, 0.0), 1e3), 0.045)


RequirementFactory = Callable[[Setup], Requirement | None]
"""Makes the requirement of a problem; None if there is no room for it."""

REQUIREMENTS: dict[str, RequirementFactory] = {
    "via": via,
    "two_vias": two_vias,
    "keep_out": keep_out,
    "moving": moving,
    "slow": slow,
    "arrive_by": arrive_by,
    "reach": reach,
}
