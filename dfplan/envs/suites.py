"""Every suite's mazes by name, as :class:`~dfplan.envs.maze_env.MazeEnv`.

Neither gymnasium-robotics nor OGBench is imported before one of its environments is made.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np

from dfplan.envs import CUSTOM_EPISODE_STEPS, EPISODE_STEPS
from dfplan.envs.maze_env import MazeEnv
from dfplan.envs.near_walls import NearWalls
from dfplan.errors import (
    ConfigError,
    MazeError,
    MissingSimulatorError,
    require_numbers,
    unknown_name,
)
from dfplan.mazes import D4RL, GYMNASIUM, OGBENCH, Maze, named_maze, parse_maze

_TITLES = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}

_SHIPPED = {
    **{f"maze2d-{size}": (size, f"dfplan/maze2d-{size}-v1") for size in EPISODE_STEPS},
    **{f"multi2d-{size}": (size, f"dfplan/multi2d-{size}-v1") for size in EPISODE_STEPS},
    **{
        f"pointmaze-{size}": (f"pointmaze-{size}", f"PointMaze_{title}-v3")
        for size, title in _TITLES.items()
    },
    **{
        f"ogbench-{size}": (f"ogbench-{size}", f"pointmaze-{size}-v0")
        for size in ("medium", "large", "giant", "teleport")
    },
}

NAMES = tuple(_SHIPPED)
"""The environments that have a name."""


def make(
    maze: Maze | str | Sequence[Sequence[object]],
    *,
    render_mode: str | None = None,
    max_steps: int | None = None,
) -> MazeEnv:
    """A suite's environment by name, or one with a maze of one's own.

    ============================================ =================================================
    ``maze2d-{umaze,medium,large}``              D4RL's Maze2D, its goal fixed
    ``multi2d-{umaze,medium,large}``             the same with a random goal
                                                 (:class:`dfplan.envs.maze2d.Maze2DEnv`)
    ``pointmaze-{umaze,medium,large}``           gymnasium-robotics' ``PointMaze_*-v3``
    ``ogbench-{medium,large,giant,teleport}``    OGBench's ``pointmaze-*-v0``
    a maze in D4RL's frame                       like ``maze2d`` where a cell is marked G, else
                                                 like ``multi2d``
    a maze in gymnasium-robotics' frame          like ``pointmaze``; a cell marked G is where all
                                                 goals lie, with the suite's noise
    ============================================ =================================================

    OGBench's teleports take effect in its environment's next observation: that of the step which
    reaches one still shows the ball at its entrance.

    Args:
        maze: a name, or what :func:`dfplan.mazes.parse_maze` reads. ``Maze.text`` of a suite's
            maze gives that suite's environment (``large``: ``maze2d-large``).
        render_mode: None or ``"rgb_array"``: a top view that needs no display.
        max_steps: length of an episode, instead of the suite's (300, 600, 800 steps for umaze,
            medium, large; 1000 for OGBench's and for own mazes).

    Raises:
        ConfigError: an unknown name or render mode, no positive number of steps, or an own maze
            in OGBench's frame, whose environments take none.
        MazeError: the maze cannot be read, or has a single free cell in gymnasium-robotics'
            frame, whose starts keep away from the goal.
        MissingSimulatorError: the suite's package is not installed.
    """
    if render_mode not in (None, "rgb_array"):
        raise unknown_name("render mode", render_mode, ("rgb_array",))
    name, maze, identifier, arguments = _resolve(maze)
    if max_steps is not None:
        require_numbers({"max_steps": max_steps}, whole=True, least=1)
        arguments["max_episode_steps"] = int(max_steps)
    if maze.frame is D4RL:
        kind: type[MazeEnv] = _Maze2D
    elif maze.frame is GYMNASIUM:
        kind = _PointMaze
        _require("gymnasium_robotics", "envs")
    else:
        kind = _OGBench
        _require("ogbench", "ogbench")
    env = gymnasium.make(
        identifier,
        disable_env_checker=True,  # what it warns of in a suite is not the caller's to mend
        render_mode=render_mode,
        **arguments,
    )
    return kind(env, name, maze)


def _resolve(
    maze: Maze | str | Sequence[Sequence[object]],
) -> tuple[str, Maze, str, dict[str, Any]]:
    """Name, maze, Gymnasium's name, and the arguments that this takes."""
    by_maze = {named: name for name, (named, _) in reversed(_SHIPPED.items())}
    one_line = isinstance(maze, str) and "\\" not in maze and len(maze.splitlines()) < 2
    if isinstance(maze, str) and one_line and maze not in by_maze:
        if maze not in _SHIPPED:
            raise unknown_name("environment", maze, _SHIPPED)
        name = maze
    else:
        maze = parse_maze(maze)
        if maze.text not in by_maze:
            return maze.name, maze, *_own(maze)
        name = by_maze[maze.text]
    named, identifier = _SHIPPED[name]
    return name, named_maze(named), identifier, {}


