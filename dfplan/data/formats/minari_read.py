"""Reads Minari's data sets, without Minari and without an environment.

An episode of T steps has T + 1 observations. The final observation becomes a row without an
action. The observations are one array, or a dictionary as in gymnasium-robotics (``observation``,
``achieved_goal``, ``desired_goal``). There, the observation of an ant has no position; it becomes
``achieved_goal``, which is the position, followed by ``observation``. Coordinates and units are
those of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dfplan.data.formats.fields import ACTION, GOAL, OBSERVATION, read_layout
from dfplan.data.formats.minari_files import (
    ADDED_TRUNCATION,
    LAST_ROW,
    LAYOUT,
    MARKS,
    OPTIONAL_FIELDS,
    STEP_FIELDS,
    locate,
    read_metadata,
    source_name,
)
from dfplan.data.hdf5 import list_datasets, open_hdf5, read_text
from dfplan.data.links import require_sources
from dfplan.data.sha256 import verify
from dfplan.data.storage import allocate, row_blocks, target_dtype
from dfplan.errors import DataError
from dfplan.mazes import parse_maze
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.record import Record
from dfplan.types import Recording

_EPISODE = re.compile(r"episode_(\d+)")
_ACHIEVED = "achieved_goal"


def read_minari(
    path: str | Path, *, follow_links: bool = False, position: Sequence[int] | None = None
) -> Recording:
    """Read a data set in Minari's hdf5 format, with episodes in the order of their numbers.

    A data set of :func:`~dfplan.data.formats.minari_write.write_minari` gives the same recording
    again, except for ``source``. For others:

    * ``goals`` are ``desired_goal``, or ``infos/goal`` if the first episode has it with two numbers
      for each observation;
    * ``terminals`` and ``timeouts`` are ``terminations`` and ``truncations``;
    * ``rewards``, ``terminals`` and ``timeouts`` are None if the first episode has none;
    * an episode with as many observations as actions has no final observation;
    * ``maze`` is that of the environment in ``metadata.json``, if a suite of dfplan knows it.

    Args:
        path: the folder of the data set; its folder ``data``; the file ``main_data.hdf5``; or the
            id of the data set, such as ``D4RL/pointmaze/large-v2``. An id is looked up in Minari's
            local folder (``MINARI_DATASETS_PATH``, or ``~/.minari/datasets``). Minari downloads the
            data set if it is not there.
        follow_links: whether the file may contain links to other files, and take values from files
            outside its folder; see :mod:`dfplan.data.links`.
        position: as for :func:`dfplan.data.read`.
            :func:`~dfplan.data.formats.minari_write.write_minari` stores it.

    Raises:
        ConfigError: as :func:`~dfplan.observations.observation_layout`.
        DataError: there is no such data set, and the download failed; its format is not hdf5; the
            file is damaged; a field is missing or has the wrong shape; an episode has no
            observation; or a source of values is missing or refused.
    """
    path = locate(path)
    folders = [path.absolute().parent]
    folders += [folder.parent for folder in folders if folder.name == "data"]
    for folder in folders:
        verify(path, folder)
    metadata = read_metadata(path.parent)
    with open_hdf5(path, follow_links) as file:
        names = _episode_names(file)
        marks = _read_marks(file)
        fields = _find_fields(file, names[0])
        if marks is None and _lacks_position(file[names[0]], fields, follow_links):
            fields[_ACHIEVED] = _Field(f"observations/{_ACHIEVED}", GOAL[0], of_rows=True)
        layout = _layout(file, fields, position)
        sizes = _survey(file, names, fields, follow_links)
        arrays: dict[str, Any] = _read_arrays(file, names, fields, sizes)
        if marks is not None:
            _restore(file, names, sizes, arrays)
        environment = metadata.get("env_spec", read_text(file, "env_spec"))
    final = sizes.rows > sizes.steps
    if marks is None:
        maze = _maze_of(environment)
    else:
        maze = marks["maze"]
        final = arrays.pop("final")
        arrays.update(dict.fromkeys(marks["absent"]))
    return Recording(
        **arrays,
        episodes=sizes.first,
        source=source_name(path, metadata),
        final_observations=final if final.any() else None,
        maze=maze,
        layout=layout,
    )


def _episode_names(file: h5py.File) -> list[str]:
    numbered = [(int(match[1]), name) for name in file if (match := _EPISODE.fullmatch(name))]
    if not numbered:
        names = ", ".join(sorted(file)[:8]) or "nothing"
        raise DataError(
            f"{file.filename} has no episodes. Expected groups episode_0, episode_1 and so on, as "
            f"Minari writes them; got {names}."
        )
    return [name for _, name in sorted(numbered)]


@dataclass(frozen=True)
class _Field:
    """Where episodes have one field of a recording: the path in the episode's group.

    ``width`` counts the numbers in a row; None is a single number without a list. ``of_rows`` says
    whether there is a row for each observation, else for each action; ``flag`` whether it becomes
    bool.
    """

    place: str
    width: int | None
    of_rows: bool = False
    flag: bool = False


def _find_fields(file: h5py.File, name: str) -> dict[str, _Field]:
    """Return the recorded fields of the episode in the group ``name``, by name of the field."""
    group = file[name]
    if not isinstance(group, h5py.Group):
        raise DataError(f"{file.filename}: {name} must be a group, as Minari writes it.")
    nested = isinstance(group.get("observations"), h5py.Group)
    place = "observations/observation" if nested else "observations"
    rows, width = _require_rows(group, place, *OBSERVATION)
    fields = {
        "observations": _Field(place, width, of_rows=True),
        "actions": _Field("actions", _require_rows(group, "actions", *ACTION)[1]),
    }
    if "rewards" in group:
        fields["rewards"] = _Field("rewards", None)
    for field, place in (("terminals", "terminations"), ("timeouts", "truncations")):
        if place in group:
            fields[field] = _Field(place, None, flag=True)
    if "observations/desired_goal" in group:
        fields["goals"] = _Field("observations/desired_goal", *GOAL, of_rows=True)
    elif _shape(group, "infos/goal") == (rows, *GOAL):
        fields["goals"] = _Field("infos/goal", *GOAL, of_rows=True)
    return fields


def _lacks_position(group: h5py.Group, fields: dict[str, _Field], follow_links: bool) -> bool:
    """Whether no two columns of the observations in an episode are its achieved goal."""
    stored, place = fields["observations"], f"observations/{_ACHIEVED}"
    shape = _shape(group, stored.place)
    planar = stored.width in (PLANAR.width, len(PLANAR.position))
    if planar or _shape(group, place) != (shape[0], *GOAL):
        return False
    for name in (stored.place, place):
        require_sources(group[name].id, follow_links)
    rows, achieved = (np.asarray(group[name], np.float32) for name in (stored.place, place))
    return not all((rows == column[:, None]).all(0).any() for column in achieved.T)


def _layout(
    file: h5py.File, fields: dict[str, _Field], position: Sequence[int] | None
) -> ObservationLayout:
    """The columns of the observations; if the achieved goal is a field, it comes first."""
    width = fields["observations"].width or 0
    if _ACHIEVED in fields:
        width += len(PLANAR.position)
        position = PLANAR.position if position is None else position
    return read_layout(width, position, read_text(file, LAYOUT), str(file.filename))


def _require_rows(group: h5py.Group, place: str, letter: str) -> tuple[int, ...]:
    """The shape of an array in an episode's group, which must be a list of numbers in each row."""
    shape = _shape(group, place)
    if len(shape) != 2 or not shape[1]:
        arrays = ", ".join(list_datasets(group)) or "none"
        got = list(shape) if shape else f"no such array among {arrays}"
        raise DataError(
            f"{group.file.filename}: {place} must be [T, {letter}], a list of numbers in each row "
            f"of each episode; {group.name.strip('/')} has {got}."
        )
    return shape


