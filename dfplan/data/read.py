"""Reading and writing recordings in whichever layout they are."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

import h5py

from dfplan.data.arrays import FIELDS, read_arrays
from dfplan.data.d4rl import read_d4rl, write_d4rl
from dfplan.data.download import D4RL, PUBLISHED, download
from dfplan.data.ogbench import read_ogbench, write_ogbench
from dfplan.data.segments import segmented
from dfplan.data.storage import npz_arrays, open_hdf5
from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.types import Recording, Trajectories

LAYOUTS = ("d4rl", "minari", "ogbench", "arrays")
"""Layouts that :func:`read` knows; :func:`write` knows all but the last."""

_ENDINGS = {".hdf5": "d4rl", ".h5": "d4rl", ".npz": "ogbench", "": "minari"}
_MINARI_FILE = "main_data.hdf5"
_MINARI_ID = re.compile(r"([\w-]+/)*[\w-]+-v\d+")
_NEAR = 0.9  # likeness from which on an unknown name is a published one mistyped


def read(
    source: str | Path, *, layout: str | None = None, keys: Mapping[str, str] | None = None
) -> Recording:
    """Read a data set of any layout.

    Args:
        source: a file; a Minari data set's folder; or the name of a published data set: one that
            :func:`~dfplan.data.download.download` knows, which is fetched unless it is there, or a
            Minari id.
        layout: ``d4rl``, ``minari``, ``ogbench`` or ``arrays``; by default as the file looks.
        keys: names of the arrays in a file of bare arrays; see
            :func:`~dfplan.data.arrays.read_arrays`.

    Raises:
        ConfigError: an unknown layout or name; a file of bare arrays without ``keys``, or ``keys``
            for another layout.
        DataError: no such file; of no known layout; or see the reader of its layout.
    """
    layout = "arrays" if layout is None and keys is not None else layout
    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if (layout == "arrays") != (keys is not None):
        raise ConfigError(
            "keys names the arrays of a file of layout 'arrays', and it alone; got layout "
            f"{layout!r} and keys {keys!r}. {_how_to_name_arrays(source)}"
        )
    if not Path(source).exists() and isinstance(source, str):
        if source in PUBLISHED and layout != "minari":
            path = download(source)
            return read_d4rl(path) if PUBLISHED[source] is D4RL else read_ogbench(path)
        if layout is None and _MINARI_ID.fullmatch(source):
            if get_close_matches(source, PUBLISHED, n=1, cutoff=_NEAR):
                raise unknown_name("data set", source, PUBLISHED)
            layout = "minari"
    layout = layout or _layout(Path(source))
    if layout == "minari":
        from dfplan.data.minari import read_minari

        return read_minari(source)
    if keys is not None:
        return read_arrays(source, keys)
    return read_d4rl(source) if layout == "d4rl" else read_ogbench(source)


def load_data(
    source: str | Path,
    *,
    layout: str | None = None,
    keys: Mapping[str, str] | None = None,
    segment_by: str = "none",
) -> Trajectories:
    """Read a data set to train on: :func:`read`, then :func:`~dfplan.data.segments.segmented`."""
    return segmented(read(source, layout=layout, keys=keys), segment_by)


def write(recording: Recording, path: str | Path, layout: str | None = None) -> Path:
    """Write a recording; reading it back gives the same again.

    Args:
        recording: what to write.
        path: the file, or Minari's folder, which appears only once it is whole.
        layout: ``d4rl``, ``minari`` or ``ogbench``; by default by the ending of ``path``:
            ``.hdf5`` or ``.h5``, none, or ``.npz``.

    Returns:
        The path that was written.

    Raises:
        ConfigError: an unknown layout or ending.
        OSError: the file cannot be written, as on a full disk.
    """
    if layout is None:
        ending = Path(path).suffix
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
        from dfplan.data.minari import write_minari

        return write_minari(recording, path)
    raise unknown_name("layout to write", layout, set(_ENDINGS.values()))


def _layout(path: Path) -> str:
    """The layout that a folder or file looks to have."""
    if path.is_dir() or path.name == _MINARI_FILE:
        return "minari"
    if not path.is_file():
        raise DataError(
            f"There is no data at {path}: no file, no folder, and it is not the name of a "
            "published data set (such as maze2d-large-v1, pointmaze-giant-navigate-v0 or "
            "D4RL/pointmaze/large-v2). Check it, or make data: `dfplan data generate`."
        )
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
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
