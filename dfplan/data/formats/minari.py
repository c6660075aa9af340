"""Minari's datasets: read without Minari and without an environment, and written so that it reads.

A dataset is a folder with ``data/main_data.hdf5``, which has a group an episode (``episode_0``,
...), and ``data/metadata.json``. An episode of T steps has T + 1 observations, the last of which is
here a row of its own, with no action. The observations are one array, or a dictionary in the way of
gymnasium-robotics (``observation``, ``achieved_goal``, ``desired_goal``).

Everything is in the frame and the units of the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np

from dfplan.data.checksums import MINARI_FILE, replacing, verify
from dfplan.data.links import require_sources
from dfplan.data.storage import Sink, allocate, kept_type, open_hdf5, read_text
from dfplan.envs.make import ADAPTERS
from dfplan.errors import ConfigError, DataError, DfplanError
from dfplan.files import atomic_folder, expanded
from dfplan.mazes import Maze, parse_maze
from dfplan.record import Record
from dfplan.suites import GYMNASIUM
from dfplan.types import Recording

_METADATA = "metadata.json"
_ID = re.compile(r"(?:[-\w][-\w/]*/)?[-\w]+-v\d+")
_UNFIT = re.compile(r"[^-\w]+")
_EPISODE = re.compile(r"episode_(\d+)")

_MARKS = "dfplan"
"""The file's attribute for what Minari's layout has no place for, as JSON: the fields that there
were none of (``absent``) and the maze as text (``maze``)."""

_MAY_BE_ABSENT = ("rewards", "goals", "terminals", "timeouts")

_LAST_ROW = "dfplan_last_row"
"""An episode's attribute, of a last row that is more than an observation: its action, reward,
terminal and timeout, and whether it was bare; float64 [6]."""

_ADDED_TRUNCATION = "dfplan_added_truncation"
"""An episode's attribute: its last truncation is there because Minari wants one."""


PUBLISHED = tuple(
    f"D4RL/pointmaze/{maze}{dense}-v2"
    for maze in ("open", "umaze", "medium", "large")
    for dense in ("", "-dense")
)
"""Ids of the point mazes that Minari publishes."""


