"""The format of Minari's data sets."""

from __future__ import annotations

from pathlib import Path

from dfplan.data.formats.format import Contents, Format
from dfplan.data.formats.minari_files import ID, MINARI_FILE, PUBLISHED, local_datasets
from dfplan.data.formats.minari_read import read_minari
from dfplan.data.formats.minari_write import write_minari


def _detect(contents: Contents) -> bool:
    if contents.is_folder or contents.path.name == MINARI_FILE:
        return True
    return contents.hdf5 is not None and "episode_0" in contents.hdf5


def _datasets() -> dict[str, Path | None]:
    return {**dict.fromkeys(PUBLISHED), **local_datasets()}


MINARI = Format(
    name="minari",
    title="Minari (a folder)",
    detect=_detect,
    read=read_minari,
    write=write_minari,
    endings=("",),
    datasets=_datasets,
    ids=ID,
)
"""Minari's format (``minari/dataset/_storages/hdf5_storage.py``)."""
