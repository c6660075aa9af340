"""Data in other files: hdf5 links, virtual datasets and external storage."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dfplan.cli import main
from dfplan.data import load_data, read
from dfplan.errors import DataError

TIME = np.arange(60) * 0.05
ROWS = np.stack([np.sin(TIME), np.cos(TIME), np.cos(TIME), -np.sin(TIME)], 1).astype(np.float32)
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (60, 2)).astype(np.float32)

Fill = Callable[[h5py.File, Path], None]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of data; beside it lies another one with the same source."""
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "source.hdf5", "w") as file:
            file["actions"] = ACTIONS
            file["group/actions"] = ACTIONS[:-1]
            file["group/observations"] = ROWS
        (tmp_path / name / "raw").write_bytes(ACTIONS.tobytes())
    return tmp_path / "own"


def virtual(*parts: tuple[Any, str, str, Any], shape: tuple[int, ...] = ACTIONS.shape) -> Fill:
    """Actions whose rows come from parts: rows, file, dataset, rows there."""

    def fill(file: h5py.File, folder: Path) -> None:
        layout = h5py.VirtualLayout(ACTIONS.shape, np.float32)
        for rows, name, dataset, taken in parts:
            source = h5py.VirtualSource(name.format(folder), dataset, shape)
            layout[rows] = source if taken is None else source[taken]
        file.create_virtual_dataset("actions", layout)

    return fill


def numbered(file: h5py.File, folder: Path) -> None:
    for number in range(2):
        with h5py.File(folder / f"part{number}.hdf5", "w") as part:
            part["a"] = ACTIONS[30 * number :][:30]
    unlimited = h5py.h5s.UNLIMITED
    target = h5py.h5s.create_simple((30, 2), (unlimited, 2))
    target.select_hyperslab((0, 0), (unlimited, 1), (30, 1), (30, 2))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_virtual(target, b"part%b.hdf5", b"a", h5py.h5s.create_simple((30, 2)))
    space = h5py.h5s.create_simple((60, 2), (unlimited, 2))
    h5py.h5d.create(file.id, b"actions", h5py.h5t.NATIVE_FLOAT, space, plist)


def growing(name: str) -> Fill:
    def fill(file: h5py.File, folder: Path) -> None:
        with h5py.File(folder / "growing.hdf5", "w") as source:
            source.create_dataset("a", data=ACTIONS, maxshape=(None, 2), chunks=(10, 2))
        layout = h5py.VirtualLayout(ACTIONS.shape, np.float32, maxshape=(None, 2))
        source = h5py.VirtualSource(name, "a", ACTIONS.shape, maxshape=(None, 2))
        rows = slice(0, h5py.h5s.UNLIMITED)
        layout[rows, :] = source[rows, :]
        file.create_virtual_dataset("actions", layout)

    return fill


def same_file(file: h5py.File, folder: Path) -> None:
    file["kept"] = ACTIONS
    virtual((slice(None), ".", "kept", None))(file, folder)


def nested(name: str) -> Fill:
    def fill(file: h5py.File, folder: Path) -> None:
        with h5py.File(folder / "middle.hdf5", "w") as middle:
            virtual((slice(None), name, "actions", None))(middle, folder)
        virtual((slice(None), "middle.hdf5", "actions", None))(file, folder)

    return fill


def raw(name: str, size: int = h5py.h5f.UNLIMITED) -> Fill:
    def fill(file: h5py.File, folder: Path) -> None:
        outside = [(name.format(folder), 0, size)]
        file.create_dataset("actions", ACTIONS.shape, np.float32, external=outside)

    return fill


def external(name: str, target: str = "/actions") -> Fill:
    def fill(file: h5py.File, folder: Path) -> None:
        file["actions"] = h5py.ExternalLink(name.format(folder), target)

    return fill


def soft(target: str) -> Fill:
    def fill(file: h5py.File, folder: Path) -> None:
        file["kept/actions"] = ACTIONS
        file["elsewhere"] = h5py.ExternalLink("source.hdf5", "/")
        if not target.startswith("/elsewhere"):
            del file["elsewhere"]
        file["actions"] = h5py.SoftLink(target)

    return fill


