"""The point mass of PointMaze in D4RL's coordinates.

The physics are those of gymnasium-robotics: its ball (``assets/point/point.xml``: mass, damping,
force, contacts, steps of 0.01 s), its walls, and clipping of the velocity to 5 per axis before each
step. D4RL's maze2d is the same system in other coordinates: for a maze of H rows and W columns,
D4RL's position ``q`` and action ``a`` are

    x = q1 + 0.7 - W/2,   y = H/2 - 0.7 - q0,   vx = q1',  vy = -q0',   ax = a1,  ay = -a0.

The model is compiled here, once per maze. Each instance of ``PointMazeEnv`` would compile its own,
leave a temporary file, and compute forces in each step that nothing uses. A test checks that both
are equal bit for bit.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dfplan.errors import MissingSimulatorError
from dfplan.mazes import Maze

try:
    import mujoco
except ImportError as error:
    raise MissingSimulatorError("mujoco") from error

MAX_SPEED = 5.0
"""Each axis of the velocity is clipped to ± this before a step (``PointEnv._clip_velocity``)."""

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
_OFFSET = 0.7
_WALL_HEIGHT = 0.4


class PointMass:
    """A ball in a maze. Positions, velocities and actions are in D4RL's coordinates.

    Raises :class:`MissingSimulatorError` if gymnasium-robotics is not installed.
    """

    def __init__(self, maze: Maze) -> None:
        height, width = maze.shape
        self._maze = maze
        self._model: Any = _compiled(maze.rows)
        self._data: Any = mujoco.MjData(self._model)
        self._x0 = _OFFSET - width / 2
        self._y0 = height / 2 - _OFFSET

    def __reduce__(self) -> Any:
        # Only the state that the next step depends on is copied; copies share the large model.
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        return PointMass, (self._maze,), state

    def __setstate__(self, state: np.ndarray) -> None:
        mujoco.mj_setState(self._model, self._data, state, _STATE)

    def set_state(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Place the ball at ``position`` [2] with ``velocity`` [2]; reset the simulator."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = self._x0 + position[1], self._y0 - position[0]
        self._data.qvel[:] = velocity[1], -velocity[0]
        mujoco.mj_forward(self._model, self._data)

    def state(self) -> np.ndarray:
        """Return (q0, q1, q0', q1'), float64 [4]."""
        (x, y), (vx, vy) = self._data.qpos, self._data.qvel
        return np.array([self._y0 - y, x - self._x0, -vy, vx])

    def advance(self, action0: float, action1: float) -> tuple[float, float, float, float]:
        """Apply a force for one step of 0.01 s; return the new state (q0, q1, q0', q1').

        Without checks and with plain numbers, because this is called millions of times. The
        simulator clips the forces along q0 and q1 to [-1, 1].
        """
        data = self._data
        vx, vy = data.qvel.tolist()
        data.qvel[:] = (min(max(vx, -MAX_SPEED), MAX_SPEED), min(max(vy, -MAX_SPEED), MAX_SPEED))
        data.ctrl[:] = action1, -action0
        mujoco.mj_step(self._model, data)
        x, y = data.qpos.tolist()
        vx, vy = data.qvel.tolist()
        return self._y0 - y, x - self._x0, -vy, vx


@lru_cache(maxsize=64)
def _compiled(rows: tuple[str, ...]) -> Any:
    """The MuJoCo model of a maze. Nothing changes it, so all point masses share it."""
    package = find_spec("gymnasium_robotics")  # not imported because its import is slow and prints
    folders = package.submodule_search_locations if package else None
    ball = Path(folders[0]) / "envs/assets/point/point.xml" if folders else None
    if ball is None or not ball.is_file():
        raise MissingSimulatorError("gymnasium-robotics (1.2 or newer)")
    tree = ElementTree.parse(ball).getroot()
    world = next(tree.iter("worldbody"))
    height, width = len(rows), len(rows[0])
    half = _WALL_HEIGHT / 2
    walls = [(i, j) for i in range(height) for j in range(width) if rows[i][j] == "#"]
    for i, j in walls:
        ElementTree.SubElement(
            world,
            "geom",
            type="box",
            pos=f"{j + 0.5 - width / 2} {height / 2 - i - 0.5} {half}",
            size=f"0.5 0.5 {half}",
            contype="1",
            conaffinity="1",
        )
    return mujoco.MjModel.from_xml_string(ElementTree.tostring(tree, encoding="unicode"))
