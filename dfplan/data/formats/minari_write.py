"""Writes data sets that Minari loads, and Minari's format as a whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from dfplan.data.formats.fields import layout_text
from dfplan.data.formats.format import Contents, Format
from dfplan.data.formats.minari_files import (
    ADDED_TRUNCATION,
    ID,
    LAST_ROW,
    LAYOUT,
    MARKS,
    MINARI_FILE,
    OPTIONAL_FIELDS,
    PUBLISHED,
    STEP_FIELDS,
    local_datasets,
    root_folder,
)
from dfplan.data.formats.minari_read import read_minari
from dfplan.data.hdf5 import DAMAGE, Sink
from dfplan.data.sha256 import replacing
from dfplan.errors import ConfigError, DataError, MissingPackageError
from dfplan.files import atomic_folder, expand_path
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import GYMNASIUM
from dfplan.types import Recording

if TYPE_CHECKING:
    import gymnasium

_NOT_IN_ID = re.compile(r"[^-\w]+")


def write_minari(recording: Recording, path: str | Path, *, dataset_id: str | None = None) -> Path:
    """Write a data set that Minari loads with its environment, and return its folder.

    In gymnasium-robotics' coordinates the observations are a dictionary, with ``desired_goal`` if
    goals are known. In others they are one array, and goals are ``infos/goal``. The environment is
    that of the maze's suite, or none if the maze is not known, the suite cannot make it, or its
    observations have other columns. It continues when the goal is reached, unless the recording has
    a terminal.

    Minari's format has no place for the action, reward, terminal and timeout of an episode's last
    row and for the columns of the position, and cannot say that a field is absent. Attributes hold
    this information, so that
    :func:`~dfplan.data.formats.minari_read.read_minari` gives the same recording again. Absent
    rewards are written as zeros. An episode without another end gets a truncation, which the reader
    removes.

    Args:
        recording: what to write.
        path: the folder of the data set. It appears when it is complete.
        dataset_id: id for Minari, ending in a version. Default: the path of the folder relative to
            Minari's local folder if it is in there, else its name, with ``-v0`` if the name has no
            version.

    Raises:
        ConfigError: there is already something at ``path``, or the id is invalid.
        DataError: the recording or one of its episodes has no rows.
        MazeError: the recording's maze is invalid.
        MissingPackageError: Minari is not installed.
        OSError: the folder cannot be written.
    """
    folder = expand_path(path)
    name = _choose_id(folder, dataset_id)
    if folder.exists():
        raise ConfigError(f"{folder} exists already. Remove it, or choose another folder.")
    bounds = _bounds(recording)
    maze = None if recording.maze is None else parse_maze(recording.maze)
    nested = maze is not None and maze.suite is GYMNASIUM
    try:
        from minari import __version__ as minari_version
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise MissingPackageError("Writing a Minari data set", "minari", "minari") from error
    # Absolute, because Minari prepends a relative path twice.
    with replacing(folder.absolute(), atomic_folder) as temporary:
        data = temporary / "data"
        spaces, env_spec = _spaces(recording, nested), _environment(maze, recording)
        storage = MinariStorage.new(data, *spaces, env_spec=env_spec, data_format="hdf5")
        with Sink(data / MINARI_FILE) as sink:
            try:
                with h5py.File(sink, "w") as file:
                    _write_episodes(file, recording, bounds, nested, sink)
            except DAMAGE:  # h5py raises many types after a failed write
                sink.require_success()
                raise
            sink.require_success()
        storage.update_metadata(
            {
                "dataset_id": name,
                "minari_version": minari_version,
                "total_episodes": len(bounds),
                "total_steps": len(recording) - len(bounds),
                "dataset_size": float(storage.get_size()),
                "description": f"Written by dfplan from {recording.source}.",
            }
        )
    return folder


def _choose_id(folder: Path, dataset_id: str | None) -> str:
    name, place, root = dataset_id, folder.resolve(), root_folder().resolve()
    if name is None and place.is_relative_to(root):
        name = place.relative_to(root).as_posix()  # Minari finds it only by this id
    elif name is None:
        name = _NOT_IN_ID.sub("-", place.name)
        name = name if ID.fullmatch(name) else f"{name}-v0"
    if not ID.fullmatch(name):
        raise ConfigError(
            "The id of a Minari data set has letters, digits, '-' and '_', with '/' between names, "
            f"and ends in a version, such as 'maze/large-v0'; got {name!r}. Rename the folder, or "
            "pass another dataset_id."
        )
    return name


def _bounds(recording: Recording) -> list[tuple[int, int]]:
    """First and one-past-last row of each episode."""
    edges = np.append(recording.episodes, len(recording))
    if len(edges) < 2 or edges[0] != 0 or (np.diff(edges) < 1).any():
        raise DataError(
            f"{recording.source}: to be written, every episode must have a row, and the first must "
            f"begin at row 0; got {len(recording)} rows and episodes from "
            f"{edges[:-1][:8].tolist()}."
        )
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _spaces(
    recording: Recording, nested: bool
) -> tuple[gymnasium.Space[Any], gymnasium.Space[Any]]:
    """Gymnasium's spaces of observations and of actions."""
    from gymnasium.spaces import Box, Dict  # here, because Gymnasium is slow to import

    def unbounded(rows: np.ndarray) -> Box:
        return Box(-np.inf, np.inf, rows.shape[1:], rows.dtype.type)

    actions = Box(-1.0, 1.0, recording.actions.shape[1:], recording.actions.dtype.type)
    observation = unbounded(recording.observations)
    if not nested:
        return observation, actions
    spaces = {"achieved_goal": unbounded(recording.layout.positions(recording.observations[:1]))}
    if recording.goals is not None:
        spaces["desired_goal"] = unbounded(recording.goals)
    return Dict({"observation": observation, **spaces}), actions


