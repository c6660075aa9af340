"""Checks what an hdf5 file takes from other files: links, virtual datasets, external storage.

If the source of a virtual dataset is missing, HDF5 returns fill values. It also reads every file of
this machine that a link names. The checks here refuse missing sources, and sources outside the
folder of the data unless links may be followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5i, h5l, h5s

from dfplan.data.sha256 import verify
from dfplan.errors import DataError

Shape = tuple[int, ...]
_ALLOW = "If you trust the file, allow it: read(..., follow_links=True) or --follow_links."


def require_links(file: h5py.File, follow_links: bool) -> None:
    """Raise :class:`DataError` for dead links, and for links to other files unless followed."""
    links: list[tuple[bytes, int]] = []

    def look(name: bytes, link: Any) -> None:
        if link.type != h5l.TYPE_HARD:
            links.append((name, link.type))

    file.id.links.visit(look, info=True)
    for name, kind in links:
        shown = f"{file.filename}: {os.fsdecode(name)}"
        if kind != h5l.TYPE_SOFT:
            if kind != h5l.TYPE_EXTERNAL:
                raise DataError(f"{shown} is a link of an unknown type ({kind}).")
            named = os.fsdecode(file.id.links.get_val(name)[0])
            if not follow_links:
                raise DataError(f"{shown} is a link to another file, {named}. {_ALLOW}")
            linked = _resolve(Path(file.filename), named)
            if linked is None:
                raise DataError(f"{shown} is a link to {named}, which does not exist.")
            verify(linked)
        if file.get(name) is None:
            raise DataError(f"{shown} is a link to something that does not exist.")


def referenced_files(path: Path) -> set[Path]:
    """Return all other files that an hdf5 file takes values from, directly or not.

    A file of another format refers to none. Raises :class:`DataError` if an hdf5 file is damaged.
    """
    origin = path.resolve()
    found, pending = {origin}, [origin]
    while pending:
        path = pending.pop()
        try:
            if h5py.is_hdf5(path):
                with h5py.File(path, "r") as file:
                    new = set(_references(file, path)) - found
                pending += new
                found |= new
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}).") from error
    return found - {origin}


def _references(file: h5py.File, path: Path) -> Iterator[Path]:
    """The existing files that the links and datasets of a file refer to."""
    named: list[str] = []
    datasets: list[h5py.Dataset] = []

    def look(name: bytes, link: Any) -> None:
        if link.type == h5l.TYPE_EXTERNAL:
            named.append(os.fsdecode(file.id.links.get_val(name)[0]))

    file.id.links.visit(look, info=True)
    file.visititems(lambda _, item: datasets.append(item) if hasattr(item, "dtype") else None)
    for dataset in datasets:
        if dataset.is_virtual:
            named += [source.file_name for source in dataset.virtual_sources()]
        for name, *_ in dataset.external or ():
            if os.path.isfile(name):  # HDF5 resolves it in the working folder
                yield Path(os.fsdecode(name)).resolve()
    for name in set(named) - {"."}:
        if (part := _resolve(path, name)) is not None:
            yield part.resolve()


def require_sources(
    dataset: h5d.DatasetID, follow_links: bool, seen: frozenset[tuple[Path, str]] = frozenset()
) -> None:
    """Check the files that hold the values of a dataset.

    Args:
        dataset: its values may be in its own file.
        follow_links: whether sources may be outside the file's folder.
        seen: virtual datasets that take values from this one.

    Raises:
        DataError: a source is missing or too short, does not fill the dataset, or is refused; or a
            virtual dataset takes its values from itself.
    """
    if dataset.get_offset() is not None:  # contiguous in its own file
        return
    plist = dataset.get_create_plist()
    path = Path(os.fsdecode(h5f.get_name(dataset)))
    name = os.fsdecode(h5i.get_name(dataset) or b"").strip("/")
    if plist.get_layout() == h5d.VIRTUAL:
        here = (path.resolve(), name)
        if here in seen:
            raise DataError(f"{path}: the virtual dataset {name} takes its values from itself.")
        _require_virtual(dataset, plist, path, name, follow_links, seen | {here})
    elif plist.get_external_count():
        _require_raw(dataset, plist, path, name, follow_links)


def _require_virtual(
    dataset: h5d.DatasetID,
    plist: Any,
    path: Path,
    name: str,
    follow_links: bool,
    seen: frozenset[tuple[Path, str]],
) -> None:
    shown = f"{path}: the virtual dataset {name}"
    files: dict[str, list[int]] = {}
    for index in range(plist.get_virtual_count()):
        file, part = plist.get_virtual_filename(index), plist.get_virtual_dsetname(index)
        if "%" in (file + part).replace("%%", ""):
            raise DataError(
                f"{shown} takes its values from numbered sources ({file}: {part}). It is not "
                "possible to check whether one is missing. Copy the values into one dataset."
            )
        files.setdefault(file.replace("%%", "%"), []).append(index)
    filled = h5s.create_simple(dataset.shape)
    filled.select_none()
    for named, indices in files.items():
        with _open_source(dataset, path, named, shown, follow_links) as opened:
            for index in indices:
                part = plist.get_virtual_dsetname(index).replace("%%", "%")
                try:
                    source = h5d.open(opened, os.fsencode(part))
                except (KeyError, ValueError) as error:
                    raise DataError(
                        f"{shown} takes values from the dataset {part} of {named}, which does "
                        "not exist. Put it back, or copy the values into one dataset."
                    ) from error
                require_sources(source, follow_links, seen)
                spaces = plist.get_virtual_vspace(index), plist.get_virtual_srcspace(index)
                alone = plist.get_virtual_count() == 1
                if not _add_source(filled, *spaces, source.shape, alone):
                    raise DataError(
                        f"{shown} selects values that the dataset {part} of {named} does not have; "
                        f"its shape is {list(source.shape)}. Copy the intended values into one "
                        "dataset."
                    )
    actual, expected = filled.get_select_npoints(), prod(dataset.shape)
    if actual != expected:
        raise DataError(
            f"{shown} has {expected} values, but its sources have {actual}. Copy the intended "
            "values into one dataset."
        )


@contextmanager
def _open_source(
    dataset: h5d.DatasetID, path: Path, named: str, shown: str, follow_links: bool
) -> Iterator[h5f.FileID]:
    """Open a source file of a virtual dataset."""
    if named == ".":
        yield h5i.get_file_id(dataset)
        return
    found = _resolve(path, named)
    if found is None or not h5py.is_hdf5(found):
        raise DataError(
            f"{shown} takes values from {named}, which does not exist or is not an hdf5 file. Put "
            "it back, or copy the values into one dataset."
        )
    _require_inside(path, found, shown, follow_links)
    verify(found)
    with h5py.File(found, "r") as file:
        require_links(file, follow_links)
        yield file.id


def _add_source(
    filled: h5s.SpaceID, target: h5s.SpaceID, selected: h5s.SpaceID, source: Shape, alone: bool
) -> bool:
    """Add the elements of one source to ``filled``, those of a virtual dataset that have a source.

    Args:
        filled: changed in place.
        target: elements that this source fills.
        selected: elements of the source that are used.
        source: shape of the source.
        alone: whether there is no other source.

    Returns:
        Whether the source has all selected elements.
    """
    try:
        count = target.get_select_npoints()
    except RuntimeError:  # an unlimited selection
        filled.select_all()
        return alone and source == filled.shape
    if selected.get_select_type() == h5s.SEL_ALL:
        fits = prod(source) == count
    else:
        last = selected.get_select_bounds()[1]
        fits = len(last) == len(source) and all(np.less(last, source))
    if target.get_select_type() == h5s.SEL_ALL:
        filled.select_all()
    elif target.is_regular_hyperslab():
        first, stride, counts, block = target.get_regular_hyperslab()
        filled.select_hyperslab(first, counts, stride, block, op=h5s.SELECT_OR)
    else:
        for first, end in target.get_select_hyper_blocklist():
            size = tuple(end - first + 1)
            filled.select_hyperslab(tuple(first), (1,) * len(size), None, size, op=h5s.SELECT_OR)
    return bool(fits)


def _require_raw(
    dataset: h5d.DatasetID, plist: Any, path: Path, name: str, follow_links: bool
) -> None:
    shown = f"{path}: the dataset {name}"
    missing = prod(dataset.shape) * dataset.dtype.itemsize
    for index in range(plist.get_external_count()):
        named, offset, size = plist.get_external(index)
        file = Path(os.fsdecode(named))  # HDF5 resolves it in the working folder
        _require_inside(path, file, shown, follow_links)
        taken = min(size, missing)
        # HDF5 returns zeros beyond the end of the file.
        if not os.path.isfile(file) or os.path.getsize(file) < offset + taken:
            raise DataError(f"{shown} has its values in {file}, which is missing or too short.")
        verify(file)
        missing -= taken
    if missing:
        raise DataError(f"{shown} has {missing} bytes more than the files of its values.")


def _resolve(path: Path, named: str) -> Path | None:
    """The file that HDF5 opens if the file at ``path`` names another one; None if there is none."""
    absolute = os.path.isabs(named)
    rest = os.path.basename(named) if absolute else named
    places = [Path(named)] if absolute else []
    places += [path.parent / rest, Path(rest), path.resolve().parent / rest]
    return next((place for place in places if os.path.isfile(place)), None)


def _require_inside(path: Path, file: Path, shown: str, follow_links: bool) -> None:
    if not follow_links and not file.resolve().is_relative_to(path.resolve().parent):
        raise DataError(
            f"{shown} takes values from {file}, outside the folder of {path.name}. {_ALLOW}"
        )
