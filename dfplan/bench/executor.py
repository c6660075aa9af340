"""Execute many runs in parallel, on this machine or on a cluster.

joblib distributes the specs. On this machine, its threads only watch worker processes
(:mod:`dfplan.bench.launcher`), so a killed process takes no other with it. On a cluster, the
backend's own workers do the same on their machines.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import urlsplit

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from tqdm import tqdm

from dfplan.bench.launcher import SCRATCH, LostRunError, RunFiles, launch
from dfplan.bench.records import RunHeader, read_header, run_path, run_paths, write_run
from dfplan.bench.spec import RunSpec
from dfplan.errors import ConfigError, require_name, require_numbers
from dfplan.files import SCRATCH_PREFIX, remove_leftovers, scratch_folder

LOCAL = "processes"
"""The backend that needs no cluster."""

_CONNECT_TIMEOUT = 10.0  # seconds


def missing_runs(specs: Sequence[RunSpec], out: str | Path) -> list[RunSpec]:
    """Remove from ``specs`` the runs that the folder ``out`` contains.

    A stored run counts if its header is what it would be now. For example, a changed checkpoint
    makes a run missing.

    Raises:
        ConfigError: a run of one of the tasks has other episodes, so one report cannot rank both.
        DataError: a stored run is damaged, or of another format.
    """
    for spec in {spec.task_id: spec for spec in specs}.values():
        _require_same_episodes(spec, Path(out))

    def is_missing(header: RunHeader) -> bool:
        path = run_path(out, header.name)
        return not path.exists() or read_header(path) != header

    missing = []
    for spec in specs:
        if trackers := tuple(each for each in spec.trackers if is_missing(spec.header(each))):
            missing.append(replace(spec, trackers=trackers))
    return missing


def _require_same_episodes(spec: RunSpec, out: Path) -> None:
    for path in run_paths(out, spec.task_id):
        header = read_header(path)
        if (header.problems_digest, header.episode_count, header.split) != (
            spec.problems.digest,
            spec.episodes,
            spec.split,
        ):
            raise ConfigError(
                f"{out} contains {header.episode_count} {header.split} episodes of {spec.task_id} "
                f"({path.stem}), but {spec.episodes} {spec.split} episodes were requested. All "
                "runs in a folder must have the same episodes: request as many, or choose another "
                "folder with --out."
            )


def execute_runs(
    specs: Sequence[RunSpec],
    out: str | Path,
    *,
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    progress: bool = True,
) -> list[str]:
    """Execute runs and write them into the folder ``out``, each as soon as it is finished.

    The results do not depend on the order, the number of workers, or the backend: ``processes`` on
    this machine, ``ray`` or ``dask``. Workers of a cluster write into the folder themselves if they
    see it. Otherwise they send their results, which are written at the end.

    By default there are as many workers as cores, or all of the cluster. ``address`` is that of a
    running cluster, in the format of ray or dask; by default a cluster is started on this machine
    for the duration of the call.

    Returns:
        A message for each lost worker process.

    Raises:
        ConfigError: the backend is unknown, not installed or not reachable, or the number of
            workers is below 1.
    """
    require_name("backend", backend, (LOCAL, "ray", "dask"))
    if workers is not None:
        require_numbers({"workers": workers}, integer=True, minimum=1)
    if address is not None and backend == LOCAL:
        raise ConfigError("An address needs a cluster: name its backend, ray or dask, as well.")
    out = Path(out).absolute()
    remove_leftovers(Path(gettempdir()), SCRATCH)
    for folder in filter(Path.is_dir, (out, *out.glob("cells/*"))):
        remove_leftovers(folder)
    if not specs:
        return []  # no cluster is started
    lost: list[str] = []
    with (
        scratch_folder(out, SCRATCH_PREFIX) as token,
        _backend(backend, workers and min(workers, len(specs)), address),
        tqdm(total=len(specs), desc="runs", unit="spec", disable=not progress) as bar,
    ):
        # ray's backend returns results only when all are finished.
        streams = get_active_backend()[0].supports_return_generator
        results = Parallel(return_as="generator_unordered" if streams else "list")(
            delayed(_execute)(spec, out, token) for spec in specs
        )
        for result in results:
            if isinstance(result, str):
                lost.append(result)
            else:
                _write(result, out)
            bar.update()
    return lost


def _execute(spec: RunSpec, out: Path, token: Path) -> list[RunFiles] | str:
    """Launch a spec; return files that cannot be written here, or the message of a lost run."""
    try:
        files = launch(spec)
    except LostRunError as error:
        return str(error)
    if not token.exists():  # this machine does not share the folder
        return files
    _write(files, out)
    return []


def _write(files: Sequence[RunFiles], out: Path) -> None:
    for each in files:
        write_run(out, each.name, each.episodes, each.metadata)


@contextmanager
def _backend(backend: str, workers: int | None, address: str | None) -> Iterator[None]:
    """Select joblib's backend, and start a cluster unless one runs at ``address``."""
    local = workers or cpu_count()
    if backend == LOCAL:
        with parallel_config(backend="threading", n_jobs=local):
            yield
        return
    with _ray(local, address) if backend == "ray" else _dask(local, address):
        everywhere = -1 if workers is None and address is not None else local
        with parallel_config(backend=backend, n_jobs=everywhere):
            yield


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[None]:
    ray = _import("ray", "ray")
    _import("ray.util.joblib", "ray").register_ray()
    is_new = not ray.is_initialized()
    if is_new and address is None:
        # "local" because the variable RAY_ADDRESS may name another cluster.
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    elif is_new and address is not None:
        with _connecting("ray", address):
            ray.init(address=address, log_to_driver=False)
    try:
        yield
    finally:
        if is_new:
            ray.shutdown()


@contextmanager
def _dask(workers: int, address: str | None) -> Iterator[None]:
    distributed = _import("distributed", "dask")
    if address is not None:

        async def greet() -> None:
            connection = distributed.comm.connect(address)
            await (await asyncio.wait_for(connection, _CONNECT_TIMEOUT)).close()

        # A client that cannot connect may block its process forever. The check runs in its own
        # thread, because a notebook has a running event loop.
        with _connecting("dask", address), ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, greet()).result()
        with distributed.Client(address):
            yield
        return
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


@contextmanager
def _connecting(backend: str, address: str) -> Iterator[None]:
    """Turn any error while connecting to a cluster into one clear error."""
    try:
        # Backends try for minutes if nothing listens at the address.
        at = urlsplit(address if "://" in address else f"//{address}")
        if at.hostname and at.port:
            socket.create_connection((at.hostname, at.port), _CONNECT_TIMEOUT).close()
        yield
    except Exception as error:  # backends raise many types for a bad address
        reason = " ".join(str(error).split()) or f"no answer within {_CONNECT_TIMEOUT:g} s"
        raise ConfigError(
            f"There is no {backend} cluster at {address!r}: {reason}. Name the address of a "
            "running cluster, or leave it out to start one here."
        ) from error


def _import(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"This backend needs {extra}, which is not installed; run: pip install "
            f"'dfplan[{extra}]'"
        ) from error
