"""gymnasium-robotics' PointMaze as a :class:`MazeEnv`, with a step that is computed once."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.adapters import Adapter, Spec, take_file
from dfplan.errors import MazeError
from dfplan.mazes import Maze, named_maze, parse_maze
from dfplan.suites import CUSTOM_EPISODE_STEPS, GYMNASIUM

_TITLES = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}
_CELLS: dict[str, int | str] = {"#": 1, "O": 0, "G": "g"}
_ID = re.compile(r"PointMaze_(UMaze|Medium|Large)(?:Dense)?[-_]")


_FASTEST = 5.0  # in units a second and coordinate (``PointEnv._clip_velocity``)
_ROUNDING = 1e-9  # more than two ways of computing a distance in a maze may differ by


class PointMaze(Adapter):
    """A step computes the dynamics once, and the distance to the goal.

    The suite's also computes the dynamics before, on setting the velocity that it has limited,
    which the step itself does again, and afterwards the forces on each body, which nothing reads;
    and the distance for the reward and again for what info says of success. Here the suite's own
    arithmetic is asked only where its rounding may decide whether the goal is reached.
    Observations, rewards, ends and info are the same to the bit, in contact with walls, too.
    Of ``unwrapped.data`` those forces (``cacc``, ``cfrc_int``, ``cfrc_ext``) are not brought up to
    date; ``mujoco.mj_rnePostConstraint`` does that.
    """

    suite = GYMNASIUM
    packages = ("mujoco", "gymnasium_robotics")
    extra = "envs"

    @classmethod
    def names(cls) -> dict[str, Spec]:
        """``pointmaze-*``."""
        return {
            maze.name: Spec(maze, f"PointMaze_{_TITLES[size]}-v3")
            for size in GYMNASIUM.mazes
            for maze in [named_maze(f"{GYMNASIUM.prefix}-{size}")]
        }

    @classmethod
    def custom(cls, maze: Maze) -> Spec:
        """A cell marked G is where all goals lie, with the suite's noise.

        Raises:
            MazeError: the maze has a single free cell; starts keep away from the goal.
        """
        if len(maze.free_cells) < 2:
            raise MazeError(
                "PointMaze needs two free cells, one for the start and one for the goal; "
                f"maze {maze.name!r} has one."
            )
        arguments = {"maze_map": _map_of(maze), "max_episode_steps": CUSTOM_EPISODE_STEPS}
        return Spec(maze, "PointMaze_UMaze-v3", arguments)

    @classmethod
    def recorded_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The suite's, with the maze's cells."""
        size = maze.text.rpartition("-")[2]
        return EnvSpec(
            f"PointMaze_{_TITLES.get(size, 'UMaze')}-v3",
            "gymnasium_robotics.envs.maze.point_maze:PointMazeEnv",
            max_episode_steps=GYMNASIUM.episode_steps.get(size, CUSTOM_EPISODE_STEPS),
            kwargs={
                "maze_map": _map_of(maze),
                "reward_type": "sparse",
                "continuing_task": continuing,
                "reset_target": False,
            },
        )

    @classmethod
    def recorded_maze(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`recorded_spec`."""
        if name.startswith("PointMaze_") and "maze_map" in arguments:
            return _maze_of(arguments["maze_map"])
        known = _ID.match(name)
        return named_maze(f"{GYMNASIUM.prefix}-{known[1].lower()}") if known else None

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite = cast(Any, env.unwrapped)
        take_file(self._suite.tmp_xml_file_path)
        self._mj_step = import_module("mujoco").mj_step
        self._suite.step = self._step

    def _layers(self) -> list[Any]:
        return [*super()._layers(), self._suite.point_env]

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(offset, axis=-1))

    def _begin(
        self,
        seed: int | None,
        start: np.ndarray | None,
        goal: np.ndarray | None,
        task: int | None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        # Its options name cells, to which it adds noise.
        observation, info = self.env.reset(seed=seed)
        state = observation["observation"]
        if start is not None:
            ball = self._suite.point_env
            ball.init_qpos[:], ball.init_qvel[:] = start[:2], start[2:] if len(start) == 4 else 0.0
            state, _ = ball.reset()
            ball.init_qvel[:] = 0.0
        if goal is not None:
            self._suite.goal = goal
            self._suite.update_target_site_pos()
        return state, self._suite.goal.copy(), info

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation["observation"], reward, terminated, truncated, info

    def _step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """The suite's, whose place it takes, of an action within its limits.

        The suite is made so that a goal stays where it is when reached, and ends nothing.
        """
        suite = self._suite
        model, data = suite.point_env.model, suite.point_env.data
        if max(map(abs, data.qvel.tolist())) > _FASTEST:
            np.clip(data.qvel, -_FASTEST, _FASTEST, out=data.qvel)
        data.ctrl[:] = action
        self._mj_step(model, data)
        state = np.concatenate([data.qpos, data.qvel])
        observation = suite._get_obs(state)
        x, y, _, _ = state.tolist()
        goal_x, goal_y = suite.goal.tolist()
        beyond = math.hypot(x - goal_x, y - goal_y) - self.goal_radius
        if abs(beyond) > _ROUNDING:
            reward, success = float(beyond < 0.0), beyond < 0.0
        else:
            reward = suite.compute_reward(state[:2], suite.goal, {})
            success = bool(np.linalg.norm(state[:2] - suite.goal) <= self.goal_radius)
        return observation, reward, False, False, {"success": success}


def _map_of(maze: Maze) -> list[list[int | str]]:
    return [[_CELLS[cell] for cell in row] for row in maze.rows]


def _maze_of(cells: Sequence[Sequence[object]]) -> Maze:
    """The maze of a ``maze_map``; a goal only where it is the one place for goals."""
    goals = sum(str(cell).lower() == "g" for row in cells for cell in row)
    rows = [["O" if goals > 1 and cell == "g" else cell for cell in row] for row in cells]
    maze = parse_maze(rows, suite=GYMNASIUM)
    known = [spec.maze for spec in PointMaze.names().values() if spec.maze.rows == maze.rows]
    return known[0] if known else maze
