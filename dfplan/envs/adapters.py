"""What each suite's environment adds to :class:`~dfplan.envs.maze_env.MazeEnv`."""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from gymnasium.envs.registration import EnvSpec

from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import MissingSimulatorError
from dfplan.mazes import Maze
from dfplan.suites import Suite


@dataclass(frozen=True)
class Spec:
    """What ``gymnasium.make`` needs for a maze.

    Attributes:
        maze: the maze.
        id: Gymnasium's name of the environment.
        arguments: further arguments of ``gymnasium.make``.
    """

    maze: Maze
    id: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Adapter(MazeEnv):
    """A suite's environment, and how to find it.

    Attributes:
        suite: whose environment it is.
        packages: what must be installed; importing them tells Gymnasium the environments.
        extra: dfplan's extra that installs them.
    """

    suite: ClassVar[Suite]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def names(cls) -> dict[str, Spec]:
        """The suite's environments by dfplan's names. A maze has the first name that fits."""

    @classmethod
    @abstractmethod
    def custom(cls, maze: Maze) -> Spec:
        """An environment with a maze that is not the suite's own.

        Raises:
            ConfigError, MazeError: the suite takes no such maze.
        """

    @classmethod
    @abstractmethod
    def recorded_spec(cls, maze: Maze, *, continuing: bool) -> EnvSpec | None:
        """What a data set says of the environment that it was recorded in; None without one.

        Args:
            maze: of the suite.
            continuing: whether reaching the goal ended no episode.
        """

    @classmethod
    @abstractmethod
    def recorded_maze(cls, name: str, arguments: dict[str, Any]) -> Maze | None:
        """The maze of such a spec, by its id and arguments; None for one of another suite."""

    @classmethod
    def require(cls) -> None:
        """Import the suite's packages.

        Raises:
            MissingSimulatorError: one of them is not installed.
        """
        for package in cls.packages:
            try:
                import_module(package)
            except ImportError as error:
                raise MissingSimulatorError(package.replace("_", "-"), cls.extra) from error


def take_file(path: str) -> str:
    """The text of a compiled model's file, which is then closed and deleted."""
    text, file = Path(path).read_text(encoding="utf-8"), os.stat(path)
    descriptors = Path("/dev/fd")
    for name in os.listdir(descriptors) if descriptors.is_dir() else ():
        with suppress(OSError):  # the listing's own is closed by now
            if os.path.samestat(os.fstat(int(name)), file):
                os.close(int(name))
    Path(path).unlink()
    return text
