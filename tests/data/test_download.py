"""Downloads of published files, from a local server."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfplan.data import download
from dfplan.data.download import publishers
from dfplan.data.formats.d4rl import read_d4rl
from dfplan.data.formats.ogbench import read_ogbench
from dfplan.errors import ConfigError, DataError

MODULE = sys.modules["dfplan.data.download"]  # dfplan.data.download is the function
PUBLISHERS = publishers()
NAMES = {"d4rl": "maze2d-umaze-v1", "ogbench": "pointmaze-giant-navigate-v0"}
FILES = {
    "d4rl": ["maze2d-umaze-sparse-v1.hdf5"],
    "ogbench": ["pointmaze-giant-navigate-v0.npz", "pointmaze-giant-navigate-v0-val.npz"],
}
suites = pytest.mark.parametrize("suite", NAMES)


class Server(BaseHTTPRequestHandler):
    """Serves ``bodies`` by file name; how well is said by the first folder of the path."""

    bodies: dict[str, bytes]

    def do_GET(self) -> None:
        kind, _, name = self.path.strip("/").partition("/")
        if kind == "gone" or name not in self.bodies or (kind == "train" and "-val" in name):
            self.send_error(404)
            return
        body = b"<html>" if kind == "page" else self.bodies[name]
        sent = body[: len(body) // 2] if kind in ("short", "unsaid") else body
        if kind == "flipped":
            sent = body[:300] + bytes([body[300] ^ 1]) + body[301:]
        self.send_response(200)
        if kind != "unsaid":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def hdf5_body() -> bytes:
    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        file["observations"] = np.ones((2000, 4), np.float32)
        file["actions"] = np.ones((2000, 2), np.float32)
    return body.getvalue()


def npz_body() -> bytes:
    body = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    np.savez_compressed(body, observations=values, actions=values, terminals=np.zeros(2000, bool))
    return body.getvalue()


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def with_checksums(names: list[str]) -> list[str]:
    return sorted([*names, *(f"{name}.sha256" for name in names)])


Answer = Callable[[str], Iterable[bytes]]


@contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that sends what ``answer`` makes of a request's first line; its address.

    It goes on sending until all is sent or the other side has gone.
    """
    ended = threading.Event()

    def serve(accepted: socket.socket) -> None:
        with closing(accepted), suppress(OSError):
            talk = accepted if tls is None else tls.wrap_socket(accepted, server_side=True)
            asked = talk.recv(1 << 16).decode().partition("\r\n")[0]
            for part in answer(asked):
                talk.sendall(part)
                if ended.is_set():
                    return
            talk.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=[accepted]))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            port = listener.getsockname()[1]
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def said(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    bodies = {file: hdf5_body() for file in FILES["d4rl"]}
    bodies |= {file: npz_body() for file in FILES["ogbench"]}
    monkeypatch.setattr(Server, "bodies", bodies, raising=False)
    without_proxies(monkeypatch)
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@suites
def test_published_files_are_fetched_once(server: str, tmp_path: Path, suite: str) -> None:
    kept = tmp_path / "kept"
    path = download(NAMES[suite], kept, base_url=f"{server}/good/", progress=False)
    assert path == kept / FILES[suite][0]
    assert len((read_d4rl if suite == "d4rl" else read_ogbench)(path)) == 2000
    assert names_in(kept) == with_checksums(FILES[suite])
    assert download(NAMES[suite], kept, base_url=f"{server}/gone", progress=False) == path


def test_what_is_missing_alone_is_fetched(server: str, tmp_path: Path) -> None:
    name = NAMES["ogbench"]
    with pytest.raises(DataError, match=r"-val\.npz: .*404"):
        download(name, tmp_path, base_url=f"{server}/train", progress=False)
    assert names_in(tmp_path) == with_checksums(FILES["ogbench"][:1])
    (tmp_path / FILES["ogbench"][0]).write_bytes(b"mine")
    assert (
        download(name, tmp_path, base_url=f"{server}/good", progress=False).read_bytes() == b"mine"
    )
    assert len(read_ogbench(tmp_path / FILES["ogbench"][1])) == 2000


@pytest.mark.parametrize(
    ("suite", "variable", "home"),
    [
        ("d4rl", "D4RL_DATASET_DIR", ".d4rl/datasets"),
        ("ogbench", "OGBENCH_DATASET_DIR", ".ogbench/data"),
    ],
)
def test_the_folder_is_the_suites_by_default(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    suite: str,
    variable: str,
    home: str,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "set"))
    assert download(NAMES[suite], base_url=f"{server}/good").parent == tmp_path / "set"
    assert f"{FILES[suite][0]}: 100%" in capsys.readouterr().err
    monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = download(NAMES[suite], base_url=f"{server}/good", progress=False)
    assert path.parent == tmp_path / home
    assert capsys.readouterr().err == ""


