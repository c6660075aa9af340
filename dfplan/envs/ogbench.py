"""OGBench's pointmaze as a :class:`MazeEnv` that simulates only what can touch a wall."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.adapters import Adapter, Spec, take_file
from dfplan.envs.near_walls import NearWalls
from dfplan.errors import ConfigError
from dfplan.mazes import Maze, named_maze
from dfplan.suites import OGBENCH

_ID = re.compile(r"pointmaze-(medium|large|giant|teleport)-")
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
        maze.cell_to_xy(np.stack([y, x], axis=-1)), maze.suite.ball_radius + _MARGIN
    )
    squares = corners[1:, 1:] & corners[1:, :-1] & corners[:-1, 1:] & corners[:-1, :-1]
    return tuple(row.astype(np.uint8).tobytes() for row in squares)


class OGBench(Adapter):
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

    suite = OGBENCH
    packages = ("mujoco", "ogbench")
    extra = "ogbench"
    terminates = True
    has_velocity = False
    tasks = 5

    @classmethod
    def names(cls) -> dict[str, Spec]:
        """``ogbench-*``."""
        return {
            maze.name: Spec(maze, f"pointmaze-{size}-v0")
            for size in OGBENCH.mazes
            for maze in [named_maze(f"{OGBENCH.prefix}-{size}")]
        }

    @classmethod
    def custom(cls, maze: Maze) -> Spec:
        """OGBench's environments take no maze.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "OGBench's environments take no maze of your own. Write it in the coordinates of D4RL, "
            "or of gymnasium-robotics with a first line 'frame gymnasium'."
        )

    @classmethod
    def recorded_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The suite's; None for a maze of one's own."""
        suite, _, size = maze.text.rpartition("-")
        if suite != OGBENCH.prefix:
            return None
        return EnvSpec(
            f"pointmaze-{size}-v0",
            "ogbench.locomaze.maze:make_maze_env",
            max_episode_steps=OGBENCH.episode_steps[size],
            kwargs={"loco_env_type": "point", "maze_env_type": "maze", "maze_type": size},
        )

    @classmethod
    def recorded_maze(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`recorded_spec`."""
        known = _ID.match(name)
        return named_maze(f"{OGBENCH.prefix}-{known[1]}") if known else None

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite = cast(Any, env.unwrapped)
        for reward in (self.compute_reward, self.compute_terminated, self.compute_truncated):
            setattr(self._suite, reward.__name__, reward)
        self._near = NearWalls(take_file(self._suite.fullpath))
        self._far = self._suite.model, self._suite.data
        teleports = self._suite._teleport_info
        self._entrances = teleports["teleport_in_xys"] if teleports else ()
        self._numpy_state = np.random.RandomState().get_state(legacy=False)
        self._frame_skip = self._suite.frame_skip
        self._free = _free_squares(self.maze)
        self._per_unit = _SQUARES / self.maze.suite.unit
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
        step = OGBENCH.step_length
        x, y = x + step * dx, y + step * dy
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
