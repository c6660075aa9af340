"""Reads and writes recordings in any format of :mod:`dfplan.data.formats.registry`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from dfplan.data.anomalies import require_layout
from dfplan.data.download import download, publishers
from dfplan.data.formats.arrays import FIELDS, read_arrays
from dfplan.data.formats.fields import with_velocity
from dfplan.data.formats.format import Contents, Format
from dfplan.data.formats.registry import FORMATS
from dfplan.data.segments import segmented
from dfplan.data.storage import mapped_files, require_unchanged
from dfplan.errors import ConfigError, DataError, lookup, unknown_name
from dfplan.files import expand_path
from dfplan.types import Recording, Trajectories

_SIMILAR = 0.9  # from here on, an unknown name is a misspelled name of a published data set


def read(
    source: str | Path,
    *,
    format: str | None = None,
    keys: Mapping[str, str] | None = None,
    follow_links: bool = False,
    position: Sequence[int] | None = None,
    velocity: Sequence[int] | None = None,
) -> Recording:
    """Read a data set of any format.

    Files smaller than :data:`~dfplan.data.storage.LARGE` (256 MiB) are copied into memory. Arrays
    of larger files are mapped unless they are compressed, and ``mapped`` names their files. These
    must not change while the data is used; training checks that with
    :func:`~dfplan.data.storage.require_unchanged`. The data is compared with its checksum file if
    there is one; see :func:`~dfplan.data.checksums.checksum`.

    Args:
        source: a file; the folder of a Minari data set; the name of a published data set, which
            :func:`~dfplan.data.download.download` fetches if it is not here; or a Minari id.
        format: a name in :data:`~dfplan.data.formats.registry.FORMATS` (``d4rl``, ``minari``,
            ``ogbench``); default: detected from the contents.
        keys: names of the arrays in a file of bare arrays; see
            :func:`~dfplan.data.formats.arrays.read_arrays`.
        follow_links: whether an hdf5 file may contain links to other files, and take values from
            files outside its folder. Such a file can read every file that you can read.
        position: the two columns of an observation that are the position, counted from 0. It may
            be None for 2 numbers, a position; for 4, position and velocity; for Minari's ants; and
            for files of :func:`write`, which stores the columns.
        velocity: the two columns that are the velocity of this position. By default they are known
            for 4 numbers and for files of :func:`write`; ``()`` says that there are none.

    Raises:
        ConfigError: the format or name is unknown; a file of bare arrays needs ``keys``; or as
            :func:`~dfplan.observations.observation_layout` and
            :class:`~dfplan.observations.ObservationLayout`.
        DataError: there is no such file; its format is unknown; it does not match its checksum; or
            the reader of its format raises it.
    """
    path = expand_path(source)
    chosen = None if format is None else lookup("data format", format, FORMATS)
    if keys is not None:
        if format is not None:
            raise ConfigError(
                "keys are for files of bare arrays, which have no format; got format "
                f"{format!r} and keys {dict(keys)!r}. Leave out one of them."
            )
        recording = read_arrays(path, keys, follow_links=follow_links, position=position)
    else:
        if isinstance(source, str) and not os.path.exists(path):
            published = _format_of_published(source)
            if published is not None and chosen in (None, published):
                chosen, path, follow_links = published, download(source), False
            chosen = chosen or _format_of_id(source)
        chosen = chosen or _detect(path, follow_links)
        recording = chosen.read(path, follow_links=follow_links, position=position)
    recording = with_velocity(recording, velocity)
    mapped = mapped_files(recording)
    return replace(recording, mapped=mapped) if mapped else recording


def load_data(
    source: str | Path,
    *,
    format: str | None = None,
    keys: Mapping[str, str] | None = None,
    segment_by: str = "none",
    follow_links: bool = False,
    position: Sequence[int] | None = None,
    velocity: Sequence[int] | None = None,
) -> Trajectories:
    """Read training data: :func:`read`, then :func:`~dfplan.data.segments.segmented`."""
    recording = read(
        source,
        format=format,
        keys=keys,
        follow_links=follow_links,
        position=position,
        velocity=velocity,
    )
    trajectories = segmented(recording, segment_by)
    require_unchanged(recording.mapped)
    return trajectories


def write(recording: Recording, path: str | Path, format: str | None = None) -> Path:
    """Write a recording, and return the path; :func:`read` gives the same recording again.

    Args:
        recording: what to write.
        path: the file, or the folder of a Minari data set. It appears when it is complete. If it
            replaces data that has a checksum file, that is updated.
        format: ``d4rl``, ``minari`` or ``ogbench``; default: from the ending of ``path`` (``.hdf5``
            or ``.h5``, none, ``.npz``).

    Raises:
        ConfigError: the format or the ending is unknown.
        DataError: the layout of the recording does not fit its observations.
        OSError: the file cannot be written, for example because the disk is full.
    """
    path = expand_path(path)
    chosen = _format_of_ending(path) if format is None else lookup("data format", format, FORMATS)
    require_layout(recording)
    return chosen.write(recording, path)


def _format_of_published(source: str) -> Format | None:
    """The format whose publisher has a data set of this name."""
    known = ((each, each.publisher) for each in FORMATS.values())
    return next((each for each, owner in known if owner and source in owner.files), None)


def _format_of_id(source: str) -> Format | None:
    """The format that reads a data set by this id."""
    for each in FORMATS.values():
        if each.ids is not None and each.ids.fullmatch(source):
            if get_close_matches(source, publishers(), n=1, cutoff=_SIMILAR):
                raise unknown_name("data set", source, publishers())
            return each
    return None


def _format_of_ending(path: Path) -> Format:
    for format in FORMATS.values():
        if path.suffix in format.endings:
            return format
    endings = "; ".join(
        f"{' or '.join(each.endings) or 'none'} for {each.title}" for each in FORMATS.values()
    )
    raise ConfigError(
        f"The ending of a path selects the data format: {endings}; got {str(path)!r}. Change the "
        "ending, or pass the format."
    )


def _detect(path: Path, follow_links: bool) -> Format:
    """The format of an existing file or folder."""
    if not os.path.exists(path):
        raise DataError(
            f"There is no data at {path}: no file, no folder, and it is not the name of a "
            "published data set (`dfplan data list` shows these names). Check the name, or make "
            "data: `dfplan data generate`."
        )
    contents = Contents(path, follow_links)
    # The last one first: a format of another package may be a special case of a built-in one.
    for format in reversed(list(FORMATS.values())):
        if format.detect(contents):
            return format
    expected = "; ".join(format.title for format in FORMATS.values())
    if contents.npz is None:
        raise DataError(
            f"{path} has no known format. Known are hdf5 and npz files and folders: {expected}. "
            "For arrays in memory use dfplan.data.from_arrays."
        )
    raise DataError(
        f"{path} has no known format ({expected}). Its arrays are "
        f"{', '.join(sorted(contents.npz)) or 'none'}. Name the arrays (of {', '.join(FIELDS)}; "
        f"only the first is required): "
        f"read({str(path)!r}, keys={{'observations': 'obs', 'ends': 'done'}})."
    )
