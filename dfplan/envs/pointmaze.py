"""PointMaze of gymnasium-robotics with the common interface, and without redundant computation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.maze_env import Given, MazeEnv, MazeSpec, ResetResult, StepResult, read_model_file
from dfplan.errors import MazeError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import CUSTOM_EPISODE_STEPS, GYMNASIUM

_TITLES = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}
_CELLS: dict[str, int | str] = {"#": 1, "O": 0, "G": "g"}
_ID = re.compile(r"PointMaze_(UMaze|Medium|Large)(?:Dense)?[-_]")
_MAX_SPEED = 5.0  # units per second and axis (``PointEnv._clip_velocity``)
_ROUNDING = 1e-9  # larger than the difference between two ways to compute a distance


class GymnasiumMazeEnv(MazeEnv):
    """Wraps gymnasium-robotics' PointMaze; computes dynamics and distance once per step.

    The suite's own step computes the dynamics twice (once more when it sets the clipped velocity),
    forces on each body that nothing uses, and the distance to the goal twice (for the reward and
    for info). Here each is computed once; the suite's own arithmetic is used only if rounding can
    decide whether the goal is reached. Observations, rewards, ends and info are equal to the
    suite's bit for bit, including contacts. In ``unwrapped.data`` the unused forces (``cacc``,
    ``cfrc_int``, ``cfrc_ext``) are stale; ``mujoco.mj_rnePostConstraint`` updates them.
    """

    suite = GYMNASIUM
    packages = ("mujoco", "gymnasium_robotics")
    extra = "envs"

    @classmethod
    def specs(cls) -> dict[str, MazeSpec]:
        """``pointmaze-*``."""
        return {
            maze.name: MazeSpec(maze, f"PointMaze_{_TITLES[size]}-v3")
            for size in GYMNASIUM.mazes
            for maze in [named_maze(f"{GYMNASIUM.prefix}-{size}")]
        }

    @classmethod
    def custom_spec(cls, maze: Maze) -> MazeSpec:
        """All goals are in the cell marked G, if there is one, with the suite's noise.

        Raises :class:`MazeError` for a single free cell: a start needs another cell than the goal.
        """
        if len(maze.free_cells) < 2:
            raise MazeError(
                "PointMaze needs two free cells, one for the start and one for the goal; "
                f"maze {maze.name!r} has one."
            )
        arguments = {"maze_map": _to_maze_map(maze), "max_episode_steps": CUSTOM_EPISODE_STEPS}
        return MazeSpec(maze, "PointMaze_UMaze-v3", arguments)

    @classmethod
    def dataset_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The suite's environment with the maze as an argument."""
        size = maze.text.rpartition("-")[2]
        return EnvSpec(
            f"PointMaze_{_TITLES.get(size, 'UMaze')}-v3",
            "gymnasium_robotics.envs.maze.point_maze:PointMazeEnv",
            max_episode_steps=GYMNASIUM.episode_steps.get(size, CUSTOM_EPISODE_STEPS),
            kwargs={
                "maze_map": _to_maze_map(maze),
                "reward_type": "sparse",
                "continuing_task": continuing,
                "reset_target": False,
            },
        )

    @classmethod
    def maze_of_spec(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`dataset_spec`."""
        if name.startswith("PointMaze_") and "maze_map" in arguments:
            return _from_maze_map(arguments["maze_map"])
        known = _ID.match(name)
        return named_maze(f"{GYMNASIUM.prefix}-{known[1].lower()}") if known else None

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite_env = cast(Any, env.unwrapped)
        read_model_file(self._suite_env.tmp_xml_file_path)
        self._mj_step = import_module("mujoco").mj_step
        self._suite_env.step = self._step

    def _layers(self) -> list[Any]:
        return [*super()._layers(), self._suite_env.point_env]

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(offset, axis=-1))

    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        # The suite's options accept only cells, to which it adds noise.
        observation, info = self.env.reset(seed=seed)
        state = observation["observation"]
        if start is not None:
            ball = self._suite_env.point_env
            ball.init_qpos[:], ball.init_qvel[:] = start[:2], start[2:] if len(start) == 4 else 0.0
            state, _ = ball.reset()
            ball.init_qvel[:] = 0.0
        if goal is not None:
            self._suite_env.goal = goal
            self._suite_env.update_target_site_pos()
        return state, self._suite_env.goal.copy(), info

    def _step_suite(self, action: np.ndarray) -> StepResult:
        observation, *rest = self.env.step(action)
        return observation["observation"], *rest

    def _step(self, action: np.ndarray) -> StepResult:
        """Do the same as the suite's ``step`` in less time, for actions within the limits.

        This assumes the suite's defaults: after the goal is reached, the goal does not move and the
        episode continues.
        """
        suite = self._suite_env
        model, data = suite.point_env.model, suite.point_env.data
        if max(map(abs, data.qvel.tolist())) > _MAX_SPEED:
            np.clip(data.qvel, -_MAX_SPEED, _MAX_SPEED, out=data.qvel)
        data.ctrl[:] = action
        self._mj_step(model, data)
        state = np.concatenate([data.qpos, data.qvel])
        observation = suite._get_obs(state)
        x, y, _, _ = state.tolist()
        goal_x, goal_y = suite.goal.tolist()
        margin = math.hypot(x - goal_x, y - goal_y) - self.goal_radius
        if abs(margin) > _ROUNDING:
            reward, success = float(margin < 0.0), margin < 0.0
        else:
            reward = suite.compute_reward(state[:2], suite.goal, {})
            success = bool(np.linalg.norm(state[:2] - suite.goal) <= self.goal_radius)
        return observation, reward, False, False, {"success": success}


def _to_maze_map(maze: Maze) -> list[list[int | str]]:
    return [[_CELLS[cell] for cell in row] for row in maze.rows]


def _from_maze_map(cells: Sequence[Sequence[object]]) -> Maze:
    """The maze of a ``maze_map``; it has a goal only if the map marks a single goal cell."""
    goals = sum(str(cell).lower() == "g" for row in cells for cell in row)
    rows = [["O" if goals > 1 and cell == "g" else cell for cell in row] for row in cells]
    maze = parse_maze(rows, suite=GYMNASIUM)
    known = [spec.maze for spec in GymnasiumMazeEnv.specs().values() if spec.maze.rows == maze.rows]
    return known[0] if known else maze
