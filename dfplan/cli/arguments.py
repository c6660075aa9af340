"""Types of arguments on the command line. They raise ValueError for texts of another form."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse.typing import register_type

from dfplan.files import expand_path
from dfplan.mazes import Maze, parse_maze, read_maze

Number = TypeVar("Number", int, float)


class Names(tuple[str, ...]):
    """Names as ``a,b``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[str]) -> Names:
        return super().__new__(cls, _split(value))


class Position(tuple[float, float]):
    """A position as ``1,7.5``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[float]) -> Position:
        numbers = _numbers(float, value)
        if len(numbers) != 2:
            raise ValueError(f"expected two numbers with a comma between; got {value!r}")
        return super().__new__(cls, numbers)


class Observation(tuple[float, ...]):
    """An observation as ``1,7.5,0,0``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[float]) -> Observation:
        numbers = _numbers(float, value)
        if not numbers:
            raise ValueError(f"expected numbers with commas between; got {value!r}")
        return super().__new__(cls, numbers)


class Numbers(tuple[int, ...]):
    """Integers as ``0,1,2``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[int]) -> Numbers:
        numbers = _numbers(int, value)
        if not numbers:
            raise ValueError(f"expected whole numbers with commas between; got {value!r}")
        return super().__new__(cls, numbers)


class Columns(tuple[int, ...]):
    """Integers as ``0,1,2``, or ``none``; in a configuration file a list, which may be empty."""

    def __new__(cls, value: str | Sequence[int]) -> Columns:
        return super().__new__(cls, () if value in ("none", [], ()) else Numbers(value))


class Keys(tuple[tuple[str, str], ...]):
    """Names of arrays as ``observations=obs,ends=done``; in a configuration file a mapping.

    They are kept as pairs: jsonargparse loses the content of subclasses of dict.
    """

    def __new__(cls, value: str | Mapping[str, str] | Sequence[tuple[str, str]]) -> Keys:
        if isinstance(value, str):
            parts = [part.partition("=") for part in _split(value)]
            if not all(sign for _, sign, _ in parts):
                raise ValueError(f"expected names as observations=obs,ends=done; got {value!r}")
            value = [(field, name) for field, _, name in parts]
        pairs = list(dict(value).items())
        if len(pairs) < len(value):
            raise ValueError(f"expected one name for each field; got {value!r}")
        return super().__new__(cls, pairs)


def _numbers(kind: type[Number], value: str | Sequence[Number]) -> list[Number]:
    """The numbers in ``value``; none if one of them cannot be read."""
    try:
        return [kind(number) for number in _split(value)]
    except ValueError:
        return []


def _split(value: Any) -> list[Any]:
    """Split a text at commas; brackets around the whole are ignored."""
    if not isinstance(value, str):
        return list(value)
    return [part.strip(" '\"") for part in value.strip("[]() ").split(",")]


for _type in (Names, Position, Observation, Numbers, Columns):
    register_type(_type, serializer=list)
register_type(Keys, serializer=dict)
register_type(Path, str, expand_path, type_check=isinstance)


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
