"""Where Minari's data sets are, and the names in their files.

A data set is a folder with ``data/main_data.hdf5``, which has a group for each episode
(``episode_0``, ...), and ``data/metadata.json``. Minari is imported only to download one.
"""

from __future__ import annotations

import json
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dfplan.errors import DataError
from dfplan.files import expand_path

MINARI_FILE = "main_data.hdf5"
"""Name of the file that contains the episodes."""

ID = re.compile(r"(?:[-\w][-\w/]*/)?[-\w]+-v\d+")
"""Ids of data sets, as Minari accepts them."""

PUBLISHED = tuple(
    f"D4RL/pointmaze/{maze}{dense}-v2"
    for maze in ("open", "umaze", "medium", "large")
    for dense in ("", "-dense")
)
"""Ids of the point mazes that Minari publishes."""

MARKS = "dfplan"
"""Attribute of the file, JSON: what Minari's format has no place for. ``absent`` lists the fields
that the recording does not have; ``maze`` is the maze as text."""

OPTIONAL_FIELDS = ("rewards", "goals", "terminals", "timeouts")
"""Fields of a recording that may be ``absent``."""

LAYOUT = "dfplan_observation_layout"
"""Attribute of the file: the columns of position and velocity, unless they are the usual ones."""

LAST_ROW = "dfplan_last_row"
"""Attribute of an episode whose last row is more than an observation: action, reward, terminal and
timeout of that row, and whether it is only a final observation; float64 [A + 4]."""

STEP_FIELDS = ("actions", "rewards", "terminals", "timeouts")
"""The fields in :data:`LAST_ROW`."""

ADDED_TRUNCATION = "dfplan_added_truncation"
"""Attribute of an episode whose last truncation was not recorded, but is required by Minari."""

_METADATA = "metadata.json"


def root_folder() -> Path:
    """The folder of Minari's local data sets (``minari/storage/datasets_root_dir.py``)."""
    return expand_path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets")


def is_dataset(folder: Path) -> bool:
    """Whether ``folder`` is a data set, or the folder ``data`` of one."""
    return any((data / MINARI_FILE).is_file() for data in (folder, folder / "data"))


def local_datasets() -> dict[str, Path]:
    """The folders of the local data sets, by id."""
    root = root_folder()
    return {name: root / name for name in _ids_below(root)} if root.is_dir() else {}


def locate(source: str | Path) -> Path:
    """Return the path of a data set's ``main_data.hdf5``, after a download if necessary.

    Args:
        source: the file itself, the folder of the data set, its folder ``data``, or an id.

    Raises:
        DataError: there is no such data set, it cannot be downloaded, or its format is not hdf5.
    """
    path = expand_path(source)
    if os.path.isdir(path):
        return _main_file(path)
    if os.path.exists(path):
        return path
    if not ID.fullmatch(path.as_posix()):
        raise DataError(
            f"There is no Minari data set at {path}. Pass its folder, the hdf5 file in it, or its "
            "id, such as D4RL/pointmaze/large-v2."
        )
    folder = root_folder() / path
    if not (folder / "data").is_dir():
        _download(path.as_posix())
    return _main_file(folder)


def read_metadata(data: Path) -> dict[str, Any]:
    """Read ``metadata.json`` in a folder ``data``; empty if there is no such file.

    Raises :class:`DataError` if it is not a JSON object, or the data set is not in the hdf5 format.
    """
    path = data / _METADATA
    if not os.path.isfile(path):
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not JSON or cannot be read ({error}). Fetch the data set again."
        ) from error
    if not isinstance(metadata, dict):
        raise DataError(f"{path} must contain a JSON object; got {type(metadata).__name__}.")
    data_format = metadata.get("data_format", "hdf5")
    if data_format != "hdf5":
        raise DataError(
            f"{data} is in Minari's format {data_format!r}; expected 'hdf5'. Convert it with "
            f"Minari: old = minari.MinariDataset({str(data)!r}); "
            "minari.dataset.minari_storage.MinariStorage.new('new', old.observation_space, "
            "old.action_space, old.env_spec, 'hdf5').update_from_storage(old.storage); "
            "and pass the folder 'new'."
        )
    return metadata


def source_name(path: Path, metadata: dict[str, Any]) -> str:
    """The id of a data set, or else the name of its folder."""
    folder = path.resolve().parent
    return str(
        metadata.get("dataset_id") or (folder if folder.name != "data" else folder.parent).name
    )


def _main_file(folder: Path) -> Path:
    for data in (folder, folder / "data"):
        read_metadata(data)  # first, because a data set of another format has no such file
        if os.path.exists(data / MINARI_FILE):
            return data / MINARI_FILE
    below = _ids_below(folder)
    hint = f"; it contains the data sets {', '.join(below)}" if below else ""
    raise DataError(
        f"{folder} is not a Minari data set: neither it nor its folder data contains "
        f"{MINARI_FILE}{hint}. If it was downloaded, delete it and fetch it again."
    )


def _ids_below(root: Path) -> list[str]:
    """The ids of the data sets below ``root``, sorted."""
    ids = []
    for folder, names, _ in os.walk(root):  # skips folders without read permission
        for name in list(names):
            path = Path(folder, name)
            if os.path.isdir(path / "data"):
                ids.append(path.relative_to(root).as_posix())
                names.remove(name)
            elif name.startswith("."):
                names.remove(name)
    return sorted(ids)


def _download(name: str) -> None:
    try:
        import minari

        minari.download_dataset(name)
    except Exception as error:  # the network, the hub and its client raise many types
        known = {*PUBLISHED, *local_datasets()} - {name}
        close = get_close_matches(name, sorted(known), n=1)
        nearest = f" (the closest known id is {close[0]!r})" if close else ""
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"There is no Minari data set {name!r} in {root_folder()}{nearest}, and the download "
            f"failed: {why[0].rstrip('.')}. Check the id and the network, and run pip install "
            "'minari[hdf5,hf]'. Or pass the folder of a copy, or collect data yourself: "
            "`dfplan data generate`."
        ) from error
