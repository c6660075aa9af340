"""OGBench's mazes with the common interface."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dfplan.envs.maze_env import Given, MazeEnv, MazeSpec, ResetResult, StepResult, read_model_file
from dfplan.errors import ConfigError
from dfplan.mazes import Maze, named_maze
from dfplan.suites import OGBENCH_ANT

_TELEPORT_RADIUS = 1.51  # the suite's 1.5 and some margin
_LONGEST_STEP = 2.0  # measured: ants move by at most 0.9 in a step
# The norm of one vector at a time; the norm of an array of vectors is rounded differently.
_norm = np.vectorize(np.linalg.norm, otypes=[float], signature="(n)->()")


class OGBenchEnv(MazeEnv):
    """Wraps a maze of OGBench.

    OGBench draws noise, start-goal pairs and teleports from NumPy's global generator. While it
    draws, the state of that generator is replaced by one that belongs to this environment: seed s
    gives the draws that follow ``np.random.seed(s)``, and the caller's generator does not change.

    Attributes:
        body: OGBench's name of the body.
    """

    packages = ("mujoco", "ogbench")
    extra = "ogbench"
    terminates = True
    start_goal_pairs = 5
    body: ClassVar[str]

    @classmethod
    def specs(cls) -> dict[str, MazeSpec]:
        """The suite's mazes."""
        return {
            maze.name: MazeSpec(maze, f"{cls.body}maze-{size}-v0")
            for size in cls.suite.mazes
            for maze in [named_maze(f"{cls.suite.prefix}-{size}")]
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
        prefix, _, size = maze.text.rpartition("-")
        if prefix != cls.suite.prefix:
            return None
        return EnvSpec(
            f"{cls.body}maze-{size}-v0",
            "ogbench.locomaze.maze:make_maze_env",
            max_episode_steps=cls.suite.episode_steps[size],
            kwargs={"loco_env_type": cls.body, "maze_env_type": "maze", "maze_type": size},
        )

    @classmethod
    def maze_of_spec(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """Inverse of :meth:`dataset_spec`."""
        body, _, rest = name.partition("maze-")
        size = rest.partition("-")[0]
        known = body == cls.body and size in cls.suite.mazes
        return named_maze(f"{cls.suite.prefix}-{size}") if known else None

    def __init__(self, env: gymnasium.Env[Any, np.ndarray], name: str, maze: Maze | str) -> None:
        super().__init__(env, name, maze)
        self._suite_env = cast(Any, env.unwrapped)
        for reward in (self.compute_reward, self.compute_terminated, self.compute_truncated):
            setattr(self._suite_env, reward.__name__, reward)
        self._xml = read_model_file(self._suite_env.fullpath)
        teleports = self._suite_env._teleport_info
        self._entrances = teleports["teleport_in_xys"] if teleports else ()
        self._numpy_state = np.random.RandomState().get_state(legacy=False)

    def _distances(self, offset: np.ndarray) -> np.ndarray:
        return np.asarray(_norm(offset))

    def _reset_suite(
        self, seed: int | None, start: Given, goal: Given, pair: int | None
    ) -> ResetResult:
        if seed is not None:  # the suite's reset moves the body at random to observe it at the goal
            self._suite_env.action_space.seed(seed)
        with self._numpy_generator(seed):
            options = {} if pair is None else {"task_id": pair}
            state, info = self.env.reset(seed=seed, options=options)
        suite = self._suite_env
        if start is not None:
            if len(start) == len(state) != 2:
                suite.set_state(start[: suite.model.nq], start[suite.model.nq :])
            else:
                suite.set_xy(start)
            state = suite.get_ob()
        if goal is not None:
            suite.set_goal(goal_xy=goal)
        return state, np.array(suite.cur_goal_xy), info

    def _step_suite(self, action: np.ndarray) -> StepResult:
        x, y = self._suite_env.data.qpos[:2].tolist()
        return self._step_near(action, x, y, _LONGEST_STEP)

    def _step_near(self, action: np.ndarray, x: float, y: float, max_offset: float) -> StepResult:
        """Make the suite's step, which ends within ``max_offset`` of (x, y).

        Replacing NumPy's generator takes time, so it is done only near teleports.
        """
        for x0, y0 in self._entrances:
            if math.hypot(x - x0, y - y0) < _TELEPORT_RADIUS + max_offset:
                with self._numpy_generator():
                    return self.env.step(action)
        return self.env.step(action)

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


class OGBenchAntEnv(OGBenchEnv):
    """OGBench's antmaze. Observations, rewards, ends and info are equal to the suite's."""

    suite = OGBENCH_ANT
    body = "ant"