def _own(maze: Maze) -> tuple[str, dict[str, Any]]:
    if maze.frame is D4RL:
        return "dfplan/maze2d-v1", {"maze": maze}
    if maze.frame is OGBENCH:
        raise ConfigError(
            "OGBench's environments take no maze of one's own; lay it in the frame of D4RL or of "
            "gymnasium-robotics (a first line 'frame gymnasium')."
        )
    if len(maze.free_cells) < 2:
        raise MazeError(
            "PointMaze needs two free cells, one for the start and one for the goal; "
            f"maze {maze.name!r} has one."
        )
    cells: dict[str, int | str] = {"#": 1, "O": 0, "G": "g"}
    return "PointMaze_UMaze-v3", {
        "maze_map": [[cells[character] for character in row] for row in maze.rows],
        "max_episode_steps": CUSTOM_EPISODE_STEPS,
    }


def _require(package: str, extra: str) -> None:
    """Import the package, which tells Gymnasium its environments."""
    for needed in ("mujoco", package):
        try:
            import_module(needed)
        except ImportError as error:
            raise MissingSimulatorError(needed.replace("_", "-"), extra) from error


def _taken(path: str) -> str:
    """A compiled model's file, which is deleted; OGBench leaves it open, so close it too."""
    text, file = Path(path).read_text(encoding="utf-8"), os.stat(path)
    descriptors = Path("/dev/fd")
    for name in os.listdir(descriptors) if descriptors.is_dir() else ():
        with suppress(OSError):  # the listing's own is closed by now
            if os.path.samestat(os.fstat(int(name)), file):
                os.close(int(name))
    Path(path).unlink()
    return text


