"""Types of arguments on the command line."""

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
        """Split at commas; brackets around the whole are ignored."""
        return super().__new__(cls, _split(value))


class Position(tuple[float, float]):
    """A position as ``1,7.5``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[float]) -> Position:
        """Split at the comma.

        Raises:
            ValueError: there are not two numbers.
        """
        numbers = _numbers(float, value)
        if len(numbers) != 2:
            raise ValueError(f"expected two numbers with a comma between; got {value!r}")
        return super().__new__(cls, numbers)


class Numbers(tuple[int, ...]):
    """Integers as ``0,1,2``; in a configuration file a list."""

    def __new__(cls, value: str | Sequence[int]) -> Numbers:
        """Split at commas.

        Raises:
            ValueError: one of them is not an integer.
        """
        numbers = _numbers(int, value)
        if not numbers:
            raise ValueError(f"expected whole numbers with commas between; got {value!r}")
        return super().__new__(cls, numbers)


class Keys(tuple[tuple[str, str], ...]):
    """Names of arrays as ``observations=obs,ends=done``; in a configuration file a mapping.

    They are kept as pairs: jsonargparse loses the content of subclasses of dict.
    """

    def __new__(cls, value: str | Mapping[str, str] | Sequence[tuple[str, str]]) -> Keys:
        """Split at commas and equal signs.

        Raises:
            ValueError: an equal sign is missing, or a field has two names.
        """
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
    if not isinstance(value, str):
        return list(value)
    return [part.strip(" '\"") for part in value.strip("[]() ").split(",")]


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