def made(path: Path, fill: Fill) -> Path:
    with h5py.File(path, "w") as file:
        fill(file, path.parent)
        file["observations"] = ROWS
    return path


ALL = slice(None)
HALVES = (slice(0, 30), slice(30, 60))

INSIDE = {
    "relative": virtual((ALL, "source.hdf5", "actions", None)),
    "absolute": virtual((ALL, "{}/source.hdf5", "actions", None)),
    "moved together": virtual((ALL, "/nowhere/source.hdf5", "actions", None)),
    "back and forth": virtual((ALL, "../own/source.hdf5", "actions", None)),
    "halves": virtual(*((rows, "source.hdf5", "actions", rows) for rows in HALVES)),
    "rows in turn": virtual(
        *((slice(first, 60, 2), "source.hdf5", "actions", slice(first, 60, 2)) for first in (0, 1))
    ),
    "the same file": same_file,
    "nested": nested("source.hdf5"),
    "growing": growing("growing.hdf5"),
    "raw": raw("{}/raw"),
    "soft link": soft("/kept/actions"),
}
OUTSIDE = {
    "absolute": virtual((ALL, "{}/../other/source.hdf5", "actions", None)),
    "relative": virtual((ALL, "../other/source.hdf5", "actions", None)),
    "symbolic link": virtual((ALL, "symbolic.hdf5", "actions", None)),
    "nested": nested("../other/source.hdf5"),
    "raw": raw("{}/../other/raw"),
    "raw symbolic link": raw("{}/symbolic"),
    "external link": external("{}/../other/source.hdf5"),
    "external link to the same folder": external("source.hdf5"),
    "soft link through another file": soft("/elsewhere/actions"),
}
LOST = {
    "no file": virtual((ALL, "none.hdf5", "actions", None)),
    "no file of that absolute name": virtual((ALL, "{}/none.hdf5", "actions", None)),
    "no dataset": virtual((ALL, "source.hdf5", "none", None)),
    "no hdf5": virtual((ALL, "{}/raw", "actions", None)),
    "nested": nested("none.hdf5"),
    "itself": virtual((ALL, ".", "actions", None)),
    "itself through another": nested("data.hdf5"),
    "a hole": virtual((HALVES[0], "source.hdf5", "actions", HALVES[0])),
    "a hole and rows twice": virtual(
        *((HALVES[0], "source.hdf5", "actions", rows) for rows in HALVES)
    ),
    "shorter than it was": virtual(
        (ALL, "source.hdf5", "actions", slice(0, 120, 2)), shape=(120, 2)
    ),
    "another shape": virtual((ALL, "source.hdf5", "group/actions", None)),
    "numbered": numbered,
    "growing": growing("none.hdf5"),
    "raw": raw("{}/none"),
    "raw too short": raw("{}/source.hdf5", 480),
    "external link": external("none.hdf5"),
    "external link to nothing": external("source.hdf5", "/none"),
    "soft link": soft("/kept/none"),
    "soft link to itself": soft("/actions"),
}


@pytest.mark.parametrize("follow_links", [False, True])
@pytest.mark.parametrize("name", INSIDE)
def test_sources_in_the_files_own_folder_are_read(own: Path, name: str, follow_links: bool) -> None:
    path = made(own / "data.hdf5", INSIDE[name])
    got = read(path, follow_links=follow_links)
    np.testing.assert_array_equal(got.actions, ACTIONS, strict=True)
    np.testing.assert_array_equal(got.observations, ROWS, strict=True)