def _shape(group: h5py.Group, place: str) -> tuple[int, ...]:
    item = group.get(place)
    return tuple(item.shape) if isinstance(item, h5py.Dataset) else ()


@dataclass(frozen=True)
class _Sizes(Record):
    """Observations and actions of each of E episodes, int64 [E], and the type of each field."""

    rows: np.ndarray
    steps: np.ndarray
    dtypes: dict[str, np.dtype[Any]]

    @property
    def first(self) -> np.ndarray:
        """First row of each episode, int64 [E]."""
        return np.concatenate([[0], np.cumsum(self.rows)[:-1]]).astype(np.int64)


def _survey(
    file: h5py.File, names: Sequence[str], fields: dict[str, _Field], follow_links: bool
) -> _Sizes:
    """Check the arrays of every episode, without their values."""
    rows, steps = np.zeros((2, len(names)), np.int64)
    dtypes: dict[str, np.dtype[Any]] = {
        name: np.dtype(bool if field.flag else np.float32) for name, field in fields.items()
    }
    for index, name in enumerate(names):
        episode, shapes = f"{file.filename}: {name}", {}
        for key, dataset in _open_datasets(file, name, fields).items():
            require_sources(dataset, follow_links)
            shapes[key], dtype = dataset.shape, dataset.dtype
            if dtype.kind not in "fiub":
                raise DataError(f"{episode}/{fields[key].place} must hold numbers; got {dtype}.")
            dtypes[key] = np.promote_types(dtypes[key], target_dtype(dtype, fields[key].flag))
        lengths = ((shapes[key] or (0,))[0] for key in ("observations", "actions"))
        rows[index], steps[index] = lengths
        if not rows[index]:
            raise DataError(f"{episode} has no observation; leave it out.")
        if rows[index] - steps[index] not in (0, 1):
            raise DataError(
                f"{episode} has {rows[index]} observations and {steps[index]} actions; expected as "
                "many, or one observation more."
            )
        for key, field in fields.items():
            tail = () if field.width is None else (field.width,)
            expected = (int((rows if field.of_rows else steps)[index]), *tail)
            if shapes[key] != expected:
                raise DataError(
                    f"{episode}/{field.place} must have shape {list(expected)}; got "
                    f"{list(shapes[key])}."
                )
    return _Sizes(rows, steps, dtypes)


