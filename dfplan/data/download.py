"""Fetching the files that D4RL and OGBench publish."""

from __future__ import annotations

import os
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import h5py
from tqdm import tqdm

from dfplan.errors import ConfigError, DataError, unknown_name
from dfplan.files import atomic_path, expanded
from dfplan.record import Record

TIMEOUT = 30.0
"""Seconds that a server may be silent."""

SLOWEST = 1 << 10
"""Bytes a second, over :data:`TIMEOUT`, below which a server is given up."""

LARGEST = 4 << 30
"""Bytes of a file at most: several times those of the largest published one."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Publisher(Record):
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
        """Where the suite's own tools keep the files.

        Raises:
            ConfigError: there is no home folder, and the variable is not set.
        """
        try:
            return expanded(os.environ.get(self.variable) or Path.home() / self.folder)
        except RuntimeError as error:
            raise ConfigError(
                f"There is no home folder to keep {self.title}'s files in. Name a folder by the "
                f"environment variable {self.variable}."
            ) from error


def _fault_of_hdf5(path: Path) -> str | None:
    try:
        with h5py.File(path, "r") as file:  # compares the size with what the file says of itself
            file.visititems(lambda name, item: None)
            return None
    except (OSError, RuntimeError, KeyError) as error:
        return f"what came is not a whole hdf5 file ({error})"


def _fault_of_npz(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        RuntimeError,  # encrypted, or packed in a way that is not known here
        ValueError,
    ) as error:
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
    url="https://rail.eecs.berkeley.edu/datasets/offline_rl/maze2d",
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
        base_url: the address of the folder that holds the files; by default the suite's, by https.
            A redirect from https to anything else is refused.
        progress: show a progress bar on stderr.

    Returns:
        The path of the file to train on. A file appears only once it is whole.

    Raises:
        ConfigError: ``name`` is not a published data set.
        DataError: the server cannot be reached or is too slow, what it sent is not a whole file, or
            the file cannot be written.
    """
    if name not in PUBLISHED:
        raise unknown_name("data set", name, PUBLISHED)
    publisher = PUBLISHED[name]
    folder = publisher.directory() if directory is None else expanded(directory)
    paths = [folder / file for file in publisher.files[name]]
    for path in paths:
        url = f"{(base_url or publisher.url).rstrip('/')}/{path.name}"
        try:
            if path.exists():
                continue
            with atomic_path(path) as temporary:
                with temporary.open("wb") as out:
                    _fetch(url, out, progress)
                fault = publisher.fault(temporary)
                if fault is not None:
                    raise _unreachable(url, fault)
        except OSError as error:
            raise DataError(
                f"Could not write {path}: {error}. Make room there, or name another directory."
            ) from error
    return paths[0]


def fetched(name: str) -> Path | None:
    """Where a published data set lies, in the suite's own folder; None if it is not there."""
    publisher = PUBLISHED[name]
    paths = [publisher.directory() / file for file in publisher.files[name]]
    return paths[0] if all(path.exists() for path in paths) else None


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but from https only to https."""

    def redirect_request(self, req: Request, *others: Any) -> Request | None:
        target = others[-1]
        if urlsplit(target).scheme not in (req.type, "https"):
            raise ValueError(f"it redirects to {target}, which is not {req.type}")
        return super().redirect_request(req, *others)


def _fetch(url: str, out: BinaryIO, progress: bool) -> None:
    try:
        response = build_opener(_Redirects).open(url, timeout=TIMEOUT)
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, str(error)) from error
    with (
        response,
        tqdm(
            total=getattr(response, "length", None),
            unit="B",
            unit_scale=True,
            desc=url.rpartition("/")[2],
            disable=not progress,
        ) as bar,
    ):
        for block in _blocks(url, response):
            out.write(block)
            bar.update(len(block))


def _blocks(url: str, response: Any) -> Iterator[bytes]:
    """The body of a response, as it comes."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise _unreachable(url, f"it came encoded as {encoding}, which was not asked for")
    expected = getattr(response, "length", None)  # None where the server does not say
    limit = LARGEST if expected is None else expected
    if limit > LARGEST:
        raise _unreachable(url, f"it has {expected} bytes, more than {LARGEST}")
    received, before, since = 0, 0, time.monotonic()
    try:
        # Not read(), which would wait for a whole block however slowly it comes.
        while received != expected and (block := response.read1(_BLOCK)):
            yield block
            received += len(block)
            if received > limit:
                raise ValueError(f"{received} bytes came, more than {limit}")
            if (seconds := time.monotonic() - since) > TIMEOUT:
                if received - before < SLOWEST * seconds:
                    raise ValueError(f"{received - before} bytes came in {seconds:.0f} s")
                before, since = received, time.monotonic()
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, str(error)) from error
    if expected is not None and received != expected:
        raise _unreachable(url, f"only {received} of {expected} bytes came")


def _unreachable(url: str, why: str) -> DataError:
    return DataError(
        f"Could not fetch {url}: {' '.join(why.split())}. Try again or give another base_url; or "
        "pass the path of a copy that you have; or collect the same kind of data yourself: "
        "`dfplan data generate`."
    )