@pytest.mark.parametrize("name", OUTSIDE)
def test_sources_in_other_folders_must_be_allowed(
    own: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (own / "symbolic.hdf5").symlink_to(own.parent / "other" / "source.hdf5")
    (own / "symbolic").symlink_to(own.parent / "other" / "raw")
    path = made(own / "data.hdf5", OUTSIDE[name])
    keys = {"observations": "observations", "actions": "actions"}
    for how in ({}, {"keys": keys}):
        with pytest.raises(DataError, match=r"follow_links"):
            read(path, **how)
        got = read(path, **how, follow_links=True)
        np.testing.assert_array_equal(got.actions, ACTIONS, strict=True)
    assert len(load_data(path, follow_links=True)) == len(ROWS)
    assert main(["data", "info", str(path)]) == 2
    assert main(["data", "info", str(path), "--follow_links"]) == 0


@pytest.mark.parametrize("follow_links", [False, True])
@pytest.mark.parametrize("name", LOST)
def test_values_without_a_source_are_refused(own: Path, name: str, follow_links: bool) -> None:
    fill = LOST[name]
    if name == "raw too short":
        (own / "source.hdf5").write_bytes(bytes(100))
    path = made(own / "data.hdf5", fill)
    with pytest.raises(DataError, match=str(own)):
        read(path, follow_links=follow_links)


def test_a_lost_source_is_named(own: Path) -> None:
    path = made(own / "data.hdf5", INSIDE["relative"])
    (own / "source.hdf5").rename(own / "renamed.hdf5")
    with pytest.raises(DataError, match=r"data\.hdf5.*actions.*source\.hdf5.*not exist"):
        read(path)


def test_a_link_is_resolved_from_the_real_folder_of_the_data(own: Path) -> None:
    path = made(own / "data.hdf5", INSIDE["relative"])
    link = own.parent / "link.hdf5"
    link.symlink_to(path)
    np.testing.assert_array_equal(read(link).actions, ACTIONS)


def test_a_mark_that_is_a_lost_link_does_not_count_as_absent(own: Path) -> None:
    for link in (h5py.SoftLink("/none"), h5py.ExternalLink("none.hdf5", "/terminals")):
        with h5py.File(own / "data.hdf5", "w") as file:
            file["observations"], file["actions"], file["terminals"] = ROWS, ACTIONS, link
        for follow_links in (False, True):
            with pytest.raises(DataError, match="terminals is a link"):
                read(own / "data.hdf5", follow_links=follow_links)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with a name")
def test_pipes_and_devices_are_refused(own: Path) -> None:
    os.mkfifo(own / "pipe")
    for name in ("{}/pipe", "pipe", "/dev/zero"):
        for fill in (virtual((ALL, name, "actions", None)), external(name), raw(name)):
            path = made(own / "data.hdf5", fill)
            for follow_links in (False, True):
                with pytest.raises(DataError):
                    read(path, follow_links=follow_links)


def minari_file(folder: Path, fill: Callable[[h5py.File], None]) -> Path:
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        fill(file)
    return folder


@pytest.mark.parametrize("place", ["episode_0", "episode_0/actions", "episode_0/observations"])
def test_links_in_minaris_groups_need_to_be_allowed(own: Path, place: str) -> None:
    def fill(file: h5py.File) -> None:
        if "/" in place:
            file["episode_0/observations"], file["episode_0/actions"] = ROWS, ACTIONS[:-1]
            del file[place]
        file[place] = h5py.ExternalLink("source.hdf5", place.replace("episode_0", "/group"))

    minari_file(own, fill)
    with pytest.raises(DataError, match=f"{place} is a link to another file, source.hdf5"):
        read(own)
    got = read(own, follow_links=True)
    np.testing.assert_array_equal(got.observations, ROWS)
    np.testing.assert_array_equal(got.actions[:-1], ACTIONS[:-1])


def test_virtual_datasets_of_minaris_episodes_need_their_source(own: Path) -> None:
    def fill(file: h5py.File) -> None:
        for number in range(3):
            group = file.create_group(f"episode_{number}")
            group["observations"] = ROWS
            layout = h5py.VirtualLayout((59, 2), np.float32)
            layout[:] = h5py.VirtualSource("source.hdf5", "group/actions", (59, 2))
            group.create_virtual_dataset("actions", layout)

    minari_file(own, fill)
    np.testing.assert_array_equal(read(own).actions[60:119], ACTIONS[:-1])
    (own / "source.hdf5").unlink()
    with pytest.raises(DataError, match=r"episode_0/actions.*source\.hdf5, which does not exist"):
        read(own)
