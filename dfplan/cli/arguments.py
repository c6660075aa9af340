"""Types of arguments on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse.typing import register_type

from dfplan.files import expand_path
from dfplan.mazes import Maze, parse_maze, read_maze


class Names(tuple[str, ...]):
    """Names as ``a,b``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[str]) -> Names:
        """Split at commas; brackets around them all do not matter."""
        return super().__new__(cls, _split(given))


class Position(tuple[float, float]):
    """A position as ``1,7.5``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[float]) -> Position:
        """Split at the comma; two numbers, or ValueError."""
        values = [float(value) for value in _split(given)]
        if len(values) != 2:
            raise ValueError(f"a position is two numbers with a comma between; got {given!r}")
        return super().__new__(cls, values)


def _split(given: Any) -> list[Any]:
    if not isinstance(given, str):
        return list(given)
    return [part.strip(" '\"") for part in given.strip("[]() ").split(",")]


class Numbers(tuple[int, ...]):
    """Whole numbers as ``0,1,2``; a list in a configuration file."""

    def __new__(cls, given: str | Sequence[int]) -> Numbers:
        """Split at commas, or ValueError."""
        return super().__new__(cls, [int(value) for value in _split(given)])


class Keys(tuple[tuple[str, str], ...]):
    """Names of arrays as ``observations=obs,ends=done``; a mapping in a configuration file.

    Pairs, since jsonargparse loses what a dict of another class holds.
    """

    def __new__(cls, given: str | Mapping[str, str] | Sequence[tuple[str, str]]) -> Keys:
        """Split at commas and equal signs, or ValueError."""
        if isinstance(given, str):
            parts = [part.partition("=") for part in _split(given)]
            if not all(sign for _, sign, _ in parts):
                raise ValueError(f"keys are written as observations=obs,ends=done; got {given!r}")
            given = [(field, name) for field, _, name in parts]
        pairs = list(dict(given).items())
        if len(pairs) < len(given):
            raise ValueError(f"each field has one name; got {given!r}")
        return super().__new__(cls, pairs)


for _type, _plain in ((Names, list), (Position, list), (Numbers, list), (Keys, dict)):
    register_type(_type, serializer=_plain)
register_type(Path, str, expand_path, type_check=isinstance)


def names_of_arrays(keys: Keys | None) -> dict[str, str] | None:
    """What :func:`dfplan.data.read` takes as ``keys``."""
    return None if keys is None else dict(keys)


def maze_or_file(name_or_file: str) -> Maze:
    """A maze by name or as text, or the maze in a file.

    Raises:
        ConfigError, MazeError: there is no such maze, or the file cannot be read.
    """
    path = expand_path(name_or_file)
    if not os.path.isfile(path):  # the text of a maze can be longer than a path
        return parse_maze(name_or_file)
    return read_maze(path)


def suite_or_maze(name: str) -> str | Maze:
    """The name of a suite's environment as it is, or the maze in a file."""
    return maze_or_file(name) if os.path.isfile(expand_path(name)) else name
