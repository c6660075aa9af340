"""Fetching the published files, from a server of the tests' own."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import download
from dfplan.data.d4rl import read_d4rl
from dfplan.data.download import D4RL, OGBENCH, PUBLISHED
from dfplan.data.ogbench import read_ogbench
from dfplan.errors import ConfigError, DataError

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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    bodies = {file: hdf5_body() for file in FILES["d4rl"]}
    bodies |= {file: npz_body() for file in FILES["ogbench"]}
    monkeypatch.setattr(Server, "bodies", bodies, raising=False)
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
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
    assert sorted(file.name for file in kept.iterdir()) == sorted(FILES[suite])
    assert download(NAMES[suite], kept, base_url=f"{server}/gone", progress=False) == path


def test_what_is_missing_alone_is_fetched(server: str, tmp_path: Path) -> None:
    name = NAMES["ogbench"]
    with pytest.raises(DataError, match=r"-val\.npz: .*404"):
        download(name, tmp_path, base_url=f"{server}/train", progress=False)
    assert [file.name for file in tmp_path.iterdir()] == FILES["ogbench"][:1]
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
    with pytest.raises(DataError, match="what came is"):
        download(NAMES["ogbench"], tmp_path, base_url=f"{server}/flipped", progress=False)
    assert not list(tmp_path.iterdir())


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
    """As ``d4rl/pointmaze/__init__.py`` has them, and OGBench's list of point mazes."""
    assert len(D4RL.files) == 20 and len(OGBENCH.files) == 16
    assert set(PUBLISHED) == {*D4RL.files, *OGBENCH.files}
    for name, file in {
        "maze2d-open-v0": "maze2d-open-sparse.hdf5",
        "maze2d-open-dense-v0": "maze2d-open-dense.hdf5",
        "maze2d-large-v0": "maze2d-large-sparse.hdf5",
        "maze2d-medium-v1": "maze2d-medium-sparse-v1.hdf5",
        "maze2d-medium-dense-v1": "maze2d-medium-dense-v1.hdf5",
        "maze2d-eval-large-v1": "maze2d-eval-large-sparse-v1.hdf5",
        "maze2d-eval-umaze-dense-v1": "maze2d-eval-umaze-dense-v1.hdf5",
    }.items():
        assert D4RL.files[name] == (file,)
    assert OGBENCH.files["pointmaze-teleport-stitch-v0"] == (
        "pointmaze-teleport-stitch-v0.npz",
        "pointmaze-teleport-stitch-v0-val.npz",
    )