class MissingMinariError(DfplanError, ImportError):
    """Minari is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Writing a Minari dataset needs the package minari, which is not installed; "
            "run: pip install 'dfplan[minari]'"
        )


def read_minari(source: str | Path, *, follow_links: bool = False) -> Recording:
    """Read a dataset of Minari's, in its hdf5 format.

    What :func:`write_minari` wrote comes back as it was, but for ``source``. Otherwise:

    * ``goals`` are ``desired_goal``, or else ``infos/goal`` where the first episode has it with two
      numbers an observation, as stored, row by row of the observations;
    * ``terminals`` and ``timeouts`` are ``terminations`` and ``truncations``;
    * ``rewards``, ``terminals`` and ``timeouts`` are None where the first episode has none;
    * an episode with no more observations than actions has no bare end;
    * ``maze`` is told from the environment in ``metadata.json``, where that is gymnasium-robotics'
      PointMaze (a suite's maze of the same walls, or else its rows), dfplan's, or OGBench's.

    Args:
        source: the dataset's id, such as ``D4RL/pointmaze/large-v2``; its folder; the folder
            ``data`` in that; or ``main_data.hdf5`` itself. An id is looked up where Minari keeps
            its datasets (``MINARI_DATASETS_PATH``, or ``~/.minari/datasets``), and downloaded by
            Minari where it is not there.
        follow_links: as in :func:`~dfplan.data.formats.d4rl.read_d4rl`.

    Returns:
        The episodes in the order of their numbers.

    Raises:
        DataError: no such dataset, and none could be fetched; another format than hdf5; not
            hdf5, or cut short; a field missing or of the wrong shape; an episode without an
            observation; observations of other than 2 or 4 numbers; values in files that are missing
            or elsewhere.
    """
    path = _located(source)
    folders = [path.absolute().parent]
    folders += [folder.parent for folder in folders if folder.name == "data"]
    for folder in folders:
        verify(path, folder)
    metadata = _metadata(path.parent)
    with open_hdf5(path, follow_links) as file:
        names = _episode_names(file)
        layout = _layout(file, names[0])
        survey = _survey(file, names, layout, follow_links)
        arrays = _filled(file, names, layout, survey)
        marks = _marks(file)
        if marks is not None:
            _undo(file, names, survey, arrays)
        environment = metadata.get("env_spec", read_text(file, "env_spec"))
    bare = survey.rows > survey.steps
    if marks is None:
        maze = _maze_of(environment)
    else:
        maze = marks["maze"]
        bare = arrays.pop("bare")
        arrays.update(dict.fromkeys(marks["absent"]))
    return Recording(
        observations=arrays["observations"],
        actions=arrays["actions"],
        episodes=survey.first,
        source=_source(path, metadata),
        rewards=arrays.get("rewards"),
        goals=arrays.get("goals"),
        terminals=arrays.get("terminals"),
        timeouts=arrays.get("timeouts"),
        bare_ends=bare if bare.any() else None,
        maze=maze,
    )


def write_minari(
    recording: Recording, folder: str | Path, *, dataset_id: str | None = None
) -> Path:
    """Write a dataset that Minari loads, and from which it recovers the environment.

    In gymnasium-robotics' frame the observations are a dictionary, with ``desired_goal`` where
    goals are known; in any other they are one array, and goals are ``infos/goal``. The
    environment is the suite's (PointMaze, ``dfplan/maze2d-*``, OGBench's ``pointmaze-*``), none
    where no maze is known or where OGBench has no such maze. It is a task that goes on when the
    goal is reached, unless a terminal is marked.

    Minari's layout has no place for the action, reward, terminal and timeout of an episode's last
    row, and no word for a field that is absent; these are kept in attributes, so that
    :func:`read_minari` gives them back. Rewards that are absent are written as zeros. An episode
    that does not end otherwise ends in a truncation, which reading takes back too.

    Args:
        recording: what to write.
        folder: the dataset's folder, which appears only once it is whole.
        dataset_id: Minari's id for it, ending in a version; by default the folder's path below
            the place where Minari keeps its datasets, or elsewhere its name, with ``-v0`` after
            one that has no version.

    Returns:
        The folder.

    Raises:
        ConfigError: there is something at ``folder`` already, or the id is none of Minari's.
        DataError: the recording has no rows, or an episode has none.
        MazeError: the recording's maze is not one.
        MissingMinariError: Minari is not installed.
        OSError: the folder cannot be written.
    """
    folder = expanded(folder)
    name = _checked_id(folder, dataset_id)
    if folder.exists():
        raise ConfigError(f"{folder} is there already; remove it, or name another folder.")
    bounds = _bounds(recording)
    maze = None if recording.maze is None else parse_maze(recording.maze)
    nested = maze is not None and maze.suite is GYMNASIUM
    try:
        from minari import __version__ as minari_version
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise MissingMinariError from error
    # Absolute, since Minari puts a relative path before names that have it already.
    with replacing(folder.absolute(), atomic_folder) as temporary:
        data = temporary / "data"
        storage = MinariStorage.new(
            data,
            observation_space=_observation_space(recording, nested),
            action_space=gymnasium.spaces.Box(-1.0, 1.0, (2,), recording.actions.dtype.type),
            env_spec=None if maze is None else _environment(maze, recording),
            data_format="hdf5",
        )
        with Sink(data / MINARI_FILE) as sink:
            try:
                with h5py.File(sink, "w") as file:
                    _write_episodes(file, recording, bounds, nested, sink)
            except Exception:  # HDF5 makes various things of a write that failed
                if sink.failure is None:
                    raise
            if sink.failure is not None:
                raise sink.failure
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


def _root() -> Path:
    """Where Minari keeps its datasets (``minari/storage/datasets_root_dir.py``)."""
    return expanded(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets")


def _located(source: str | Path) -> Path:
    """The dataset's ``main_data.hdf5``; downloads it if need be."""
    path = expanded(source)
    if os.path.isdir(path):
        return _main_file(path)
    if os.path.exists(path):
        return path
    if not _ID.fullmatch(path.as_posix()):
        raise DataError(
            f"There is no Minari dataset at {path}. Pass its folder, the hdf5 file in it, or the "
            "dataset's id, such as D4RL/pointmaze/large-v2."
        )
    folder = _root() / path
    if not (folder / "data").is_dir():
        _download(path.as_posix())
    return _main_file(folder)


