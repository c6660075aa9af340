"""What a collector of data must provide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from dfplan.blocks import blocks
from dfplan.errors import ConfigError, MazeError
from dfplan.mazes import Maze
from dfplan.suites import Suite
from dfplan.types import Recording

DEFAULT_STEPS = 1_000_000
"""Default number of environment steps in a maze that was not published."""

SHARD_STEPS = 50_000
"""Environment steps of a shard of one stream. Workers collect whole shards, so their number does
not change the data."""

STITCH_CELLS = 4
"""Cells from the start to the goal of a walk in data of short walks."""


class Collector(Protocol):
    """Collects the data of one maze in shards. It is pickled for worker processes."""

    @property
    def version(self) -> str:
        """Must change when the same seed gives different data."""

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Environment steps of each shard."""

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """Collect one shard; the result depends only on the arguments and the collector."""

    def require_path(self, path: Path) -> None:
        """Raise :class:`ConfigError` unless the data can be written to ``path``."""

    def write(self, files: Sequence[Path], seed: int, path: Path) -> None:
        """Write the data set to ``path``, a file or folder.

        ``files`` of all shards are in order, for :func:`~dfplan.collect.shards.join_shards`;
        ``seed`` is that of the collection.
        """


@dataclass(frozen=True)
class CollectorEntry:
    """An entry in the table of collectors, for the mazes of some suites.

    ``plan`` makes the collector for a maze and a number of environment steps; None for the
    published number, or :data:`DEFAULT_STEPS` in other mazes.
    """

    suites: tuple[Suite, ...]
    plan: Callable[[Maze, int | None], Collector]


@dataclass(frozen=True)
class StreamCollector:
    """Base of collectors that record streams, each from a random start.

    Attributes:
        maze: a maze in the coordinates of the suite.
        steps: environment steps of all streams together.
        shard_steps: environment steps of a stream; the last may be shorter.

    Raises:
        MissingSimulatorError: the packages that simulate mazes are not installed.
    """

    maze: Maze
    steps: int
    shard_steps: int

    def __post_init__(self) -> None:
        from dfplan.envs.dynamics import PointMass

        PointMass(self.maze)  # raises here, before a worker is started

    @property
    def shard_sizes(self) -> list[int]:
        """Environment steps of each stream."""
        return split_evenly(self.steps, self.shard_steps)


def split_evenly(total: int, size: int) -> list[int]:
    """Sizes of the parts of ``total``: ``size`` each, but the last may be smaller."""
    return [part.stop - part.start for part in blocks(total, size)]


def require_file_path(path: Path, endings: tuple[str, ...], title: str) -> None:
    """Raise :class:`ConfigError` unless ``path`` can be a file with one of the endings."""
    if path.suffix not in endings:
        raise ConfigError(
            f"The name of a file of {title} must end in {' or '.join(endings)}; got {path.name!r}."
        )
    if path.is_dir():
        raise ConfigError(f"Expected a file to write at {path}, but it is a folder.")


def cells_at(maze: Maze, start: tuple[int, int], steps: int) -> np.ndarray:
    """Cells whose shortest path to ``start`` has ``steps`` steps; int [C, 2], row by row."""
    cells = []
    for cell in map(tuple, maze.free_cells.tolist()):
        with suppress(MazeError):  # no path joins some cells of OGBench's teleport maze
            if cell != start and len(maze.shortest_path(cell, start)) == steps:
                cells.append(cell)
    return np.array(cells, int).reshape(-1, 2)
