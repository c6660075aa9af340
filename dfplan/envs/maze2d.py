"""D4RL's Maze2D as a Gymnasium environment, for D4RL's mazes and custom ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded

from dfplan.envs.dynamics import PointMass
from dfplan.envs.goals import GoalRewards
from dfplan.envs.options import SPEED_BOUND, finite_vector, read_goal, read_options, read_start
from dfplan.envs.picture import draw_frame
from dfplan.errors import ConfigError, read_seed, require_name
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import CELL_OFFSET, D4RL

_POSITION_NOISE = 0.1
_VELOCITY_NOISE = 0.1


class Maze2DEnv(GoalRewards, gymnasium.Env[np.ndarray, np.ndarray]):
    """Drive a ball through a maze to a goal, and stay there (D4RL ``maze2d-*-v1``).

    Coordinates are D4RL's, with cells of side 1: the center of cell (i, j) is (i - 0.2, j - 0.2),
    q0 increases down the rows and q1 along the columns (:mod:`dfplan.mazes`). A step is 0.01 s.

    =========== ==================================================================================
    observation (q0, q1, q0', q1'), float64 [4]; positions in cells, velocities in cells per second
    action      forces along q0 and q1, float32 [2], clipped to [-1, 1]
    start       integer coordinates of a random free cell + U(-0.1, 0.1) per axis; velocity
                N(0, 0.1²) per axis; the start may be at the goal
    goal        fixed, or drawn for each episode like the start's position
    reward      1 for each step that ends within 0.5 of the goal, otherwise 0
    end         never terminates; ``gymnasium.make`` truncates (300, 600, 800 steps for umaze,
                medium, large)
    info        ``goal`` float64 [2], ``success``: whether the ball is within 0.5 of it
    =========== ==================================================================================

    ``reset(options=...)`` accepts ``start``, a position [2] or a position and velocity [4], and
    ``goal`` [2], for one episode. They do not change other random draws: one seed draws the same
    goal with and without a given start.

    Args:
        maze: a name, text or rows (see :func:`dfplan.mazes.parse_maze`).
        goal: a position [2] or ``"random"``; default: the cell G of the maze, or random if it has
            no such cell.
        render_mode: ``"rgb_array"``, a view from above that needs no display; default: none.

    Raises:
        MazeError: the maze cannot be read, or the goal is in a wall or outside the maze.
        ConfigError: an unknown maze or render mode, or ``goal`` is another string.
        ObservationError: the goal has the wrong shape or is not finite.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 100}  # noqa: RUF012
    goal_radius = D4RL.goal_radius

    def __init__(
        self,
        maze: Maze | str | Sequence[Sequence[object]],
        goal: Sequence[float] | np.ndarray | str | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            require_name("render mode", render_mode, self.metadata["render_modes"])
        self._spec: EnvSpec | None = None
        self.render_mode = render_mode
        self.maze = parse_maze(maze)
        self._fixed_goal = self._read_fixed_goal(goal)
        self._ball = PointMass(self.maze)
        self._goal: np.ndarray | None = None
        height, width = self.maze.shape
        low = CELL_OFFSET - 0.5
        self.observation_space = gymnasium.spaces.Box(
            np.array([low, low, -SPEED_BOUND, -SPEED_BOUND]),
            np.array([height + low, width + low, SPEED_BOUND, SPEED_BOUND]),
            dtype=np.float64,
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of all random numbers of this environment.
            options: ``start`` [2] or [4] and ``goal`` [2] for this episode only. The velocity is
                random if the start is a position [2].

        Raises:
            MazeError: the start or goal is in a wall or outside the maze.
            ObservationError: start or goal has the wrong shape, is not finite or is too fast.
            ConfigError: an unknown option, or a seed that is not a whole number of at least 0.
        """
        given = read_options(options, ("start", "goal"))
        start, goal = given.get("start"), given.get("goal")
        if start is not None:
            start = read_start(start, self.maze)
        if goal is not None:
            goal = read_goal(goal, self.maze)
        super().reset(seed=read_seed(seed))
        position = self._draw_position()
        velocity = _VELOCITY_NOISE * self.np_random.standard_normal(2)
        drawn_goal = self._draw_position() if self._fixed_goal is None else self._fixed_goal
        if start is not None:
            position, velocity = start[:2], start[2:] if len(start) == 4 else velocity
        self._goal = drawn_goal if goal is None else goal
        self._ball.set_state(position, velocity)
        observation = self._ball.state()
        return observation, self._info(observation[0], observation[1])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the forces ``action`` [2] for one step of 0.01 s.

        Raises:
            ObservationError: the action has the wrong shape or is not finite.
            ResetNeeded: there was no reset.
        """
        force0, force1 = finite_vector(action, (2,), "action").tolist()
        self._current_goal()
        state = self._ball.advance(force0, force1)
        info = self._info(state[0], state[1])
        return np.array(state), float(info["success"]), False, False, info

    def render(self) -> np.ndarray | None:
        """Draw the maze from above, uint8 [40 H, 40 W, 3]; None without a render mode.

        Raises ``ResetNeeded`` if there was no reset.
        """
        if self.render_mode is None:
            return None
        return draw_frame(self.maze, self._ball.state()[:2], self._current_goal(), self.goal_radius)

    @property
    def spec(self) -> EnvSpec | None:
        """Gymnasium's specification of this environment; its arguments can be written as JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            arguments = dict(spec.kwargs)
            if not isinstance(arguments.get("maze", ""), str):
                arguments["maze"] = self.maze.text
            if self._fixed_goal is not None and arguments.get("goal") is not None:
                arguments["goal"] = self._fixed_goal.tolist()
            spec = replace(spec, kwargs=arguments)
        self._spec = spec

    def _current_goal(self) -> np.ndarray:
        if self._goal is None:
            raise ResetNeeded("There is no episode yet; call reset() first.")
        return self._goal

    def _info(self, q0: float, q1: float) -> dict[str, Any]:
        goal = self._current_goal()
        distance = math.hypot(q0 - goal[0], q1 - goal[1])
        return {"goal": goal.copy(), "success": distance <= self.goal_radius}

    def _draw_position(self) -> np.ndarray:
        cells = self.maze.free_cells
        cell = cells[self.np_random.integers(len(cells))]
        return np.asarray(cell + self.np_random.uniform(-_POSITION_NOISE, _POSITION_NOISE, 2))

    def _read_fixed_goal(self, goal: object) -> np.ndarray | None:
        if goal is None:
            return self.maze.goal
        if not isinstance(goal, str):
            return read_goal(goal, self.maze)
        if goal != "random":
            raise ConfigError(f"The goal must be a position [2], 'random' or None; got {goal!r}.")
        return None
