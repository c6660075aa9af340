"""Reading and writing recordings in whichever layout they are."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import h5py

from dfplan.data.checksums import MINARI_FILE
from dfplan.data.download import D4RL, PUBLISHED, download
from dfplan.data.formats.arrays import FIELDS, read_arrays
from dfplan.data.formats.d4rl import read_d4rl, write_d4rl
from dfplan.data.formats.ogbench import read_ogbench, write_ogbench
from dfplan.data.segments import segmented
from dfplan.data.storage import (
    mapped_files,
    npz_arrays,
    open_hdf5,
    require_file,
    require_unchanged,
)
from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.files import expanded
from dfplan.types import Recording, Trajectories

LAYOUTS = ("d4rl", "minari", "ogbench", "arrays")
"""Layouts that :func:`read` knows; :func:`write` knows all but the last."""

_ENDINGS = {".hdf5": "d4rl", ".h5": "d4rl", ".npz": "ogbench", "": "minari"}
_MINARI_ID = re.compile(r"([\w-]+/)*[\w-]+-v\d+")
_NEAR = 0.9  # likeness from which on an unknown name is a published one mistyped


def read(
    source: str | Path,
    *,
    layout: str | None = None,
    keys: Mapping[str, str] | None = None,
    follow_links: bool = False,
) -> Recording:
    """Read a data set of any layout.

    Files smaller than :data:`~dfplan.data.storage.LARGE` (256 MiB) are copied into memory. From
    larger ones arrays are mapped where they are not packed, and ``mapped`` names the files: they
    must stay as they are while the data is used. Training checks that, by
    :func:`~dfplan.data.storage.require_unchanged`. The data is compared with its checksum if there
    is one; see :func:`~dfplan.data.checksums.checksum`.

    Args:
        source: a file; a Minari data set's folder; or the name of a published data set: one that
            :func:`~dfplan.data.download.download` knows, which is fetched unless it is there, or a
            Minari id.
        layout: ``d4rl``, ``minari``, ``ogbench`` or ``arrays``; by default as the file looks.
        keys: names of the arrays in a file of bare arrays; see
            :func:`~dfplan.data.formats.arrays.read_arrays`.
        follow_links: whether an hdf5 file may hold links to other files, and take values from
            files outside of its own folder. Such a file can read any file that you can.

    Raises:
        ConfigError: an unknown layout or name; a file of bare arrays without ``keys``, or ``keys``
            for another layout.
        DataError: no such file; of no known layout; not what its checksum says; or see the reader
            of its layout.
    """
    recording = _read(source, layout, keys, follow_links)
    mapped = mapped_files(recording)
    return replace(recording, mapped=mapped) if mapped else recording


def _read(
    source: str | Path, layout: str | None, keys: Mapping[str, str] | None, follow_links: bool
) -> Recording:
    path = expanded(source)
    layout = "arrays" if layout is None and keys is not None else layout
    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if (layout == "arrays") != (keys is not None):
        raise ConfigError(
            "keys names the arrays of a file of layout 'arrays', and it alone; got layout "
            f"{layout!r} and keys {keys!r}. {_how_to_name_arrays(source)}"
        )
    if isinstance(source, str) and not os.path.exists(path):
        if source in PUBLISHED and layout != "minari":
            path = download(source)
            return read_d4rl(path) if PUBLISHED[source] is D4RL else read_ogbench(path)
        if layout is None and _MINARI_ID.fullmatch(source):
            if get_close_matches(source, PUBLISHED, n=1, cutoff=_NEAR):
                raise unknown_name("data set", source, PUBLISHED)
            layout = "minari"
    layout = layout or _layout(path, follow_links)
    if layout == "minari":
        from dfplan.data.formats.minari import read_minari

        return read_minari(path, follow_links=follow_links)
    if keys is not None:
        return read_arrays(path, keys, follow_links=follow_links)
    return read_d4rl(path, follow_links=follow_links) if layout == "d4rl" else read_ogbench(path)


def load_data(
    source: str | Path,
    *,
    layout: str | None = None,
    keys: Mapping[str, str] | None = None,
    segment_by: str = "none",
    follow_links: bool = False,
) -> Trajectories:
    """Read a data set to train on: :func:`read`, then :func:`~dfplan.data.segments.segmented`."""
    recording = read(source, layout=layout, keys=keys, follow_links=follow_links)
    trajectories = segmented(recording, segment_by)
    require_unchanged(recording.mapped)
    return trajectories


def write(recording: Recording, path: str | Path, layout: str | None = None) -> Path:
    """Write a recording; reading it back gives the same again.

    Args:
        recording: what to write.
        path: the file, or Minari's folder, which appears only once it is whole.
        layout: ``d4rl``, ``minari`` or ``ogbench``; by default by the ending of ``path``:
            ``.hdf5`` or ``.h5``, none, or ``.npz``. If data was there and had a checksum, that is
            renewed.

    Returns:
        The path that was written.

    Raises:
        ConfigError: an unknown layout or ending.
        OSError: the file cannot be written, as on a full disk.
    """
    path = expanded(path)
    if layout is None:
        ending = path.suffix
        if ending not in _ENDINGS:
            raise ConfigError(
                "The ending of a data file says its layout: .hdf5 or .h5 (D4RL), .npz (OGBench), "
                f"none (a Minari folder); got {str(path)!r}. Change it, or give the layout."
            )
        layout = _ENDINGS[ending]
    if layout == "d4rl":
        return write_d4rl(recording, path)
    if layout == "ogbench":
        return write_ogbench(recording, path)
    if layout == "minari":
        from dfplan.data.formats.minari import write_minari

        return write_minari(recording, path)
    raise unknown_name("layout to write", layout, set(_ENDINGS.values()))


def _layout(path: Path, follow_links: bool) -> str:
    """The layout that a folder or file looks to have."""
    if os.path.isdir(path) or path.name == MINARI_FILE:
        return "minari"
    if not os.path.exists(path):
        raise DataError(
            f"There is no data at {path}: no file, no folder, and it is not the name of a "
            "published data set (such as maze2d-large-v1, pointmaze-giant-navigate-v0 or "
            "D4RL/pointmaze/large-v2). Check it, or make data: `dfplan data generate`."
        )
    require_file(path)
    if h5py.is_hdf5(path):
        with open_hdf5(path, follow_links) as file:
            return "minari" if "episode_0" in file else "d4rl"
    if zipfile.is_zipfile(path) or path.suffix == ".npz":
        arrays = npz_arrays(path)
        if "terminals" in arrays and "observations" in arrays:
            return "ogbench"
        raise DataError(
            f"{path} has no arrays observations and terminals, as OGBench's files do; it has "
            f"{', '.join(sorted(arrays)) or 'none'}. {_how_to_name_arrays(path)}"
        )
    raise DataError(
        f"{path} is of no kind that is read: neither hdf5 (D4RL, Minari, collected here) nor npz "
        "(OGBench, bare arrays), and no folder (Minari). Arrays in memory go through from_arrays."
    )


def _how_to_name_arrays(source: str | Path) -> str:
    return (
        f"Say which array is which (of {', '.join(FIELDS)}, only the first must be there): "
        f"read({str(source)!r}, keys={{'observations': 'obs', 'ends': 'done'}})."
    )
