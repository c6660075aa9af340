"""OGBench's pointmaze with the common interface, simulating only steps that can touch a wall."""

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

from dfplan.envs.maze_env import Given, MazeEnv, MazeSpec, ResetResult, StepResult, read_model_file
from dfplan.envs.near_walls import NearWalls
from dfplan.errors import ConfigError
from dfplan.mazes import Maze, named_maze
from dfplan.suites import OGBENCH

_ID = re.compile(r"pointmaze-(medium|large|giant|teleport)-")
_MAX_PUSH = 0.5  # measured: walls push a ball by at most 0.283, the length of a step
_TELEPORT_RADIUS = 1.51  # the suite's 1.5 and some margin
_MARGIN = 0.01
_SQUARES = 16  # per side of a cell
# The norm of one vector at a time; the norm of an array of vectors is rounded differently.
_norm = np.vectorize(np.linalg.norm, otypes=[float], signature="(n)->()")


@lru_cache(maxsize=16)
def _free_squares(maze: Maze) -> tuple[bytes, ...]:
    """Small squares in which the ball cannot touch a wall: byte 1; rows by y, columns by x.

    No square crosses the side of a cell, so its point nearest to a wall is one of its corners.
    """
    height, width = maze.shape
    y, x = np.mgrid[: height * _SQUARES + 1, : width * _SQUARES + 1] / _SQUARES - 0.5
    corners = maze.is_free(
        maze.cell_to_xy(np.stack([y, x], axis=-1)), maze.suite.ball_radius + _MARGIN
    )
    squares = corners[1:, 1:] & corners[1:, :-1] & corners[:-1, 1:] & corners[:-1, :-1]
    return tuple(row.astype(np.uint8).tobytes() for row in squares)