class _Maze2D(MazeEnv):
    def _begin(
        self,
        seed: int | None,
        start: np.ndarray | None,
        goal: np.ndarray | None,
        task: int | None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        state, info = self.env.reset(seed=seed, options={"start": start, "goal": goal})
        return state, info["goal"], info


_FASTEST = 5.0  # in units a second and coordinate (``PointEnv._clip_velocity``)
_ROUNDING = 1e-9  # more than two ways of computing a distance in a maze may differ by


class _PointMaze(MazeEnv):
    """A step computes the dynamics once, and the distance to the goal.

    The suite's also computes the dynamics before, on setting the velocity that it has limited,
    which the step itself does again, and afterwards the forces on each body, which nothing reads;
    and the distance for the reward and again for what info says of success. Here the suite's own
    arithmetic is asked only where its rounding may decide whether the goal is reached.
    Observations, rewards, ends and info are the same to the bit, in contact with walls, too.
    Of ``unwrapped.data`` those forces (``cacc``, ``cfrc_int``, ``cfrc_ext``) are not brought up to
    date; ``mujoco.mj_rnePostConstraint`` does that.
    """

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite = cast(Any, env.unwrapped)
        _taken(self._suite.tmp_xml_file_path)
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


_REACH = 0.2  # of an action of 1 (``PointEnv.step``)
_PUSH = 0.5  # more than the 0.283, all of a step, by which walls were seen to push a ball back
_TELEPORT = 1.51  # of which 1.5 count (``MazeEnv.step``)
_MARGIN = 0.01
_SQUARES = 16
# Of several at once it would round otherwise than of one.
_norm = np.vectorize(np.linalg.norm, otypes=[float], signature="(n)->()")


@lru_cache(maxsize=16)
def _free_squares(maze: Maze) -> tuple[bytes, ...]:
    """Rows by y, columns by x: 1 where the ball is clear of walls in all of a square.

    Squares do not straddle the sides of cells, so the point of one that is nearest to a wall is
    one of its corners.
    """
    height, width = maze.shape
    y, x = np.mgrid[: height * _SQUARES + 1, : width * _SQUARES + 1] / _SQUARES - 0.5
    corners = maze.contains(
        maze.cell_to_xy(np.stack([y, x], axis=-1)), maze.frame.ball_radius + _MARGIN
    )
    squares = corners[1:, 1:] & corners[1:, :-1] & corners[:-1, 1:] & corners[:-1, :-1]
    return tuple(row.astype(np.uint8).tobytes() for row in squares)


class _OGBench(MazeEnv):
    """A step that ends clear of all walls is not simulated, and any other only with those near.

    OGBench puts the ball where the action says, sets its velocity to zero and simulates five
    steps. Without gravity along the floor and without a contact that pushes, these five change
    neither, so there they are left out (the suite's ``frame_skip`` is 0 during that step). Where
    walls may push, the suite steps a smaller model (:class:`~dfplan.envs.near_walls.NearWalls`).
    Observations, rewards, ends and info are the same to the bit; of ``unwrapped.data``, ``qpos``,
    ``qvel`` and ``qacc_warmstart`` are. Its ``time`` stands still, and what MuJoCo derives of the
    position (``xpos``, contacts, and so a picture by ``unwrapped.render()``) is that of the
    episode's start; ``mujoco.mj_forward`` brings it up to date.

    Its noise, tasks and teleports are drawn from NumPy's global generator. While it draws, that
    generator's state is this environment's own: seeded by s, what it draws is what comes after
    ``np.random.seed(s)``, and the caller's generator stays as it was.
    """

    terminates = True
    has_velocity = False
    tasks = 5

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite = cast(Any, env.unwrapped)
        for reward in (self.compute_reward, self.compute_terminated, self.compute_truncated):
            setattr(self._suite, reward.__name__, reward)
        self._near = NearWalls(_taken(self._suite.fullpath))
        self._far = self._suite.model, self._suite.data
        teleports = self._suite._teleport_info
        self._entrances = teleports["teleport_in_xys"] if teleports else ()
        self._numpy_state = np.random.RandomState().get_state(legacy=False)
        self._frame_skip = self._suite.frame_skip
        self._free = _free_squares(self.maze)
        self._per_unit = _SQUARES / self.maze.frame.unit
        self._low = self.maze.cell_to_xy((-0.5, -0.5)).tolist()

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        return np.asarray(_norm(offset))

    def _begin(
        self,
        seed: int | None,
        start: np.ndarray | None,
        goal: np.ndarray | None,
        task: int | None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        # The five random steps that the suite's reset takes lead nowhere: it puts the ball where it
        # starts afterwards. They go 1.1 far at most, which meets no wall.
        self._suite.frame_skip = 0
        try:
            with self._own_numpy(seed):
                options = {} if task is None else {"task_id": task}
                state, info = self.env.reset(seed=seed, options=options)
        finally:
            self._suite.frame_skip = self._frame_skip
        if start is not None:
            self._suite.set_xy(start)
            state = self._suite.get_ob()
        if goal is not None:
            self._suite.set_goal(goal_xy=goal)
        return state, np.array(self._suite.cur_goal_xy), info

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        suite, data = self._suite, self._far[1]
        (x, y), (dx, dy) = data.qpos.tolist(), action.tolist()
        x, y = x + _REACH * dx, y + _REACH * dy
        row = int((y - self._low[1]) * self._per_unit)
        column = int((x - self._low[0]) * self._per_unit)
        if self._free[row][column]:
            suite.frame_skip = 0
            data.qacc_warmstart[:] = 0.0
            try:
                return self._lent(action, x, y, 0.0)
            finally:
                suite.frame_skip = self._frame_skip
        near = self._near
        near.surround(row // _SQUARES, column // _SQUARES)
        _copy_state(data, near.data)
        suite.model, suite.data = near.model, near.data
        try:
            return self._lent(action, x, y, _PUSH)
        finally:
            suite.model, suite.data = self._far
            _copy_state(near.data, data)

    def _lent(
        self, action: np.ndarray, x: float, y: float, off: float
    ) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """The suite's step, which ends at most ``off`` from (x, y).

        Lending the generator costs as much as two steps, so it is lent only where a teleport may
        be reached.
        """
        for x0, y0 in self._entrances:
            if math.hypot(x - x0, y - y0) < _TELEPORT + off:
                with self._own_numpy():
                    return super()._advance(action)
        return super()._advance(action)

    @contextmanager
    def _own_numpy(self, seed: int | None = None) -> Iterator[None]:
        callers = np.random.get_state(legacy=False)
        if seed is None:
            np.random.set_state(self._numpy_state)
        else:
            np.random.seed(seed % 2**32)  # it takes no larger ones
        try:
            yield
        finally:
            self._numpy_state = np.random.get_state(legacy=False)
            np.random.set_state(callers)


def _copy_state(source: Any, target: Any) -> None:
    """All that a step begins with."""
    target.qpos[:] = source.qpos
    target.qvel[:] = source.qvel
    target.qacc_warmstart[:] = source.qacc_warmstart
