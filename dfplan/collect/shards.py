"""Collecting data in pieces, by several processes, each piece kept as soon as it is there.

The pieces lie in a folder until the data set is written from them, so that a run that was broken
off goes on where it was. What a piece holds depends on the recipe, the seed and its number alone.
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
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from dfplan.data.storage import allocate
from dfplan.errors import ConfigError, DataError, DfplanError
from dfplan.files import atomic_path, remove_folder
from dfplan.processes import exit_with_parent
from dfplan.types import Recording

_HEADER = "header.json"
_OF_EPISODES = ("episodes", "final_observations")
_OF_ROWS = ("observations", "actions", "rewards", "goals", "terminals", "timeouts")


class Recipe(Protocol):
    """A way to collect data, cut into shards; it goes to worker processes pickled."""

    @property
    def version(self) -> str:
        """Counted up when the same seed would give other data."""

    @property
    def sizes(self) -> Sequence[int]:
        """Environment steps of each shard."""

    def collect(self, shard: int, seed: np.random.SeedSequence) -> Recording:
        """The data of one shard; it depends on nothing else than the arguments and the recipe."""


def collect_shards(
    recipe: Recipe,
    seed: int,
    folder: Path,
    facts: Mapping[str, str | int],
    workers: int,
    bar: tqdm[Any],
) -> list[Path]:
    """Collect the shards of ``recipe`` that ``folder`` does not hold yet.

    Args:
        recipe: what to collect.
        seed: at least 0.
        folder: where the shards are kept; made if it is not there. It goes again where the run
            fails before the first shard is done.
        facts: what tells this collection from another; a folder with others is refused.
        workers: processes, at least 1; never more than there are shards left.
        bar: shows the steps that are done.

    Returns:
        The file of each shard, in order, for :func:`joined`.

    Raises:
        ConfigError: the folder holds shards of another collection.
        DfplanError: a worker process died.
        OSError: a shard cannot be written, as on a full disk.
    """
    _open(folder, {**facts, "version": recipe.version, "shards": len(recipe.sizes)})
    files = [folder / f"{shard:06}.npz" for shard in range(len(recipe.sizes))]
    seeds = np.random.SeedSequence(seed).spawn(len(files))
    done = [file.exists() for file in files]
    jobs = [
        (recipe, shard, seeds[shard], file) for shard, file in enumerate(files) if not done[shard]
    ]
    bar.update(sum(size for size, there in zip(recipe.sizes, done, strict=True) if there))
    try:
        with closing(_finished(jobs, min(workers, len(jobs)))) as finished:
            for shard in finished:
                bar.update(recipe.sizes[shard])
    finally:
        if not any(file.exists() for file in files):
            remove_folder(folder)
    return files


_Job = tuple[Recipe, int, np.random.SeedSequence, Path]


def _finished(jobs: Sequence[_Job], workers: int) -> Generator[int, None, None]:
    """Do the jobs, in up to ``workers`` processes; the number of each shard when it is done."""
    if workers <= 1:
        for job in jobs:
            yield _do(job)
        return
    # A fresh interpreter a worker: forking one that holds threads or a simulator can hang.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
    )
    try:
        with _interrupts_held():
            futures = [pool.submit(_do, job) for job in jobs]
        for future in futures:
            yield future.result()
    except BaseException as error:
        # Ctrl-C is not to wait for the shards in work: they are written whole or not at all.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise DfplanError(
            f"A process that collects data died ({error}). In a script, call generate() under "
            'if __name__ == "__main__": (each worker imports the script again), or pass '
            "workers=1; if memory ran out, pass fewer workers. What is done is kept: the same "
            "call goes on from there."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches processes that begin in it.

    They would end with a traceback each while they are still importing.
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


def _do(job: _Job) -> int:
    recipe, shard, seed, file = job
    recording = recipe.collect(shard, seed)
    fields = {name: getattr(recording, name) for name in (*_OF_ROWS, *_OF_EPISODES)}
    memory = io.BytesIO()
    np.savez(memory, **{name: values for name, values in fields.items() if values is not None})
    with atomic_path(file) as temporary:
        temporary.write_bytes(memory.getbuffer())
    return shard


def _open(folder: Path, facts: Mapping[str, str | int]) -> None:
    """Make the folder of the shards, or check that it is this collection's."""
    header = folder / _HEADER
    if not header.exists():
        with suppress(FileNotFoundError):
            if any(not file.name.startswith(".") for file in folder.iterdir()):
                raise ConfigError(
                    f"{folder} must be free for the parts of the collection; it holds other files. "
                    "Move them away, or write to another path."
                )
        with atomic_path(header) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        return
    try:
        found = dict(json.loads(header.read_text("utf-8")))
    except ValueError:
        found = {}
    if found != facts:
        others = [
            f"{name} {found.get(name)!r} instead of {facts.get(name)!r}"
            for name in {**facts, **found}
            if found.get(name) != facts.get(name)
        ]
        raise ConfigError(
            f"{folder} holds the parts of another collection that was broken off: "
            f"{', '.join(others)}. Delete the folder to begin anew, write to another path, or "
            "finish that one with its own arguments."
        )


def joined(files: Sequence[Path], source: str, maze: str) -> Recording:
    """Shards one behind the other as one recording; its arrays may be mapped from a file.

    Raises:
        DataError: a shard is damaged.
    """
    lengths = [len(shard["observations"]) for shard in map(_read, files)]
    fields: dict[str, Any] = {}
    episodes: list[np.ndarray] = []
    final_observations: list[np.ndarray] = []
    row = 0
    for file, length in zip(files, lengths, strict=True):
        shard = _read(file)
        episodes.append(shard["episodes"] + row)
        final_observations += [shard["final_observations"]] if "final_observations" in shard else []
        for name in _OF_ROWS:
            if name not in shard:
                continue
            if name not in fields:
                shape = (sum(lengths), *shard[name].shape[1:])
                fields[name] = allocate(shape, shard[name].dtype)
            fields[name][row : row + length] = shard[name]
        row += length
    return Recording(
        **fields,
        episodes=np.concatenate(episodes),
        final_observations=np.concatenate(final_observations) if final_observations else None,
        source=source,
        maze=maze,
    )


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as shard:
            return dict(shard)
    except Exception as error:  # zipfile and NumPy raise various things
        raise DataError(
            f"{file} is damaged ({error}). Delete it and run the same command again: only this "
            "part is collected anew."
        ) from error