@suites
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("gone", "404"),
        ("short", r"only \d+ of \d+ bytes|IncompleteRead"),
        ("unsaid", "not a whole"),
        ("page", "not a whole"),
    ],
)
def test_a_failed_fetch_leaves_nothing_and_names_the_ways_out(
    server: str, tmp_path: Path, suite: str, kind: str, why: str
) -> None:
    kept = tmp_path / "kept"
    with pytest.raises(DataError, match=f"({why}).*a copy that you have.*`dfplan data generate`"):
        download(NAMES[suite], kept, base_url=f"{server}/{kind}", progress=False)
    assert not list(kept.iterdir())


def test_a_damaged_npz_file_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a whole npz file"):
        download(NAMES["ogbench"], tmp_path, base_url=f"{server}/flipped", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_later_download_must_have_the_checksum_of_the_first(server: str, tmp_path: Path) -> None:
    name, file = NAMES["ogbench"], tmp_path / FILES["ogbench"][0]
    assert download(name, tmp_path, base_url=f"{server}/good", progress=False) == file
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in file.with_name(f"{file.name}.sha256").read_text()
    file.unlink()
    assert download(name, tmp_path, base_url=f"{server}/good", progress=False) == file
    file.unlink()
    file.with_name(f"{file.name}.sha256").write_text(f"{'0' * 64}  {file.name}\n")
    with pytest.raises(DataError, match=f"{digest}.*earlier download is 0000"):
        download(name, tmp_path, base_url=f"{server}/good", progress=False)
    assert not file.exists()


def test_a_file_must_have_the_known_hash(server: str, tmp_path: Path) -> None:
    def fetch(known_hash: str) -> Path:
        base_url = f"{server}/good"
        return download(
            NAMES["d4rl"], tmp_path, base_url=base_url, known_hash=known_hash, progress=False
        )

    file = tmp_path / FILES["d4rl"][0]
    with pytest.raises(DataError, match="known_hash is 1111"):
        fetch("1" * 64)
    assert not list(tmp_path.iterdir())
    digest = hashlib.sha256(Server.bodies[file.name]).hexdigest()
    for known_hash in (digest, digest.upper()):
        assert fetch(known_hash) == file
    with pytest.raises(DataError, match="expected 1111"):
        fetch("1" * 64)
    assert file.exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "no address"])
