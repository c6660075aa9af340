"""The common interface of the suites' environments."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict
from gymnasium.utils import RecordConstructorArgs

from dfplan.arrays import copy_array
from dfplan.envs.goals import GoalRewards
from dfplan.envs.options import SPEED_BOUND, finite_vector, read_goal, read_options, read_start
from dfplan.envs.picture import draw_frame
from dfplan.errors import ConfigError, MissingSimulatorError, read_seed, require_numbers
from dfplan.mazes import Maze, parse_maze
from dfplan.observations import PLANAR
from dfplan.record import Record
from dfplan.suites import Suite

Given = np.ndarray | None
"""A start or goal; None if the caller gave none."""

ResetResult = tuple[np.ndarray, np.ndarray, dict[str, Any]]
StepResult = tuple[np.ndarray, Any, bool, bool, dict[str, Any]]

# Attributes that each copy creates itself: wrapped parts, methods bound to them, and renderers.
_NOT_COPIED = {
    "_mj_step",
    "_near",
    "_suite_env",
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


@dataclass(frozen=True)
class MazeSpec(Record):
    """How ``gymnasium.make`` makes the environment of a maze: by its ``id``, with ``arguments``."""

    maze: Maze
    id: str
    arguments: dict[str, Any] = field(default_factory=dict)


class MazeEnv(
    GoalRewards, gymnasium.Wrapper[Any, np.ndarray, Any, np.ndarray], RecordConstructorArgs, ABC
):
    """Wraps the environment that a suite ships. Each suite has a subclass.

    :func:`dfplan.envs.make.make` makes instances. All values are in the suite's coordinates and
    units (``maze.suite``). ``unwrapped`` is the suite's environment.

    ============ =================================================================================
    observation  a dict: ``observation``, the suite's, float64 [S] (``suite.observation``), such as
                 position and velocity; ``achieved_goal`` float64 [2], the position;
                 ``desired_goal`` float64 [2]
    action       the suite's, float32 [A] in [-1, 1]; larger actions are clipped
    start, goal, the suite's
    reward, end
    info         the suite's, and ``success``, a bool: whether the position after the step, or at
                 the reset, is at the goal
    ============ =================================================================================

    ``reset(options=...)`` accepts ``start``, a position [2] or an observation [S], and ``goal``
    [2], which are used without noise; or
    ``start_goal_pair``, the number of one of the suite's fixed pairs of a start and a goal, from 1,
    with the suite's noise. All random numbers come from the seed,
    and a given start or goal does not change the other draws. ``reset(seed=...)`` also seeds
    ``action_space``.

    Environments can be copied (``copy.deepcopy``) and pickled during an episode; original and copy
    continue identically. ``spec`` can be written as JSON. ``compute_reward``,
    ``compute_terminated`` and ``compute_truncated`` follow Gymnasium-Robotics' ``GoalEnv``
    (:class:`~dfplan.envs.goals.GoalRewards`).

    Attributes:
        suite: whose environments the class wraps.
        packages: modules that must be imported to register the suite's environments.
        extra: dfplan's extra that installs them.
        start_goal_pairs: number of the suite's fixed pairs of a start and a goal.
        name: dfplan's name of the environment, such as ``"pointmaze-large"``; for custom mazes,
            the maze's name.
        maze: the maze.
        max_steps: steps after which an episode is truncated.
        goal_radius: a goal is reached within this distance.
        terminates: whether an episode ends when the goal is reached.
    """

    suite: ClassVar[Suite]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    start_goal_pairs: ClassVar[int] = 0

    @classmethod
    @abstractmethod
    def specs(cls) -> dict[str, MazeSpec]:
        """The suite's environments by dfplan's names. ``make`` uses the first one of a maze."""

    @classmethod
    @abstractmethod
    def custom_spec(cls, maze: Maze) -> MazeSpec:
        """An environment for a maze that is not one of the suite's.

        Raises :class:`ConfigError` or :class:`MazeError` if the suite does not support such a maze.
        """

    @classmethod
    @abstractmethod
    def dataset_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """The environment that a data set in the maze names as its source; None without one.

        ``continuing`` says whether episodes continued after the goal was reached.
        """

    @classmethod
    @abstractmethod
    def maze_of_spec(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """The maze of a :meth:`dataset_spec`, from its id and arguments; None for other suites."""

    @classmethod
    def import_packages(cls) -> None:
        """Import the suite's packages, which registers its environments with Gymnasium.

        Raises :class:`MissingSimulatorError` if a package is not installed.
        """
        for package in cls.packages:
            try:
                import_module(package)
            except ImportError as error:
                raise MissingSimulatorError(package.replace("_", "-"), cls.extra) from error

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        maze = parse_maze(maze, name)
        RecordConstructorArgs.__init__(self, name=name, maze=maze.text)
        gymnasium.Wrapper.__init__(self, env)
        self.name = name
        self.maze = maze
        self.goal_radius = maze.suite.goal_radius
        self.max_steps = int(env.spec.max_episode_steps)  # type: ignore[union-attr, arg-type]
        rate = env.metadata.get("render_fps")
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": rate}
        corners = maze.cell_to_xy(np.array([[-0.5, -0.5], np.array(maze.shape) - 0.5]))
        low, high = corners.min(0), corners.max(0)
        place = Box(low, high, dtype=np.float64)
        bound = np.full(self.suite.state_size, np.inf)
        if self.suite.observation == PLANAR:
            bound[2:] = SPEED_BOUND
        where = list(self.suite.observation.position)
        lowest, highest = -bound, bound
        lowest[where], highest[where] = low, high
        box = Box(lowest, highest, dtype=np.float64)
        self.observation_space = Dict(
            {"observation": box, "achieved_goal": place, "desired_goal": deepcopy(place)}
        )
        # A copy, because OGBench draws from its environment's action space at each reset.
        self.action_space = deepcopy(env.action_space)
        self._goal = np.zeros(2)
        self._position: np.ndarray | None = None  # until the first episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of all further random numbers; default: continue the current sequence.
            options: ``start``, ``goal`` or both; or ``start_goal_pair``.

        Raises:
            MazeError: the start or goal is in a wall or outside the maze.
            ObservationError: start or goal has the wrong shape, is not finite or is too fast.
            ConfigError: an unknown option or pair, a pair together with a start or goal, or a seed
                that is not a whole number of at least 0.
        """
        more = ["start_goal_pair"] if self.start_goal_pairs else []
        given = read_options(options, ("start", "goal", *more))
        start, goal, pair = given.get("start"), given.get("goal"), given.get("start_goal_pair")
        if pair is not None:
            values, pairs = {"start_goal_pair": pair}, self.start_goal_pairs
            require_numbers(values, integer=True, minimum=1, maximum=pairs)
            pair = values["start_goal_pair"]
            if start is not None or goal is not None:
                raise ConfigError(
                    "start_goal_pair defines start and goal; give either it, or a start or goal."
                )
        if start is not None:
            start = read_start(start, self.maze)
        if goal is not None:
            goal = read_goal(goal, self.maze)
        seed = read_seed(seed)
        state, self._goal, info = self._reset_suite(seed, start, goal, pair)
        if seed is not None:
            self.action_space.seed(seed)
        positions = self.suite.observation.positions
        info["success"] = bool(np.linalg.norm(positions(state) - self._goal) <= self.goal_radius)
        if "goal" in info:
            info["goal"] = info["goal"].copy()
            positions(info["goal"])[:] = self._goal
        return self._observation(state), info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Apply an action [A] for one step of the suite.

        Raises:
            ObservationError: the action has the wrong shape or is not finite.
            ResetNeeded: there was no reset.
        """
        values = finite_vector(action, (self.suite.action_size,), "action").tolist()
        # OGBench does not clip actions itself, and large ones cross walls. The dtype is kept
        # because rounding depends on it.
        if type(action) is not np.ndarray or action.dtype.kind not in "fiub":
            action = copy_array(action)
        if min(values) < -1.0 or max(values) > 1.0:
            action = np.clip(action, -1.0, 1.0)
        state, reward, terminated, truncated, info = self._step_suite(action)
        info["success"] = bool(info["success"])
        return self._observation(state), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw the maze from above, uint8 [40 H, 40 W, 3]; None without a render mode.

        Raises ``ResetNeeded`` if there was no reset.
        """
        if self._position is None:
            raise ResetNeeded("There is no episode yet; call reset() first.")
        if self.render_mode is None:
            return None
        return draw_frame(self.maze, self._position, self._goal, self.goal_radius)

    def __reduce__(self) -> Any:
        # The suites' environments lose their state when pickled, and OGBench's cannot be unpickled.
        state = [
            {name: value for name, value in vars(layer).items() if name not in _NOT_COPIED}
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
        # Shallow copies would share one simulator.
        return deepcopy(self)

    def _layers(self) -> list[Any]:
        """This environment and those that it wraps, outermost first."""
        layers: list[Any] = [self]
        while isinstance(layers[-1], gymnasium.Wrapper):
            layers.append(layers[-1].env)
        return layers

    def _observation(self, state: np.ndarray) -> dict[str, np.ndarray]:
        self._position = self.suite.observation.positions(state).copy()
        return {
            "observation": state,
            "achieved_goal": self._position.copy(),
            "desired_goal": self._goal.copy(),
        }

    @abstractmethod
    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        """Start an episode with checked arguments; return (state, goal [2], info)."""

    def _step_suite(self, action: np.ndarray) -> StepResult:
        """Make the suite's step; return its state in place of its observation."""
        return self.env.step(action)


def read_model_file(path: str) -> str:
    """Read the temporary file that a suite compiled its model from; close and delete the file."""
    text, file = Path(path).read_text(encoding="utf-8"), os.stat(path)
    descriptors = Path("/dev/fd")
    for name in os.listdir(descriptors) if descriptors.is_dir() else ():
        with suppress(OSError):  # the descriptor of the listing itself is already closed
            if os.path.samestat(os.fstat(int(name)), file):
                os.close(int(name))
    Path(path).unlink()
    return text
