"""What every suite's environment looks like to the rest of dfplan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict
from gymnasium.utils import RecordConstructorArgs

from dfplan.arrays import copy_array
from dfplan.envs.goals import GoalRewards
from dfplan.envs.options import (
    SPEED_BOUND,
    finite_vector,
    read_goal,
    read_options,
    read_start,
)
from dfplan.envs.picture import draw_frame
from dfplan.errors import ConfigError, read_seed, require_numbers
from dfplan.mazes import Maze, parse_maze

# What a copy of an environment makes for itself: its parts, and what draws them.
_OWN = {
    "_mj_step",
    "_near",
    "_suite",
    "compute_reward",
    "compute_terminated",
    "compute_truncated",
    "custom_camera",
    "custom_renderer",
    "env",
    "mujoco_renderer",
    "point_env",
    "step",
}


class MazeEnv(
    GoalRewards,
    gymnasium.Wrapper[Any, np.ndarray, Any, np.ndarray],
    RecordConstructorArgs,
    ABC,
):
    """A suite's environment as the suite ships it, behind one face.

    Build one with :func:`dfplan.envs.make.make`. Everything is in the suite's own frame and
    units (``maze.suite``); ``unwrapped`` is the suite's environment.

    ============ =================================================================================
    observation  a dict: ``observation``, position and velocity, float64 [4], or where the suite
                 shows no velocity the position, float64 [2]; ``achieved_goal`` float64 [2], its
                 position; ``desired_goal`` float64 [2]
    action       the suite's, float32 [2] in [-1, 1]; beyond is clipped
    start, goal, the suite's
    reward, end
    info         the suite's, and ``success``, a bool: after a step whether it ended at the goal,
                 at a reset whether the ball starts there
    ============ =================================================================================

    ``reset(options=...)`` takes ``start``, a position [2] or (with velocities) a position and
    velocity [4], and ``goal`` [2], both met exactly; or ``task``, the number of one of the
    suite's own tasks, from 1, with the suite's noise. Whatever is drawn comes from the seed, and
    does not depend on a start or goal that is given. ``reset(seed=...)`` seeds ``action_space``
    too.

    It can be copied (``copy.deepcopy``) and pickled in the middle of an episode, and both go on
    alike; its ``spec`` can be written as JSON. ``compute_reward``, ``compute_terminated`` and
    ``compute_truncated`` are those of Gymnasium-Robotics' ``GoalEnv``
    (:class:`~dfplan.envs.goals.GoalRewards`).

    Attributes:
        name: the suite's name for it, such as ``"pointmaze-large"``; an own maze's name.
        maze: the maze, in the suite's frame.
        max_steps: steps after which an episode is truncated.
        goal_radius: within this distance the goal is reached, in the frame's unit.
        terminates: whether reaching the goal ends the episode.
        has_velocity: whether ``observation`` has four elements, or else two.
        tasks: how many tasks of its own the suite has.
    """

    has_velocity: ClassVar[bool] = True
    tasks: ClassVar[int] = 0

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        maze = parse_maze(maze, name)
        RecordConstructorArgs.__init__(self, name=name, maze=maze.text)
        gymnasium.Wrapper.__init__(self, env)
        self.name = name
        self.maze = maze
        self.goal_radius = maze.suite.goal_radius
        self.max_steps = int(env.spec.max_episode_steps)  # type: ignore[union-attr, arg-type]
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": env.metadata.get("render_fps"),
        }
        corners = maze.cell_to_xy(np.array([[-0.5, -0.5], np.array(maze.shape) - 0.5]))
        low, high = corners.min(0), corners.max(0)
        fast = [SPEED_BOUND] * (2 if self.has_velocity else 0)
        self.observation_space = Dict(
            {
                "observation": Box(
                    np.append(low, np.negative(fast)), np.append(high, fast), dtype=np.float64
                ),
                "achieved_goal": Box(low, high, dtype=np.float64),
                "desired_goal": Box(low, high, dtype=np.float64),
            }
        )
        # Its own: OGBench draws from that of its environment at each reset.
        self.action_space = deepcopy(env.action_space)
        self._goal = np.zeros(2)
        self._position: np.ndarray | None = None  # until the first episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of all that is drawn from now on; without one it goes on as it was.
            options: ``start``, ``goal`` or both; or ``task``.

        Raises:
            MazeError: the start or goal lies in a wall or outside the maze.
            ObservationError: it has the wrong shape, is not finite, or is impossibly fast.
            ConfigError: an option that is not known, a task that there is not, a task with a start
                or goal, or a seed that is not a whole number from 0 upwards.
        """
        told = read_options(options, ("start", "goal", *(["task"] if self.tasks else [])))
        start, goal, task = told.get("start"), told.get("goal"), told.get("task")
        if task is not None:
            require_numbers({"task": task}, whole=True, least=1, most=self.tasks)
            task = int(task)
            if start is not None or goal is not None:
                raise ConfigError("A task has its start and goal; give either it or those.")
        if start is not None:
            start = read_start(start, self.maze, (2, 4) if self.has_velocity else (2,))
        if goal is not None:
            goal = read_goal(goal, self.maze)
        seed = read_seed(seed)
        state, self._goal, info = self._begin(seed, start, goal, task)
        if seed is not None:
            self.action_space.seed(seed)
        distance = np.linalg.norm(state[:2] - self._goal)
        info["success"] = bool(distance <= self.goal_radius)
        if "goal" in info:
            info["goal"] = self._goal.copy()
        return self._observation(state), info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Apply the action [2] for one of the suite's steps.

        Raises:
            ObservationError: the action has the wrong shape or is not finite.
            ResetNeeded: no episode was started.
        """
        force0, force1 = finite_vector(action, (2,), "action").tolist()
        # OGBench limits no action itself, and one beyond its space crosses walls; the number's
        # type stays, which its rounding depends on.
        if type(action) is not np.ndarray or action.dtype.kind not in "fiub":
            action = copy_array(action)
        if not -1.0 <= force0 <= 1.0 or not -1.0 <= force1 <= 1.0:
            action = np.clip(action, -1.0, 1.0)
        state, reward, terminated, truncated, info = self._advance(action)
        info["success"] = bool(info["success"])
        return self._observation(state), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The maze from above, uint8 [40 H, 40 W, 3]; None without a render mode."""
        if self._position is None:
            raise ResetNeeded("No episode has begun; call reset() first.")
        if self.render_mode is None:
            return None
        return draw_frame(self.maze, self._position, self._goal, self.goal_radius)

    def __reduce__(self) -> Any:
        # The suites' own pickles are of new environments, and OGBench's cannot be read.
        state = [
            {name: value for name, value in vars(layer).items() if name not in _OWN}
            for layer in self._layers()
        ]
        return gymnasium.make, (self.spec,), state

    def __setstate__(self, state: list[dict[str, Any]]) -> None:
        for layer, values in zip(self._layers(), state, strict=True):
            vars(layer).update(values)
            if "mujoco_renderer" in vars(layer):
                layer.mujoco_renderer.model = layer.model
                layer.mujoco_renderer.data = layer.data

    def __copy__(self) -> MazeEnv:
        # Two that share a simulator would move each other's ball.
        return deepcopy(self)

    def _layers(self) -> list[Any]:
        """All environments that this consists of, this one first."""
        layers: list[Any] = [self]
        while isinstance(layers[-1], gymnasium.Wrapper):
            layers.append(layers[-1].env)
        return layers

    def _observation(self, state: np.ndarray) -> dict[str, np.ndarray]:
        self._position = state[:2].copy()
        return {
            "observation": state,
            "achieved_goal": state[:2].copy(),
            "desired_goal": self._goal.copy(),
        }

    @abstractmethod
    def _begin(
        self,
        seed: int | None,
        start: np.ndarray | None,
        goal: np.ndarray | None,
        task: int | None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Start an episode of what was checked; its state, its goal [2] and the suite's info."""

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """The suite's step, of which the observation is the state."""
        state, reward, terminated, truncated, info = self.env.step(action)
        return state, reward, terminated, truncated, info