def _main_file(folder: Path) -> Path:
    for data in (folder, folder / "data"):
        _metadata(data)  # in another format there is no such file to miss
        if os.path.exists(data / MINARI_FILE):
            return data / MINARI_FILE
    below = _local_ids(folder)
    hint = f"; it holds the datasets {', '.join(below)}" if below else ""
    raise DataError(
        f"{folder} is not a Minari dataset: neither it nor its folder data holds "
        f"{MINARI_FILE}{hint}. If it was downloaded, delete it and fetch it again."
    )


def local_datasets() -> dict[str, Path]:
    """Folders of the datasets in Minari's local cache, by id."""
    root = _root()
    return {name: root / name for name in _local_ids(root)} if root.is_dir() else {}


def _local_ids(root: Path) -> list[str]:
    """Ids of the datasets below ``root``, sorted."""
    found = []
    for folder, names, _ in os.walk(root):  # passes over folders that may not be read
        for name in list(names):
            path = Path(folder, name)
            if os.path.isdir(path / "data"):
                found.append(path.relative_to(root).as_posix())
                names.remove(name)
            elif name.startswith("."):
                names.remove(name)
    return sorted(found)


def _download(name: str) -> None:
    try:
        import minari

        minari.download_dataset(name)
    except Exception as error:  # whatever the network, the hub and its client raise
        root = _root()
        known = {*PUBLISHED, *(_local_ids(root) if root.is_dir() else ())} - {name}
        close = get_close_matches(name, sorted(known), n=1)
        nearest = f" (the nearest known is {close[0]!r})" if close else ""
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"There is no Minari dataset {name!r} in {root}{nearest}, and it could not be "
            f"downloaded: {why[0].rstrip('.')}. Pass the folder of a copy; or check the name and "
            "the network, and run pip install 'minari[hdf5,hf]'; or collect data yourself: "
            "`dfplan data generate`."
        ) from error


def _metadata(data: Path) -> dict[str, Any]:
    """What ``metadata.json`` says; nothing where there is none."""
    path = data / _METADATA
    if not os.path.isfile(path):
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON or cannot be read ({error}); fetch the dataset again."
        ) from error
    if not isinstance(metadata, dict):
        raise DataError(f"{path} must hold a JSON object; got {type(metadata).__name__}.")
    form = metadata.get("data_format", "hdf5")
    if form != "hdf5":
        raise DataError(
            f"{data} is in Minari's format {form!r}; expected 'hdf5'. Convert it with Minari: "
            f"old = minari.MinariDataset({str(data)!r}); "
            "minari.dataset.minari_storage.MinariStorage.new('new', old.observation_space, "
            "old.action_space, old.env_spec, 'hdf5').update_from_storage(old.storage); "
            "and pass the folder 'new'."
        )
    return metadata


def _source(path: Path, metadata: dict[str, Any]) -> str:
    """The dataset's id, or else the name of its folder."""
    folder = path.resolve().parent
    return str(
        metadata.get("dataset_id") or (folder if folder.name != "data" else folder.parent).name
    )


def _episode_names(file: h5py.File) -> list[str]:
    numbered = [(int(match[1]), name) for name in file if (match := _EPISODE.fullmatch(name))]
    if not numbered:
        found = ", ".join(sorted(file)[:8]) or "nothing"
        raise DataError(
            f"{file.filename} has no episodes; expected groups episode_0, episode_1 and so on, as "
            f"Minari writes them, and got {found}."
        )
    return [name for _, name in sorted(numbered)]


@dataclass(frozen=True)
class _Field:
    """Where episodes keep one field of a Recording.

    Attributes:
        place: path in the episode's group.
        width: numbers a row; None for one that is not in a list.
        of_rows: whether it has a row for each observation, and not for each action.
        flag: whether it is kept as bool.
    """

    place: str
    width: int | None
    of_rows: bool = False
    flag: bool = False