def _read_arrays(
    file: h5py.File, names: Sequence[str], fields: dict[str, _Field], sizes: _Sizes
) -> dict[str, np.ndarray]:
    """Read the fields by name, [N] or [N, width]; zeros where an observation has no step."""
    count = int(sizes.rows.sum())
    arrays = {
        key: allocate((count,) if field.width is None else (count, field.width), sizes.dtypes[key])
        for key, field in fields.items()
    }
    ranges = zip(names, sizes.first.tolist(), sizes.rows, sizes.steps, strict=True)
    for name, first, rows, steps in ranges:
        for key, dataset in _open_datasets(file, name, fields).items():
            length = rows if fields[key].of_rows else steps
            part = arrays[key][first : first + length]
            if fields[key].flag and dataset.dtype != np.bool_:
                stored = np.empty(dataset.shape, dataset.dtype)
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, stored)
                if stored.dtype.kind == "f" and np.isnan(stored).any():
                    raise DataError(
                        f"{file.filename}: {name}/{fields[key].place} must hold flags; it has NaN."
                    )
                part[...] = stored != 0
            elif length:
                dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, part)
            arrays[key][first + length : first + rows] = 0
    if _ACHIEVED in arrays:
        arrays["observations"] = _joined(arrays.pop(_ACHIEVED), arrays["observations"])
    return arrays


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The columns of ``first`` and ``second``, side by side."""
    width = first.shape[1] + second.shape[1]
    both = allocate((len(first), width), np.promote_types(first.dtype, second.dtype))
    for rows in row_blocks(len(both), both[:1].nbytes):
        both[rows] = np.concatenate([first[rows], second[rows]], axis=1)
    return both


def _open_datasets(
    file: h5py.File, name: str, fields: dict[str, _Field]
) -> dict[str, h5py.h5d.DatasetID]:
    """Open the arrays of one episode, by h5py's low-level functions.

    ``file[name]`` would take most of the time if there are many short episodes.
    """
    try:
        group = h5py.h5g.open(file.id, name.encode())
        return {key: h5py.h5d.open(group, field.place.encode()) for key, field in fields.items()}
    except (KeyError, ValueError) as error:  # no such name; a group in place of an array
        expected = ", ".join(field.place for field in fields.values())
        raise DataError(
            f"{file.filename}: {name} must have the arrays of the first episode: {expected} "
            f"({error.args[0]})."
        ) from error


def _read_marks(file: h5py.File) -> dict[str, Any] | None:
    """Read what ``write_minari`` added to the file; None for other files."""
    if (text := read_text(file, MARKS)) is None:
        return None
    marks: dict[str, Any] = json.loads(text)
    absent, maze = marks["absent"], marks["maze"]
    if not set(absent) <= set(OPTIONAL_FIELDS) or not isinstance(maze, str | None):
        raise DataError(f"{file.filename}: the attribute {MARKS} is damaged; got {text!r}.")
    if maze is not None:
        parse_maze(maze)
    return marks


def _restore(
    file: h5py.File, names: Sequence[str], sizes: _Sizes, arrays: dict[str, np.ndarray]
) -> None:
    """Undo the changes of ``write_minari``; add ``final``, the final observations, to arrays."""
    final = np.ones(len(names), bool)
    ends = sizes.first + sizes.rows
    for index, name in enumerate(names):
        group = h5py.h5g.open(file.id, name.encode())
        if h5py.h5a.exists(group, ADDED_TRUNCATION.encode()):
            arrays["timeouts"][ends[index] - 2] = False
        if h5py.h5a.exists(group, LAST_ROW.encode()):
            width = arrays["actions"].shape[1]
            attribute, row = h5py.h5a.open(group, LAST_ROW.encode()), np.empty(width + 4)
            if attribute.shape != row.shape:
                raise DataError(
                    f"{file.filename}: the attribute {LAST_ROW} of {name} must have {len(row)} "
                    f"numbers; got shape {list(attribute.shape)}. Write the data set again."
                )
            attribute.read(row)
            action, rest, final[index] = row[:width], row[width:-1], row[-1]
            for field, value in zip(STEP_FIELDS, (action, *rest), strict=True):
                arrays[field][ends[index] - 1] = value
    arrays["final"] = final


def _maze_of(environment: object) -> str | None:
    """The maze in Minari's ``env_spec`` (JSON) as text; None if no suite knows it."""
    from dfplan.envs.make import ADAPTERS  # here, because Gymnasium is slow to import

    try:
        spec = json.loads(environment) if isinstance(environment, str) else {}
        name, arguments = str(spec.get("id", "")), dict(spec.get("kwargs") or {})
        for adapter in ADAPTERS.values():
            maze = adapter.maze_of_spec(name, arguments)
            if maze is not None:
                return maze.text
    # ValueError includes MazeError and ConfigError.
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    return None
