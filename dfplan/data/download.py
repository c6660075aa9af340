"""Downloads published data sets, with the package pooch.

pooch makes the request, follows redirects, and checks certificates. Added here is what it does not
do: only https after https, a limit of size and a lowest speed, and files that appear when they are
complete, with a checksum that later downloads are compared with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from dfplan.data.formats.format import Publisher
from dfplan.data.formats.registry import FORMATS
from dfplan.data.sha256 import recorded_sha256, sha256, write_checksum
from dfplan.errors import DataError, lookup
from dfplan.files import atomic_path, expand_path

TIMEOUT = 30.0
"""Seconds without data after which a download fails."""

MIN_SPEED = 1 << 10
"""Bytes per second, averaged over :data:`TIMEOUT`, below which a download fails."""

MAX_SIZE = 4 << 30
"""Largest size of a file in bytes, several times that of the largest published one."""

_BLOCK = 1 << 20


def publishers() -> dict[str, Publisher]:
    """The publisher of each data set that :func:`download` knows, by name."""
    known = (format.publisher for format in FORMATS.values())
    return {name: publisher for publisher in known if publisher for name in publisher.files}


def download(
    name: str,
    directory: str | Path | None = None,
    *,
    base_url: str | None = None,
    known_hash: str | None = None,
    progress: bool = True,
) -> Path:
    """Download a published data set, unless its files already exist.

    The SHA-256 of the first download is kept next to each file (``<file>.sha256``). If the file is
    downloaded again later, it must have the same checksum. A file appears when it is complete.

    Args:
        name: a data set of D4RL, such as ``maze2d-umaze-v1``, or of OGBench, such as
            ``pointmaze-giant-navigate-v0``, which has a second file for validation.
        directory: folder for the files; default: that of the suite's own tools
            (``D4RL_DATASET_DIR``, or ``~/.d4rl/datasets``; ``OGBENCH_DATASET_DIR``, or
            ``~/.ogbench/data``).
        base_url: address of the folder that contains the files; default: the suite's, by https.
            A redirect from https to another protocol is refused.
        known_hash: SHA-256 that the file for training must have, in hexadecimal digits.
        progress: whether to show a progress bar on stderr.

    Returns:
        The path of the file for training.

    Raises:
        ConfigError: ``name`` is not a published data set.
        DataError: the server cannot be reached or is too slow; it sends an incomplete file or one
            with another checksum; or the file cannot be written.
    """
    publisher = lookup("data set", name, publishers())
    folder = publisher.directory() if directory is None else expand_path(directory)
    paths = [folder / file for file in publisher.files[name]]
    for path in paths:
        url = f"{(base_url or publisher.url).rstrip('/')}/{path.name}"
        expected = known_hash.lower() if known_hash and path == paths[0] else None
        try:
            if not path.exists():
                _download(url, path, publisher, expected, progress)
            elif expected is not None and sha256(path) != expected:
                raise DataError(
                    f"{path} has the SHA-256 {sha256(path)}; expected {expected}. Delete it to "
                    "download it again."
                )
        except OSError as error:
            raise DataError(
                f"Could not write {path}: {error}. Make room there, or pass another directory."
            ) from error
    return paths[0]


def datasets() -> dict[str, Path | None]:
    """All known data sets, of all formats, by name: the path, or None if not on this machine."""
    known = (format.datasets().items() for format in FORMATS.values())
    return dict(chain.from_iterable(known))


def _download(
    url: str, path: Path, publisher: Publisher, expected: str | None, progress: bool
) -> None:
    """Download one file, check it, and write its checksum."""
    earlier = recorded_sha256(path)
    with atomic_path(path) as temporary:
        with tqdm(
            unit="B", unit_scale=True, desc=path.name, disable=not progress, dynamic_ncols=True
        ) as bar:
            _fetch(url, temporary, bar)
        fault = publisher.fault(temporary)
        if fault is not None:
            raise _failure(url, fault)
        digest = sha256(temporary)
        for value, origin in ((expected, "known_hash"), (earlier, "an earlier download")):
            if value is not None and digest != value:
                raise _failure(url, f"its SHA-256 is {digest}, but that of {origin} is {value}")
    # Not computed again: a second process may replace the file meanwhile.
    write_checksum(path, {path: digest})


def _fetch(url: str, path: Path, bar: tqdm[Any]) -> None:
    # Here, because the two are slow to import. Installing pooch installs requests.
    import pooch
    import requests

    with ExitStack() as opened:

        def inspect(response: requests.Response, **_: object) -> None:
            opened.callback(response.close)  # pooch leaves it open after an error
            _inspect(response, bar)

        downloader = pooch.HTTPDownloader(
            timeout=TIMEOUT,
            headers={"Accept-Encoding": "identity"},
            # requests does not read the variable that OpenSSL's own tools read.
            verify=os.environ.get("SSL_CERT_FILE") or True,
            hooks={"response": inspect},
        )
        try:
            downloader(url, path, None)
        except (requests.RequestException, ValueError) as error:
            raise _failure(url, str(error)) from error


def _inspect(response: Any, bar: tqdm[Any]) -> None:
    """Check the head of a response, and limit its body; requests calls it for redirects too.

    Raises ValueError if the response is refused.
    """
    if response.is_redirect:
        target = urljoin(response.url, response.headers["location"])
        if urlsplit(target).scheme not in (urlsplit(response.url).scheme, "https"):
            raise ValueError(f"it redirects to {target}, which is not https")
        return
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise ValueError(f"it is encoded as {encoding}, which was not requested")
    size = int(response.headers.get("Content-Length", 0))
    if size > MAX_SIZE:
        raise ValueError(f"it has {size} bytes, more than {MAX_SIZE}")
    bar.total = size or None
    response.raw = _Body(response.raw, bar)


class _Body:
    """The body of a response, limited in size and with a lowest speed.

    pooch waits for whole blocks, however slowly they arrive. This returns data when it arrives.
    """

    def __init__(self, raw: Any, bar: tqdm[Any]) -> None:
        self._raw = raw
        self._bar = bar

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        received, before, since = 0, 0, time.monotonic()
        while block := self._raw.read1(_BLOCK, decode_content=False):
            yield block
            self._bar.update(len(block))
            received += len(block)
            if received > MAX_SIZE:
                raise ValueError(f"it has more than {MAX_SIZE} bytes")
            seconds = time.monotonic() - since
            if seconds > TIMEOUT:
                if received - before < MIN_SPEED * seconds:
                    raise ValueError(f"{received - before} bytes arrived in {seconds:.0f} s")
                before, since = received, time.monotonic()

    def close(self) -> None:
        self._raw.close()

    def release_conn(self) -> None:
        self._raw.release_conn()


def _failure(url: str, why: str) -> DataError:
    return DataError(
        f"Could not fetch {url}: {' '.join(why.split())}. Try again or pass another base_url; or "
        "pass the path of a copy that you have; or collect the same kind of data yourself: "
        "`dfplan data generate`."
    )