def _layout(file: h5py.File, name: str) -> dict[str, _Field]:
    """The fields by name, as the first episode has them."""
    group = file[name]
    if not isinstance(group, h5py.Group):
        raise DataError(f"{file.filename}: {name} must be a group, as Minari writes it.")
    nested = isinstance(group.get("observations"), h5py.Group)
    place = "observations/observation" if nested else "observations"
    shape = _shape(group, place)
    if len(shape) != 2 or shape[1] not in (2, 4):
        raise DataError(
            f"{file.filename}: {place} must be [T, 2] (position) or [T, 4] (position, velocity) "
            f"in each episode; {name} has {_listed(shape, group)}."
        )
    layout = {
        "observations": _Field(place, shape[1], of_rows=True),
        "actions": _Field("actions", 2),
    }
    if "rewards" in group:
        layout["rewards"] = _Field("rewards", None)
    for field, place in (("terminals", "terminations"), ("timeouts", "truncations")):
        if place in group:
            layout[field] = _Field(place, None, flag=True)
    if "observations/desired_goal" in group:
        layout["goals"] = _Field("observations/desired_goal", 2, of_rows=True)
    elif _shape(group, "infos/goal") == (shape[0], 2):
        layout["goals"] = _Field("infos/goal", 2, of_rows=True)
    return layout


def _shape(group: h5py.Group, place: str) -> tuple[int, ...]:
    item = group.get(place)
    return tuple(item.shape) if isinstance(item, h5py.Dataset) else ()


def _listed(shape: tuple[int, ...], group: h5py.Group) -> str:
    if shape:
        return str(list(shape))
    found: list[str] = []
    group.visititems(lambda key, item: found.append(key) if hasattr(item, "dtype") else None)
    return f"no such array among {', '.join(sorted(found)) or 'none'}"


@dataclass(frozen=True)
class _Survey(Record):
    """Sizes of the episodes, int64 [E], and the number type of each field.

    Attributes:
        rows: observations of each episode.
        steps: actions of each episode.
        dtypes: number type by field.
    """

    rows: np.ndarray
    steps: np.ndarray
    dtypes: dict[str, np.dtype[Any]]

    @property
    def first(self) -> np.ndarray:
        """First row of each episode, int64 [E]."""
        return np.concatenate([[0], np.cumsum(self.rows)[:-1]]).astype(np.int64)


def _survey(
    file: h5py.File, names: Sequence[str], layout: dict[str, _Field], follow_links: bool
) -> _Survey:
    """Look at every array of every episode, but not into it."""
    rows, steps = np.zeros((2, len(names)), np.int64)
    dtypes: dict[str, np.dtype[Any]] = {
        field: np.dtype(bool if spec.flag else np.float32) for field, spec in layout.items()
    }
    for index, name in enumerate(names):
        shapes = {}
        for field, dataset in _datasets(file, name, layout).items():
            require_sources(dataset, follow_links)
            shapes[field], dtype = dataset.shape, dataset.dtype
            if dtype.kind not in "fiub":
                raise DataError(
                    f"{file.filename}: {name}/{layout[field].place} must hold numbers; got {dtype}."
                )
            kept = kept_type(dtype, flags=layout[field].flag)
            dtypes[field] = np.promote_types(dtypes[field], kept)
        rows[index], steps[index] = (
            (shapes[field] or (0,))[0] for field in ("observations", "actions")
        )
        if rows[index] == 0:
            raise DataError(f"{file.filename}: {name} has no observation; leave it out.")
        if rows[index] - steps[index] not in (0, 1):
            raise DataError(
                f"{file.filename}: {name} has {rows[index]} observations and {steps[index]} "
                "actions; expected as many, or one observation more."
            )
        for field, spec in layout.items():
            tail = () if spec.width is None else (spec.width,)
            wanted = (int(rows[index] if spec.of_rows else steps[index]), *tail)
            if shapes[field] != wanted:
                raise DataError(
                    f"{file.filename}: {name}/{spec.place} must have shape {list(wanted)}; got "
                    f"{list(shapes[field])}."
                )
    return _Survey(rows, steps, dtypes)


