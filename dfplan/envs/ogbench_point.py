"""OGBench's pointmaze, simulating only steps that can touch a wall."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np

from dfplan.envs.maze_env import Given, ResetResult, StepResult
from dfplan.envs.near_walls import NearWalls
from dfplan.envs.ogbench import OGBenchEnv
from dfplan.mazes import Maze
from dfplan.suites import OGBENCH

_MAX_PUSH = 0.5  # measured: walls push a ball by at most 0.283, the length of a step
_MARGIN = 0.01
_SQUARES = 16  # per side of a cell


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


class OGBenchPointEnv(OGBenchEnv):
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
    """

    suite = OGBENCH
    body = "point"

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._near = NearWalls(self._xml)
        self._full = self._suite_env.model, self._suite_env.data
        self._frame_skip = self._suite_env.frame_skip
        self._free = _free_squares(self.maze)
        self._per_unit = _SQUARES / self.maze.suite.cell_size
        self._low = self.maze.cell_to_xy((-0.5, -0.5)).tolist()

    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        # The suite's reset takes five random steps before it places the ball at the start. They
        # need no simulation: they move the ball by at most 1.1, which does not reach a wall.
        self._suite_env.frame_skip = 0
        try:
            return super()._reset_suite(seed, start, goal, pair)
        finally:
            self._suite_env.frame_skip = self._frame_skip

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
                return self._step_near(action, x, y, 0.0)
            finally:
                suite.frame_skip = self._frame_skip
        near = self._near
        near.surround(row // _SQUARES, column // _SQUARES)
        _copy_state(data, near.data)
        suite.model, suite.data = near.model, near.data
        try:
            return self._step_near(action, x, y, _MAX_PUSH)
        finally:
            suite.model, suite.data = self._full
            _copy_state(near.data, data)


def _copy_state(source: Any, target: Any) -> None:
    """Copy everything that the next step depends on."""
    target.qpos[:] = source.qpos
    target.qvel[:] = source.qvel
    target.qacc_warmstart[:] = source.qacc_warmstart
