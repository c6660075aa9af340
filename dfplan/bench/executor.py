"""Many jobs at once, on this machine or over a cluster; what is there already is not played again.

joblib hands out the jobs. Locally its threads do no more than watch a process each
(:mod:`dfplan.bench.job`), so one that is killed takes nothing with it; on a cluster the
engine's workers do the same where they run.
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

from dfplan.bench.job import SCRATCH, Files, Job, LostCellError, run
from dfplan.bench.records import cell_path, cell_paths, read_head, write_cell
from dfplan.errors import ConfigError, require_numbers, unknown_name
from dfplan.files import PARTIAL, remove_leftovers, scratch_folder

LOCAL = "processes"
"""The backend that needs no cluster."""

BACKENDS = (LOCAL, "ray", "dask")

_CONNECTING = 10.0  # seconds


def missing(jobs: Sequence[Job], out: str | Path) -> list[Job]:
    """What is left of ``jobs`` once the cells in the folder ``out`` are taken off.

    A cell counts as there if its first line is what it would be now: another checkpoint makes it
    missing.

    Raises:
        ConfigError: a cell of one of the tasks is of other episodes, which one report cannot rank
            with these.
        DataError: a cell that is there is damaged, or of another version.
    """
    for job in {job.task: job for job in jobs}.values():
        _require_same_episodes(job, Path(out))
    left = []
    for job in jobs:
        heads = {tracker: job.head(tracker) for tracker in job.trackers}
        paths = {tracker: cell_path(out, head.name) for tracker, head in heads.items()}
        trackers = tuple(
            tracker
            for tracker, head in heads.items()
            if not paths[tracker].exists() or read_head(paths[tracker]) != head
        )
        if trackers:
            left.append(replace(job, trackers=trackers))
    return left


def _require_same_episodes(job: Job, out: Path) -> None:
    for path in cell_paths(out, job.task):
        head = read_head(path)
        if (head.problems, head.episodes, head.split) != (
            job.problems.digest,
            job.episodes,
            job.split,
        ):
            raise ConfigError(
                f"{out} holds {head.episodes} {head.split} episodes of {job.task} ({path.stem}), "
                f"and this asks for {job.episodes} {job.split} ones; a folder holds the same of "
                "all. Ask for as many, or name another folder by --out."
            )


def sweep(
    jobs: Sequence[Job],
    out: str | Path,
    *,
    workers: int | None = None,
    backend: str = LOCAL,
    address: str | None = None,
    progress: bool = True,
) -> list[str]:
    """Play jobs and write their cells into the folder ``out``, each as soon as it is over.

    The cells do not depend on the order, the number of workers or the backend.

    Args:
        jobs: what to play.
        out: the folder of a benchmark. Workers of a cluster that see it write there themselves;
            what others send back is written when all are done.
        workers: jobs at a time; by default as many as there are cores, or as the cluster has.
        backend: ``processes`` on this machine, ``ray`` or ``dask``.
        address: of a running cluster, as ray or dask has it; by default one is started here, for
            as long as this takes.
        progress: whether to show a bar.

    Returns:
        What was lost, a message for each job whose process died.

    Raises:
        ConfigError: an unknown backend, one that is not installed or cannot be reached, or a number
            of workers below 1.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    if workers is not None:
        require_numbers({"workers": workers}, whole=True, least=1)
    if address is not None and backend == LOCAL:
        raise ConfigError("An address is that of a cluster; name its backend, ray or dask, too.")
    out = Path(out).absolute()
    remove_leftovers(Path(gettempdir()), SCRATCH)
    for folder in filter(Path.is_dir, (out, *out.glob("cells/*"))):
        remove_leftovers(folder)
    if not jobs:
        return []  # and no cluster is started
    lost: list[str] = []
    with (
        scratch_folder(out, f"{PARTIAL}sweep-") as token,
        _engine(backend, workers and min(workers, len(jobs)), address),
        tqdm(total=len(jobs), desc="cells", unit="job", disable=not progress) as bar,
    ):
        # ray's backend gives results only when all are there.
        streams = get_active_backend()[0].supports_return_generator
        results = Parallel(return_as="generator_unordered" if streams else "list")(
            delayed(_kept)(job, out, token) for job in jobs
        )
        for result in results:
            if isinstance(result, str):
                lost.append(result)
            else:
                _write(result, out)
            bar.update()
    return lost


def _kept(job: Job, out: Path, token: Path) -> list[Files] | str:
    """What a worker does: the job's files if it could not write them here; why it was lost."""
    try:
        files = run(job)
    except LostCellError as error:
        return str(error)
    if not token.exists():  # the worker is on a machine that does not share the folder
        return files
    _write(files, out)
    return []


def _write(files: Sequence[Files], out: Path) -> None:
    for each in files:
        write_cell(out, each.name, each.rows, each.aside)


@contextmanager
def _engine(backend: str, workers: int | None, address: str | None) -> Iterator[None]:
    """Joblib's backend, and a cluster for it unless one is running at ``address``."""
    if backend == LOCAL:
        with parallel_config(backend="threading", n_jobs=workers or cpu_count()):
            yield
        return
    local = workers or cpu_count()
    with _ray(local, address) if backend == "ray" else _dask(local, address):
        everywhere = -1 if workers is None and address is not None else local
        with parallel_config(backend=backend, n_jobs=everywhere):
            yield


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[None]:
    ray = _installed("ray", "ray")
    _installed("ray.util.joblib", "ray").register_ray()
    begun = not ray.is_initialized()
    if begun and address is None:
        # "local", or the variable RAY_ADDRESS would name another.
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    elif begun and address is not None:
        with _reaching("ray", address):
            ray.init(address=address, log_to_driver=False)
    try:
        yield
    finally:
        if begun:
            ray.shutdown()


@contextmanager
def _dask(workers: int, address: str | None) -> Iterator[None]:
    distributed = _installed("distributed", "dask")
    if address is not None:

        async def greet() -> None:
            talk = await asyncio.wait_for(distributed.comm.connect(address), _CONNECTING)
            await talk.close()

        # A client that cannot connect may block its process for ever. In a thread of its own, since
        # a notebook has a loop that runs.
        with _reaching("dask", address), ThreadPoolExecutor(1) as pool:
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
def _reaching(engine: str, address: str) -> Iterator[None]:
    """Makes one error of what goes wrong with connecting to a cluster."""
    try:
        # Engines try for minutes where nobody listens.
        at = urlsplit(address if "://" in address else f"//{address}")
        if at.hostname and at.port:
            socket.create_connection((at.hostname, at.port), _CONNECTING).close()
        yield
    except Exception as error:  # whatever engines raise of an address that is not theirs
        why = " ".join(str(error).split()) or f"no answer within {_CONNECTING:g} s"
        raise ConfigError(
            f"There is no cluster of {engine} at {address!r}: {why}. Name the address of one that "
            "is running, or leave it out to start one here."
        ) from error


def _installed(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"This backend needs {extra}, which is not installed; run: pip install "
            f"'dfplan[{extra}]'"
        ) from error
