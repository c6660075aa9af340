"""Maze files as editors of all systems write them, and files that are not mazes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfplan.envs.make import make
from dfplan.errors import ConfigError, MazeError
from dfplan.mazes import Maze, named_maze, parse_maze, read_maze
from dfplan.suites import GYMNASIUM

ROWS = ("#######", "#GOOOO#", "#O###O#", "#OOOOO#", "#######")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mazes") / "my maze.txt"


@given(
    encoding=st.sampled_from(ENCODINGS),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\\"]),
    before=st.sampled_from(["", " ", "\t", "  \t "]),
    after=st.sampled_from(["", " ", "\t"]),
    tail=st.sampled_from(["", "\n", "\r\n\r\n", " \n\t\n"]),
    head=st.sampled_from(["", "\n", "frame gymnasium\n"]),
    free=st.sampled_from("O0. "),
    wall=st.sampled_from("#1XxWw"),
)
@settings(deadline=None)
def test_a_maze_does_not_depend_on_encoding_and_spelling(path: Path, **how: Any) -> None:
    lines = [row.replace("#", how["wall"]).replace("O", how["free"]) for row in ROWS]
    text = how["head"] + how["end"].join(how["before"] + line + how["after"] for line in lines)
    path.write_bytes((text + how["tail"]).encode(how["encoding"]))
    maze = read_maze(path)
    assert maze.rows == ROWS and maze.name == "my maze"
    assert (maze.suite is GYMNASIUM) is how["head"].startswith("frame")
    assert parse_maze("\ufeff" + text).rows == ROWS


def test_text_for_an_environment_may_have_any_line_ends() -> None:
    for text in ("\ufeff" + "\r\n".join(ROWS), "\r".join(ROWS), "\\".join(ROWS)):
        assert make(text).maze.rows == ROWS


def test_a_file_may_contain_the_text_of_a_suites_maze(path: Path) -> None:
    for maze in (named_maze("pointmaze-umaze"), Maze(ROWS, "mine", GYMNASIUM)):
        path.write_text(maze.text + "\n")
        assert (read_maze(path).rows, read_maze(path).suite) == (maze.rows, maze.suite)
    assert read_maze(path, suite=GYMNASIUM).suite is GYMNASIUM


def test_a_path_may_start_with_the_home_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("\n".join(ROWS))
    monkeypatch.setenv("HOME", str(path.parent))
    assert read_maze(f"~/{path.name}") == read_maze(path) == read_maze(str(path))


GRID = "\n".join(ROWS)
NOT_MAZES: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\t\n\r\n",
    "a mark alone": b"\xef\xbb\xbf",
    "half of a mark": b"\xff\xfe",
    "one row": b"#####",
    "two rows": b"#####\n#####",
    "walls alone": b"###\n###\n###",
    "ragged": GRID.replace("#O###O#", "#O###O##").encode(),
    "ragged by a tab": GRID.replace("#O###O#", "#O#\t##O#").encode(),
    "zeros": GRID.encode() + bytes(3),
    "zeros between": GRID.replace("O", "\0").encode(),
    "binary": np.random.default_rng(0).bytes(3000),
    "odd UTF-16": GRID.encode("utf-16") + b"#",
    "Latin": GRID.encode() + b"\xe4",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "a word": b"lagre\n",
    "prose": b"Here is a maze.\nIt has walls.\nAnd a goal.\n",
    "a frame alone": b"frame gymnasium\n",
    "no frame": b"frame nowhere\n" + GRID.encode(),
    "large": b"#" * 2_000_000,
    "larger": b"#" * 5_000_000,
    "many rows": b"###\n" * 400_000,
    "a hole": GRID.replace("#G", "OG").encode(),
    "islands": b"#####\n#O#O#\n#####",
}


@pytest.mark.parametrize("kind", NOT_MAZES)
def test_the_error_of_a_file_without_a_maze_is_one_line(kind: str, path: Path) -> None:
    path.write_bytes(NOT_MAZES[kind])
    with pytest.raises(MazeError) as caught:
        read_maze(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message.replace(str(path), "")
    assert len(message) < 600 + len(str(path))


@given(
    content=st.binary(max_size=60)
    | st.text("#OG.\n\r \\frame\ufeff\0", max_size=60).map(str.encode)
)
@settings(deadline=None)
def test_every_file_is_read_or_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        maze = read_maze(path)
    except MazeError as error:
        assert str(path) in str(error)
    else:
        assert parse_maze(maze.text).rows == maze.rows


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.txt", tmp_path / ("long" * 100)):
        with pytest.raises(MazeError, match="Cannot read"):
            read_maze(path)
    for wrong in ("", "a\0b"):
        with pytest.raises(ConfigError):
            read_maze(wrong)
    if os.path.exists("/dev/zero"):
        with pytest.raises(MazeError, match="too large"):
            read_maze("/dev/zero")


def test_messages_of_large_arguments_are_short() -> None:
    for wrong in (
        "#" * 3_000_000,
        "\n".join(["#" * 2000] * 2000),
        ["#" * 2000] * 2000,
        np.ones((1001, 1001)),
        np.ones((3000, 3000), bool),
        b"#####" * 1000,
        [1] * 100_000,
    ):
        with pytest.raises(MazeError) as caught:
            parse_maze(wrong)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500
    with pytest.raises(MazeError, match="6 columns in row 2"):
        parse_maze([*ROWS[:2], ROWS[2][1:], *ROWS[3:]])


def test_a_long_maze_is_read() -> None:
    rows = ["#" * 302, *["#" + "O" * 300 + "#"] * 3, "#" * 302]
    assert parse_maze("\r".join(rows)).shape == parse_maze(rows).shape == (5, 302)