def _filled(
    file: h5py.File, names: Sequence[str], layout: dict[str, _Field], survey: _Survey
) -> dict[str, np.ndarray]:
    """The fields by name, [N] or [N, width]; zeros where an observation has no step."""
    count = int(survey.rows.sum())
    arrays = {
        field: allocate((count,) if spec.width is None else (count, spec.width), dtype)
        for (field, spec), dtype in zip(layout.items(), survey.dtypes.values(), strict=True)
    }
    ranges = zip(names, survey.first.tolist(), survey.rows, survey.steps, strict=True)
    for name, first, rows, steps in ranges:
        for field, dataset in _datasets(file, name, layout).items():
            length = rows if layout[field].of_rows else steps
            part = arrays[field][first : first + length]
            if layout[field].flag and dataset.dtype != np.bool_:
                stored = np.empty(dataset.shape, dataset.dtype)
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, stored)
                if stored.dtype.kind == "f" and np.isnan(stored).any():
                    raise DataError(
                        f"{file.filename}: {name}/{layout[field].place} must say yes or no; it has "
                        "NaN."
                    )
                part[...] = stored != 0
            elif length:
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, part)
            arrays[field][first + length : first + rows] = 0
    return arrays


def _datasets(
    file: h5py.File, name: str, layout: dict[str, _Field]
) -> dict[str, h5py.h5d.DatasetID]:
    """The fields of one episode, opened.

    By HDF5's own functions: what ``file[name]`` adds to them takes most of the time where episodes
    are many and short.
    """
    try:
        group = h5py.h5g.open(file.id, name.encode())
        opened = {
            field: h5py.h5d.open(group, spec.place.encode()) for field, spec in layout.items()
        }
    except (KeyError, ValueError) as error:  # nothing by that name; a group in an array's place
        expected = ", ".join(spec.place for spec in layout.values())
        raise DataError(
            f"{file.filename}: {name} must hold the arrays that the first episode has: {expected} "
            f"({error.args[0]})."
        ) from error
    return opened


def _marks(file: h5py.File) -> dict[str, Any] | None:
    """What :func:`write_minari` noted down, or None for another's file."""
    noted = read_text(file, _MARKS)
    if noted is None:
        return None
    marks: dict[str, Any] = json.loads(noted)
    absent, maze = marks["absent"], marks["maze"]
    if not set(absent) <= set(_MAY_BE_ABSENT) or not isinstance(maze, str | None):
        raise DataError(f"{file.filename}: the attribute {_MARKS} is damaged; got {noted!r}.")
    if maze is not None:
        parse_maze(maze)
    return marks


def _undo(
    file: h5py.File, names: Sequence[str], survey: _Survey, arrays: dict[str, np.ndarray]
) -> None:
    """Take back what :func:`write_minari` had to change; note in ``bare`` which ends are bare."""
    bare = np.ones(len(names), bool)
    ends = survey.first + survey.rows
    for index, name in enumerate(names):
        group = h5py.h5g.open(file.id, name.encode())
        if h5py.h5a.exists(group, _ADDED_TRUNCATION.encode()):
            arrays["timeouts"][ends[index] - 2] = False
        if h5py.h5a.exists(group, _LAST_ROW.encode()):
            row = np.empty(6)
            h5py.h5a.open(group, _LAST_ROW.encode()).read(row)
            for field, value in zip(_STEP_FIELDS, (row[:2], *row[2:5]), strict=True):
                arrays[field][ends[index] - 1] = value
            bare[index] = row[5]
    arrays["bare"] = bare


_STEP_FIELDS = ("actions", "rewards", "terminals", "timeouts")


def _maze_of(environment: object) -> str | None:
    """The maze as text, where Minari's ``env_spec`` (JSON) tells a suite's; else None."""
    try:
        spec = json.loads(environment) if isinstance(environment, str) else {}
        name, arguments = str(spec.get("id", "")), dict(spec.get("kwargs") or {})
        for adapter in ADAPTERS.values():
            maze = adapter.recorded_maze(name, arguments)
            if maze is not None:
                return maze.text
    # ValueError: MazeError and ConfigError among others.
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    return None


