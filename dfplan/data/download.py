"""Fetching the files that D4RL and OGBench publish."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

import h5py
from tqdm import tqdm

from dfplan.errors import DataError, unknown_name
from dfplan.files import atomic_path

_TIMEOUT = 30.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Publisher:
    """A suite that publishes data sets.

    Attributes:
        title: what messages call it.
        url: address of the folder that holds the files.
        variable: environment variable that says where to keep them...
        folder: ...and where otherwise, in the home folder.
        fault: why a file is not a whole one, or None if it is.
        files: the files of each data set by its name, the one to read first.
    """

    title: str
    url: str
    variable: str
    folder: str
    fault: Callable[[Path], str | None]
    files: dict[str, tuple[str, ...]]

    def directory(self) -> Path:
        """Where the suite's own tools keep the files."""
        return Path(os.environ.get(self.variable) or Path.home() / self.folder)


def _fault_of_hdf5(path: Path) -> str | None:
    try:
        with h5py.File(path, "r"):  # compares the size with what the file says of itself
            return None
    except OSError as error:
        return f"what came is not a whole hdf5 file ({error})"


def _fault_of_npz(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f"what came is not a whole npz file ({error})"
    return None if damaged is None else f"what came is damaged in {damaged}"


def _d4rl_names() -> dict[str, tuple[str, ...]]:
    first, second = ("open", "umaze", "medium", "large"), ("umaze", "medium", "large")
    mazes = [(maze, "-v0") for maze in first]
    mazes += [(f"{kind}{maze}", "-v1") for kind in ("", "eval-") for maze in second]
    return {
        f"maze2d-{maze}{dense}{version}": (
            f"maze2d-{maze}{dense or '-sparse'}{version.removesuffix('-v0')}.hdf5",
        )
        for maze, version in mazes
        for dense in ("", "-dense")
    }


def _ogbench_names() -> dict[str, tuple[str, ...]]:
    names = [
        f"pointmaze-{maze}-{kind}-v0"
        for maze in ("medium", "large", "giant", "teleport")
        for kind in ("navigate", "stitch")
    ]
    files = {name: (f"{name}.npz", f"{name}-val.npz") for name in names}
    return files | {f"{name}-val": pair[::-1] for name, pair in files.items()}


D4RL = Publisher(
    title="D4RL",
    url="http://rail.eecs.berkeley.edu/datasets/offline_rl/maze2d",
    variable="D4RL_DATASET_DIR",
    folder=".d4rl/datasets",
    fault=_fault_of_hdf5,
    files=_d4rl_names(),
)
"""D4RL's maze2d data sets (``d4rl/pointmaze/__init__.py``)."""

OGBENCH = Publisher(
    title="OGBench",
    url="https://rail.eecs.berkeley.edu/datasets/ogbench",
    variable="OGBENCH_DATASET_DIR",
    folder=".ogbench/data",
    fault=_fault_of_npz,
    files=_ogbench_names(),
)
"""OGBench's point mazes (``ogbench/utils.py``): for training, and with ``-val`` for validation."""

PUBLISHED = {name: publisher for publisher in (D4RL, OGBENCH) for name in publisher.files}
"""Who publishes each data set that :func:`download` knows."""


def download(
    name: str,
    directory: str | Path | None = None,
    *,
    base_url: str | None = None,
    progress: bool = True,
) -> Path:
    """Fetch a data set that D4RL or OGBench publishes, unless it is there already.

    Args:
        name: one of D4RL's, such as ``maze2d-umaze-v1``, or OGBench's, such as
            ``pointmaze-giant-navigate-v0``, of which the file for validation is fetched too.
        directory: where to keep it; by default where the suite does: ``D4RL_DATASET_DIR``, or
            ``~/.d4rl/datasets`` where that is not set; ``OGBENCH_DATASET_DIR``, or
            ``~/.ogbench/data``.
        base_url: the address of the folder that holds the files; by default the suite's.
        progress: show a progress bar on stderr.

    Returns:
        The path of the file to train on. A file appears only once it is whole.

    Raises:
        ConfigError: ``name`` is not a published data set.
        DataError: the server cannot be reached, or what it sent is not a whole file.
    """
    if name not in PUBLISHED:
        raise unknown_name("data set", name, PUBLISHED)
    publisher = PUBLISHED[name]
    folder = publisher.directory() if directory is None else Path(directory)
    paths = [folder / file for file in publisher.files[name]]
    for path in paths:
        if path.exists():
            continue
        url = f"{(base_url or publisher.url).rstrip('/')}/{path.name}"
        with atomic_path(path) as temporary:
            with temporary.open("wb") as out:
                _fetch(url, out, progress)
            fault = publisher.fault(temporary)
            if fault is not None:
                raise _unreachable(url, fault)
    return paths[0]


def fetched(name: str) -> Path | None:
    """Where a published data set lies, in the suite's own folder; None if it is not there."""
    publisher = PUBLISHED[name]
    paths = [publisher.directory() / file for file in publisher.files[name]]
    return paths[0] if all(path.exists() for path in paths) else None


def _fetch(url: str, out: BinaryIO, progress: bool) -> None:
    expected = 0
    try:
        with urlopen(url, timeout=_TIMEOUT) as response:
            expected = int(response.headers.get("Content-Length") or 0)
            with tqdm(
                total=expected or None,
                unit="B",
                unit_scale=True,
                desc=url.rpartition("/")[2],
                disable=not progress,
            ) as bar:
                while block := response.read(_BLOCK):
                    out.write(block)
                    bar.update(len(block))
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, str(error)) from error
    if expected and out.tell() != expected:
        raise _unreachable(url, f"only {out.tell()} of {expected} bytes came")


def _unreachable(url: str, why: str) -> DataError:
    return DataError(
        f"Could not fetch {url}: {why}. Try again or give another base_url; or pass the path of "
        "a copy that you have; or collect the same kind of data yourself: `dfplan data generate`."
    )