def _environment(maze: Maze | None, recording: Recording) -> Any:
    """The environment for Minari; None if no suite can make it."""
    if maze is None or maze.suite.observation != recording.layout:
        return None
    from dfplan.envs.make import ADAPTERS  # here, because Gymnasium is slow to import

    continuing = recording.terminals is None or not recording.terminals.any()
    return ADAPTERS[maze.suite].dataset_spec(maze, continuing=continuing)


def _write_episodes(
    file: h5py.File, recording: Recording, bounds: list[tuple[int, int]], nested: bool, sink: Sink
) -> None:
    absent = [field for field in OPTIONAL_FIELDS if getattr(recording, field) is None]
    file.attrs[MARKS] = json.dumps({"absent": absent, "maze": recording.maze})
    if (layout := layout_text(recording.layout)) is not None:
        file.attrs[LAYOUT] = layout
    final = recording.final_observations
    for index, (first, end) in enumerate(bounds):
        group = file.create_group(f"episode_{index}")
        group.attrs["id"] = index
        group.attrs["total_steps"] = end - first - 1
        is_final = final is not None and bool(final[index])
        _write_episode(group, recording, first, end, is_final, nested)
        if sink.failure is not None:
            return


def _write_episode(
    group: h5py.Group, recording: Recording, first: int, end: int, final: bool, nested: bool
) -> None:
    """Write the rows ``first`` to ``end`` - 1 as one episode; the last one as an observation.

    ``final`` says whether the last row is only a final observation, ``nested`` whether observations
    are a dictionary.
    """
    last = end - 1
    steps = slice(first, last)
    rows = np.ascontiguousarray(recording.observations[first:end])
    goals = None if recording.goals is None else recording.goals[first:end]
    if nested:
        group["observations/observation"] = rows
        group["observations/achieved_goal"] = recording.layout.positions(rows)
    else:
        group["observations"] = rows
    if goals is not None:
        group["observations/desired_goal" if nested else "infos/goal"] = goals
    zeros = np.zeros(last - first)
    terminals, timeouts = (
        zeros.astype(bool) if flags is None else np.array(flags[steps], bool)
        for flags in (recording.terminals, recording.timeouts)
    )
    if len(zeros) and not (terminals[-1] or timeouts[-1]):
        timeouts[-1] = True
        group.attrs[ADDED_TRUNCATION] = True
    group["actions"] = recording.actions[steps]
    group["rewards"] = zeros if recording.rewards is None else recording.rewards[steps]
    group["terminations"] = terminals
    group["truncations"] = timeouts
    group.require_group("infos")  # without it, Minari cannot show an episode
    fields = (getattr(recording, field) for field in STEP_FIELDS)
    parts = [0.0 if values is None else values[last] for values in fields]
    row = np.hstack([*parts, final]).astype(float)
    if row[:-1].any() or not final:
        group.attrs[LAST_ROW] = row


def _detect(contents: Contents) -> bool:
    if contents.is_folder or contents.path.name == MINARI_FILE:
        return True
    return contents.hdf5 is not None and "episode_0" in contents.hdf5


MINARI = Format(
    name="minari",
    title="Minari (a folder)",
    detect=_detect,
    read=read_minari,
    write=write_minari,
    endings=("",),
    datasets=lambda: {**dict.fromkeys(PUBLISHED), **local_datasets()},
    ids=ID,
)
"""Minari's format (``minari/dataset/_storages/hdf5_storage.py``)."""