def _checked_id(folder: Path, dataset_id: str | None) -> str:
    name, place, root = dataset_id, folder.resolve(), _root().resolve()
    if name is None and place.is_relative_to(root):
        name = place.relative_to(root).as_posix()  # it has to be: Minari finds it by that
    elif name is None:
        name = _UNFIT.sub("-", place.name)
        name = name if _ID.fullmatch(name) else f"{name}-v0"
    if not _ID.fullmatch(name):
        raise ConfigError(
            "A Minari dataset's id must be letters, digits, '-' and '_', with '/' between names, "
            f"and end in a version, such as 'maze/large-v0'; got {name!r}. Name the folder so, or "
            "pass another dataset_id."
        )
    return name


def _bounds(recording: Recording) -> list[tuple[int, int]]:
    """First and one-past-last row of each episode."""
    edges = np.append(recording.episodes, len(recording))
    if len(edges) < 2 or edges[0] != 0 or (np.diff(edges) < 1).any():
        raise DataError(
            f"{recording.source}: every episode must have a row, from row 0 upwards, to be "
            f"written; got {len(recording)} rows and episodes from {edges[:-1][:8].tolist()}."
        )
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _absent(recording: Recording) -> list[str]:
    return [field for field in _MAY_BE_ABSENT if getattr(recording, field) is None]


def _observation_space(recording: Recording, nested: bool) -> gymnasium.Space[Any]:
    observation = _unbounded(recording.observations)
    if not nested:
        return observation
    spaces = {"achieved_goal": _unbounded(recording.observations[:, :2])}
    if recording.goals is not None:
        spaces["desired_goal"] = _unbounded(recording.goals)
    return gymnasium.spaces.Dict({"observation": observation, **spaces})


def _unbounded(rows: np.ndarray) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, rows.shape[1:], rows.dtype.type)


def _environment(maze: Maze, recording: Recording) -> Any:
    """What Minari recovers the environment from; None where there is none for the maze."""
    continuing = recording.terminals is None or not recording.terminals.any()
    return ADAPTERS[maze.suite].recorded_spec(maze, continuing=continuing)


def _write_episodes(
    file: h5py.File,
    recording: Recording,
    bounds: Sequence[tuple[int, int]],
    nested: bool,
    sink: Sink,
) -> None:
    file.attrs[_MARKS] = json.dumps({"absent": _absent(recording), "maze": recording.maze})
    for index, (first, end) in enumerate(bounds):
        bare = recording.bare_ends is not None and bool(recording.bare_ends[index])
        group = file.create_group(f"episode_{index}")
        group.attrs["id"] = index
        group.attrs["total_steps"] = end - first - 1
        _write_episode(group, recording, first, end, bare, nested)
        if sink.failure is not None:
            return


def _write_episode(
    group: h5py.Group, recording: Recording, first: int, end: int, bare: bool, nested: bool
) -> None:
    """Fill one episode's group with rows ``first`` to ``end``, the last of them an observation."""
    last = end - 1
    steps = slice(first, last)
    rows = np.ascontiguousarray(recording.observations[first:end])
    goals = None if recording.goals is None else recording.goals[first:end]
    if nested:
        group["observations/observation"] = rows
        group["observations/achieved_goal"] = rows[:, :2]
    else:
        group["observations"] = rows
    if goals is not None:
        group["observations/desired_goal" if nested else "infos/goal"] = goals
    zeros = np.zeros(last - first)
    terminals, timeouts = (
        zeros.astype(bool) if marks is None else np.array(marks[steps], bool)
        for marks in (recording.terminals, recording.timeouts)
    )
    if len(zeros) and not (terminals[-1] or timeouts[-1]):
        timeouts[-1] = True
        group.attrs[_ADDED_TRUNCATION] = True
    group["actions"] = recording.actions[steps]
    group["rewards"] = zeros if recording.rewards is None else recording.rewards[steps]
    group["terminations"] = terminals
    group["truncations"] = timeouts
    group.require_group("infos")  # without it Minari cannot show an episode
    fields = (getattr(recording, field) for field in _STEP_FIELDS)
    parts = [0.0 if values is None else values[last] for values in fields]
    row = np.hstack([*parts, bare]).astype(float)
    if row[:5].any() or not bare:
        group.attrs[_LAST_ROW] = row