def test_an_unreachable_server_is_reported(tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match=r"Could not fetch .*base_url"):
        download(NAMES["d4rl"], tmp_path, base_url=address, progress=False)


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'maze2d-umaze-v1'"):
        download("maze2d-umaze-v2", tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'pointmaze-giant-stitch-v0'"):
        download("pointmaze-giant-stich-v0", tmp_path)


def test_names_are_those_of_the_suites() -> None:
    """As ``d4rl/pointmaze/__init__.py`` has them, and OGBench's lists of point and ant mazes."""
    files = {name: publisher.files[name] for name, publisher in PUBLISHERS.items()}
    assert sorted(Counter(each.title for each in PUBLISHERS.values()).values()) == [20, 38]
    for name, file in {
        "maze2d-open-v0": "maze2d-open-sparse.hdf5",
        "maze2d-open-dense-v0": "maze2d-open-dense.hdf5",
        "maze2d-large-v0": "maze2d-large-sparse.hdf5",
        "maze2d-medium-v1": "maze2d-medium-sparse-v1.hdf5",
        "maze2d-medium-dense-v1": "maze2d-medium-dense-v1.hdf5",
        "maze2d-eval-large-v1": "maze2d-eval-large-sparse-v1.hdf5",
        "maze2d-eval-umaze-dense-v1": "maze2d-eval-umaze-dense-v1.hdf5",
    }.items():
        assert files[name] == (file,)
    assert files["pointmaze-teleport-stitch-v0"] == (
        "pointmaze-teleport-stitch-v0.npz",
        "pointmaze-teleport-stitch-v0-val.npz",
    )
    assert "antmaze-large-explore-v0" in files and "antmaze-giant-explore-v0" not in files


# What may go wrong on the way.


def _dripping() -> Iterator[bytes]:
    yield said(b"", "Content-Length: 100000")
    while True:
        time.sleep(0.01)
        yield b"x"


def _silent() -> Iterator[bytes]:
    yield said(b"", "Content-Length: 100000")
    time.sleep(1.0)


def _locked_zip() -> bytes:
    body = bytearray(npz_body())
    first = body.index(b"PK\x01\x02")
    body[first + 8] |= 1  # the flag of a password
    return bytes(body)


BAD: dict[str, Callable[[], Iterable[bytes]]] = {
    "longer than it says": lambda: [said(npz_body(), "Content-Length: 1000")],
    "shorter than it says": lambda: [said(npz_body(), "Content-Length: 999999")],
    "larger than any": lambda: [said(b"x", f"Content-Length: {10**15}")],
    "endless": lambda: [said(b""), *repeat(bytes(1 << 16), 10_000)],
    "endless in chunks": lambda: [
        said(b"", "Transfer-Encoding: chunked"),
        *repeat(b"10000\r\n" + bytes(1 << 16) + b"\r\n", 10_000),
    ],
    "broken chunks": lambda: [said(b"zz\r\n", "Transfer-Encoding: chunked")],
    "chunks that end early": lambda: [said(b"5\r\nabc", "Transfer-Encoding: chunked")],
    "no length": lambda: [said(npz_body()[:-100])],
    "length in words": lambda: [said(b"abc", "Content-Length: many")],
    "length below zero": lambda: [said(b"abc", "Content-Length: -3")],
    "empty": lambda: [said(b"", "Content-Length: 0")],
    "packed": lambda: [said(gzip.compress(npz_body()), "Content-Encoding: gzip")],
    "a page": lambda: [said(b"<html>Please log in</html>", "Content-Type: text/html")],
    "no http": lambda: [b"220 mail.example ready\r\n"],
    "nothing": lambda: [],
    "half a head": lambda: [b"HTTP/1.1 200 OK\r\nContent-"],
    "endless head": lambda: [b"HTTP/1.1 200 OK\r\n", *repeat(b"X: y\r\n", 100_000)],
    "locked": lambda: [said(_locked_zip())],
    "dripping": _dripping,
    "silent": _silent,
    "to ftp": lambda: [said(b"", "Location: ftp://127.0.0.1/x", status="302 Found")],
    "to a file": lambda: [said(b"", "Location: file:///etc/passwd", status="302 Found")],
    "round and round": lambda: [said(b"", "Location: ?", status="302 Found")],
    "to nowhere": lambda: [said(b"", "Location: http://[", status="302 Found")],
}


@pytest.mark.parametrize("kind", BAD)
def test_whatever_a_server_does_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setattr(MODULE, "TIMEOUT", 0.2)
    monkeypatch.setattr(MODULE, "MAX_SIZE", 1 << 22)
    with answering(lambda asked: BAD[kind]()) as address, pytest.raises(DataError) as raised:
        download(NAMES["ogbench"], tmp_path, base_url=address, progress=False)
    assert address in str(raised.value) and len(str(raised.value)) < 1000
    assert not list(tmp_path.iterdir())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(suite=st.sampled_from([*NAMES]), data=st.data())
def test_the_damage_of_a_file_is_found(tmp_path: Path, suite: str, data: st.DataObject) -> None:
    """Any cut is; other bytes are, if the format has checksums of them."""
    path, fault = tmp_path / FILES[suite][0], PUBLISHERS[NAMES[suite]].fault
    whole = hdf5_body() if suite == "d4rl" else npz_body()
    places = st.integers(0, len(whole) - 1)
    path.write_bytes(whole)
    assert fault(path) is None
    path.write_bytes(whole[: data.draw(places)])
    assert fault(path)
    body = bytearray(whole)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), max_size=5)).items():
        body[place] = value
    path.write_bytes(body)
    if fault(path) is None and suite == "ogbench":
        with np.load(path) as found, np.load(io.BytesIO(whole)) as wanted:
            assert {**found}.keys() <= {**wanted}.keys()
            assert all(np.array_equal(found[name], wanted[name]) for name in found)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, which nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    made = subprocess.run(
        [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"],
        capture_output=True,
        check=True,
    )
    path.write_bytes(made.stdout)
    return path


def test_https_is_trusted_only_with_a_certificate_and_never_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    without_proxies(monkeypatch)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    body = hdf5_body()
    plain_was_asked = []

    def plain(asked: str) -> list[bytes]:
        plain_was_asked.append(asked)
        return [said(body)]

    def moved(asked: str) -> list[bytes]:
        name = asked.split()[1].rpartition("/")[2]
        if "/down/" in asked:
            return [said(b"", f"Location: {other}/{name}", status="301 Moved")]
        if "/on/" in asked:
            return [said(b"", f"Location: /here/{name}", status="307 Moved")]
        return [said(body)]

    def fetch(address: str, folder: str) -> Path:
        return download(NAMES["d4rl"], tmp_path / folder, base_url=address, progress=False)

    with answering(plain) as other, answering(moved, tls) as address:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(DataError, match="certificate"):
            fetch(f"{address}/here", "untrusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(f"{address}/here", "here").read_bytes() == body
        assert fetch(f"{address}/on", "on").read_bytes() == body
        with pytest.raises(DataError, match="redirects to http://"):
            fetch(f"{address}/down", "down")
    assert not plain_was_asked and not list((tmp_path / "down").iterdir())


def test_every_address_is_https_and_no_other_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of a proxy in the way shows which addresses were tried."""
    without_proxies(monkeypatch)
    asked: list[str] = []

    def proxy(line: str) -> list[bytes]:
        asked.append(line)
        return [said(b"", status="502 Bad Gateway")]

    with answering(proxy) as address:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        for name in PUBLISHERS:
            with pytest.raises(DataError, match="502"):
                download(name, tmp_path, progress=False)
    assert len(asked) == len(PUBLISHERS)
    assert {line.split()[0] for line in asked} == {"CONNECT"}


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://a b", "http://127.0.0.1:port", "gopher://x", "http://é" * 40]
)
def test_an_invalid_address_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    without_proxies(monkeypatch)
    with pytest.raises(DataError, match="Could not fetch"):
        download(NAMES["d4rl"], tmp_path, base_url=address, progress=False)


def test_a_folder_that_cannot_be_written_is_one_error(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/dfplan")):
        with pytest.raises(DataError, match="Could not write"):
            download(NAMES["d4rl"], folder, base_url=f"{server}/good", progress=False)
    assert (tmp_path / "file").read_text() == "mine"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        download(NAMES["d4rl"], tmp_path / "full", base_url=f"{server}/good", progress=False)
    assert not list((tmp_path / "full").iterdir())


def test_what_a_killed_fetch_left_is_gone_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    body, halves = hdf5_body(), threading.Event()

    def first_half(_: str) -> Iterator[bytes]:
        yield said(body[: len(body) // 2], f"Content-Length: {len(body)}")
        halves.set()
        time.sleep(1.0)

    with answering(first_half) as address:
        fetching = get_context("fork").Process(
            target=download, args=(NAMES["d4rl"], tmp_path), kwargs={"base_url": address}
        )
        fetching.start()
        assert halves.wait(60)
        while not any(path.stat().st_size for path in tmp_path.rglob("*.hdf5") if path.is_file()):
            time.sleep(0.01)
        fetching.kill()
        fetching.join()
    assert not set(names_in(tmp_path)) & {*FILES["d4rl"]}
    with answering(lambda _: [said(body)]) as address:
        download(NAMES["d4rl"], tmp_path, base_url=address, progress=False)
    assert names_in(tmp_path) == with_checksums(FILES["d4rl"])
    assert (tmp_path / FILES["d4rl"][0]).read_bytes() == body


def test_two_that_fetch_the_same_file_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    body, both = hdf5_body(), threading.Barrier(2)

    def slowly(_: str) -> Iterator[bytes]:
        yield said(body[:100], f"Content-Length: {len(body)}")
        both.wait(60)
        yield body[100:]

    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            path = download(NAMES["d4rl"], tmp_path, base_url=address, progress=False)
            assert path.read_bytes() == body
        except BaseException as error:
            errors.append(error)

    with answering(slowly) as address:
        threads = [threading.Thread(target=fetch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors and names_in(tmp_path) == with_checksums(FILES["d4rl"])