class OGBenchMazeEnv(MazeEnv):
    """Wraps OGBench's pointmaze; simulates a step only if it may touch a wall.

    OGBench moves the ball by the action, sets its velocity to zero and simulates five steps.
    Nothing acts on the ball except contacts, so far from walls these five steps do not change
    position or velocity and are left out (``frame_skip`` of the suite's environment is 0 during
    such a step). Near walls the suite steps a smaller model
    (:class:`~dfplan.envs.near_walls.NearWalls`). Observations, rewards, ends and info are equal to
    the suite's bit for bit. In ``unwrapped.data``, ``qpos``, ``qvel`` and ``qacc_warmstart`` are
    too; ``time`` does not advance, and what MuJoCo derives from the position (``xpos``, contacts,
    pictures by ``unwrapped.render()``) is that of the episode's start until
    ``mujoco.mj_forward`` updates it.

    OGBench draws noise, start-goal pairs and teleports from NumPy's global generator. While it
    draws, the state of that generator is replaced by one that belongs to this environment: seed s
    gives the draws that follow ``np.random.seed(s)``, and the caller's generator does not change.
    """

    suite = OGBENCH
    packages = ("mujoco", "ogbench")
    extra = "ogbench"
    terminates = True
    start_goal_pairs = 5

    @classmethod
    def specs(cls) -> dict[str, MazeSpec]:
        """``ogbench-*``."""
        return {
            maze.name: MazeSpec(maze, f"pointmaze-{size}-v0")
            for size in OGBENCH.mazes
            for maze in [named_maze(f"{OGBENCH.prefix}-{size}")]
        }

    @classmethod
    def custom_spec(cls, maze: Maze) -> MazeSpec:
        """Not supported by OGBench: raises :class:`ConfigError`."""
        raise ConfigError(
            "OGBench's environments do not support custom mazes. Use D4RL's coordinates, or "
            "those of gymnasium-robotics with a first line 'frame gymnasium'."
        )

    @classmethod
    def dataset_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The suite's environment; None for a custom maze."""
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
    def maze_of_spec(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`dataset_spec`."""
        known = _ID.match(name)
        return named_maze(f"{OGBENCH.prefix}-{known[1]}") if known else None

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite_env = cast(Any, env.unwrapped)
        for reward in (self.compute_reward, self.compute_terminated, self.compute_truncated):
            setattr(self._suite_env, reward.__name__, reward)
        self._near = NearWalls(read_model_file(self._suite_env.fullpath))
        self._full = self._suite_env.model, self._suite_env.data
        teleports = self._suite_env._teleport_info
        self._entrances = teleports["teleport_in_xys"] if teleports else ()
        self._numpy_state = np.random.RandomState().get_state(legacy=False)
        self._frame_skip = self._suite_env.frame_skip
        self._free = _free_squares(self.maze)
        self._per_unit = _SQUARES / self.maze.suite.cell_size
        self._low = self.maze.cell_to_xy((-0.5, -0.5)).tolist()

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        return np.asarray(_norm(offset))

    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        # The suite's reset takes five random steps before it places the ball at the start. They
        # need no simulation: they move the ball by at most 1.1, which does not reach a wall.
        self._suite_env.frame_skip = 0
        try:
            with self._numpy_generator(seed):
                options = {} if pair is None else {"task_id": pair}
                state, info = self.env.reset(seed=seed, options=options)
        finally:
            self._suite_env.frame_skip = self._frame_skip
        if start is not None:
            self._suite_env.set_xy(start)
            state = self._suite_env.get_ob()
        if goal is not None:
            self._suite_env.set_goal(goal_xy=goal)
        return state, np.array(self._suite_env.cur_goal_xy), info

    def _step_suite(self, action: np.ndarray) -> StepResult:
        suite, data = self._suite_env, self._full[1]
        (x, y), (dx, dy) = data.qpos.tolist(), action.tolist()
        step = OGBENCH.step_length
        x, y = x + step * dx, y + step * dy
        row = int((y - self._low[1]) * self._per_unit)
        column = int((x - self._low[0]) * self._per_unit)
        if self._free[row][column]:
            suite.frame_skip = 0
            data.qacc_warmstart[:] = 0.0
            try:
                return self._step_with_generator(action, x, y, 0.0)
            finally:
                suite.frame_skip = self._frame_skip
        near = self._near
        near.surround(row // _SQUARES, column // _SQUARES)
        _copy_state(data, near.data)
        suite.model, suite.data = near.model, near.data
        try:
            return self._step_with_generator(action, x, y, _MAX_PUSH)
        finally:
            suite.model, suite.data = self._full
            _copy_state(near.data, data)

    def _step_with_generator(
        self, action: np.ndarray, x: float, y: float, max_offset: float
    ) -> StepResult:
        """Make the suite's step, which ends within ``max_offset`` of (x, y).

        Replacing NumPy's generator takes as long as two steps, so it is done only near teleports.
        """
        for x0, y0 in self._entrances:
            if math.hypot(x - x0, y - y0) < _TELEPORT_RADIUS + max_offset:
                with self._numpy_generator():
                    return super()._step_suite(action)
        return super()._step_suite(action)

    @contextmanager
    def _numpy_generator(self, seed: int | None = None) -> Iterator[None]:
        """Let the block draw from NumPy's global generator in this environment's own state.

        ``seed`` sets that state; None continues with the last one. After the block the state is
        kept for the next one, and the caller's state is restored.
        """
        caller = np.random.get_state(legacy=False)
        if seed is None:
            np.random.set_state(self._numpy_state)
        else:
            np.random.seed(seed % 2**32)  # the largest range that it accepts
        try:
            yield
        finally:
            self._numpy_state = np.random.get_state(legacy=False)
            np.random.set_state(caller)


def _copy_state(source: Any, target: Any) -> None:
    """Copy everything that the next step depends on."""
    target.qpos[:] = source.qpos
    target.qvel[:] = source.qvel
    target.qacc_warmstart[:] = source.qacc_warmstart
