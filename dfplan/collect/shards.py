"""Collects data in shards, in several processes, and stores each shard when it is complete.

The shards stay in a folder until the data set is written from them, so that an interrupted
collection can be continued. The content of a shard depends only on the collector, the seed and the
number of the shard.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfplan.collect.collector import Collector
from dfplan.data.npz import DAMAGE
from dfplan.data.storage import allocate
from dfplan.errors import ConfigError, DataError, DfplanError
from dfplan.files import atomic_path, remove_folder
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.processes import exit_with_parent
from dfplan.types import Recording

_HEADER = "header.json"
_FIELDS = ("observations", "actions", "rewards", "goals", "terminals", "timeouts", "episodes")
_STORED_NAMES = {**{name: name for name in _FIELDS}, "final_observations": "bare_ends"}
"""The array in a shard's file for each field of a recording."""


def collect_shards(
    collector: Collector,
    seed: int,
    folder: Path,
    facts: Mapping[str, str | int],
    workers: int,
    bar: tqdm[Any],
) -> list[Path]:
    """Collect the shards that ``folder`` does not contain yet.

    Args:
        collector: what to collect.
        seed: at least 0.
        folder: folder for the shards; created if missing. It is removed if the collection fails
            before the first shard is complete.
        facts: identify the collection. A folder with other facts is refused.
        workers: number of processes, at least 1; never more than there are shards left.
        bar: shows the completed steps.

    Returns:
        The file of each shard, in order, for :func:`join_shards`.

    Raises:
        ConfigError: the folder contains shards of another collection.
        DfplanError: a worker process died.
        OSError: a shard cannot be written, for example because the disk is full.
    """
    sizes = collector.shard_sizes
    _prepare(folder, {**facts, "version": collector.version, "shards": len(sizes)})
    files = [folder / f"{shard:06}.npz" for shard in range(len(sizes))]
    seeds = np.random.SeedSequence(seed).spawn(len(files))
    done = [file.exists() for file in files]
    jobs = [
        (collector, shard, seeds[shard], file)
        for shard, file in enumerate(files)
        if not done[shard]
    ]
    bar.update(sum(size for size, exists in zip(sizes, done, strict=True) if exists))
    try:
        with closing(_run(jobs, min(workers, len(jobs)))) as completed:
            for shard in completed:
                bar.update(sizes[shard])
    finally:
        if not any(file.exists() for file in files):
            remove_folder(folder)
    return files


def join_shards(
    files: Sequence[Path], source: str, maze: str, layout: ObservationLayout = PLANAR
) -> Recording:
    """Join shards, in order, to one recording; its arrays may be mapped from a temporary file.

    Args:
        files: files of the shards.
        source: name of the recording.
        maze: its maze as text.
        layout: the columns of its observations.

    Raises:
        DataError: a shard is damaged.
    """
    lengths = [len(shard["observations"]) for shard in map(_read, files)]
    fields: dict[str, Any] = {}
    episodes, final, row = [], [], 0
    for file, length in zip(files, lengths, strict=True):
        shard = _read(file)
        episodes.append(shard.pop("episodes") + row)
        final += [shard.pop("final_observations")] if "final_observations" in shard else []
        for name, values in shard.items():
            if name not in fields:
                fields[name] = allocate((sum(lengths), *values.shape[1:]), values.dtype)
            fields[name][row : row + length] = values
        row += length
    return Recording(
        **fields,
        episodes=np.concatenate(episodes),
        final_observations=np.concatenate(final) if final else None,
        source=source,
        maze=maze,
        layout=layout,
    )


_Job = tuple[Collector, int, np.random.SeedSequence, Path]


def _run(jobs: Sequence[_Job], workers: int) -> Generator[int, None, None]:
    """Collect shards in up to ``workers`` processes; yield the number of each completed shard."""
    if workers <= 1:
        for job in jobs:
            yield _collect(job)
        return
    # New interpreters: a fork of a process with threads or a simulator can hang.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
    )
    try:
        with _block_interrupts():
            futures = [pool.submit(_collect, job) for job in jobs]
        for future in futures:
            yield future.result()
    except BaseException as error:
        # After Ctrl-C, do not wait for the current shards. Their files are written atomically.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise DfplanError(
            f"A process that collects data died ({error}). In a script, call generate() under "
            'if __name__ == "__main__": (each worker imports the script again), or pass '
            "workers=1. If there was not enough memory, pass fewer workers. Completed parts are "
            "kept: call it again to continue."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _block_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, and block it in processes that start in it.

    Otherwise each of them would print a traceback while it imports its modules.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int) -> None:
    """Ignore Ctrl-C, which the parent process handles, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_parent(parent)


def _collect(job: _Job) -> int:
    """Collect one shard and write its file; return its number."""
    collector, shard, seed, file = job
    recording = collector.collect(shard, seed)
    arrays = {stored: getattr(recording, name) for name, stored in _STORED_NAMES.items()}
    memory = io.BytesIO()
    np.savez(memory, **{name: values for name, values in arrays.items() if values is not None})
    with atomic_path(file) as temporary:
        temporary.write_bytes(memory.getbuffer())
    return shard


def _prepare(folder: Path, facts: Mapping[str, str | int]) -> None:
    """Create the folder of the shards, or check that it belongs to this collection."""
    header = folder / _HEADER
    if not header.exists():
        with suppress(FileNotFoundError):
            if any(not file.name.startswith(".") for file in folder.iterdir()):
                raise ConfigError(
                    f"{folder} is needed for the parts of the collection, but contains other "
                    "files. Move them away, or write to another path."
                )
        with atomic_path(header) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        return
    try:
        stored = dict(json.loads(header.read_text("utf-8")))
    except ValueError:
        stored = {}
    if stored != facts:
        differences = [
            f"{name} {stored.get(name)!r} instead of {facts.get(name)!r}"
            for name in {**facts, **stored}
            if stored.get(name) != facts.get(name)
        ]
        raise ConfigError(
            f"{folder} contains the parts of another interrupted collection: "
            f"{', '.join(differences)}. Delete the folder to start again, write to another path, "
            "or continue that collection with its own arguments."
        )


def _read(file: Path) -> dict[str, np.ndarray]:
    """Read the fields in a shard's file by name."""
    try:
        with np.load(file) as shard:
            return {
                name: shard[stored] for name, stored in _STORED_NAMES.items() if stored in shard
            }
    except DAMAGE as error:
        raise DataError(
            f"{file} is damaged ({error}). Delete it and run the same command again. Only this "
            "part is collected again."
        ) from error
