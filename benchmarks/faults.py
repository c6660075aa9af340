"""Is anything lost if a process is killed, or wrong if a file is damaged?

    python benchmarks/faults.py
    python benchmarks/faults.py --kills 60 --mutations 200 --seed 1

Kills: a process that trains, collects data, converts data or runs a benchmark is killed (SIGKILL)
at a random time, and the same work is started again. The result is "whole" if the files equal those
of a run that was not killed (all tensors, rows and records, but not the times), "lost" if they
differ or the second run is refused, and "raw" if it ends with an error that is not dfplan's. "left
over" counts runs that leave other files. "in time" counts the kills before the work was finished.

Mutations: one random place of a file is damaged: a bit flips, a block becomes zeros or noise, the
file is cut, two blocks are exchanged, or a block is repeated. Reading it is "refused" with an error
of dfplan's, or gives "the same" content. "silent" counts other content without an error, which a
checksum must prevent: that of a checkpoint, of a zip file, or of `dfplan data checksum`. "raw" is
any other error, "dead" a process that crashed or took longer than a minute.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from findings import RESULTS, publish
from jsonargparse import auto_cli
from tqdm import tqdm

from dfplan.bench.plan import plan_runs, run_benchmark
from dfplan.bench.records import read_episodes, read_header, read_run, run_paths, write_run
from dfplan.collect import generate
from dfplan.data import checksum, read, segmented, write
from dfplan.errors import DfplanError
from dfplan.pretrained import checkpoint_path, load
from dfplan.training.checkpoint import read_tensors
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Recording

_TIMEOUT = 60.0  # seconds after which a process counts as dead
_SHARD = 2000  # steps; small, so that data is collected in several parts


@dataclass(frozen=True)
class Work:
    """Work that a process does in a folder, and that can be started again.

    Attributes:
        act: does the work.
        content: describes the folder's content without what differs between runs.
        share: of the kills.
    """

    act: Callable[[Path], None]
    content: Callable[[Path], str]
    share: float


@dataclass(frozen=True)
class Subject:
    """A file, or a folder in which one file is damaged.

    Attributes:
        make: writes it into a folder; returns the path to read and the file to damage.
        content: reads it.
        checksum: whether a checksum protects it.
    """

    make: Callable[[Path], tuple[Path, Path]]
    content: Callable[[Path], str]
    checksum: bool


def main(kills: int = 300, mutations: int = 1000, seed: int = 0, out: Path = RESULTS) -> None:
    started = time.perf_counter()
    torch.set_num_threads(1)  # a process with more threads cannot be forked safely
    sys.modules["dfplan.collect.d4rl"].SHARD_STEPS = _SHARD  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        data = record_walk(Path(name))
        works, subjects = _works(data), _subjects(data)
        bar = tqdm(total=kills + mutations, unit="trial")
        with bar:
            killed = [
                _count_kills(title, work, round(kills * work.share), Path(name), rng, bar)
                for title, work in works.items()
            ]
            counts = np.full(len(subjects), mutations // len(subjects))
            counts[: mutations % len(subjects)] += 1
            damaged = [
                _count_mutations(title, subject, int(count), Path(name), rng, bar)
                for (title, subject), count in zip(subjects.items(), counts, strict=True)
            ]
    tables = {"Kills": [*killed, _sum(killed)], "Mutations": [*damaged, _sum(damaged)]}
    publish(out, "faults", __doc__, started, tables)


def record_walk(folder: Path) -> Recording:
    """Make a short recording of Maze2D's umaze."""
    return read(generate("umaze", 3000, seed=0, path=folder / "walk.hdf5", progress=False))


def _works(data: Recording) -> dict[str, Work]:
    trajectories = segmented(data)
    recipe = ForcingConfig(tokens=4, width=16, layers=1, heads=1)
    settings = TrainSettings(
        steps=24, batch_size=8, warmup=4, save_every=2, log_every=2, keep_every=4
    )

    def training(folder: Path) -> None:
        resume = (folder / "state.safetensors").exists()
        train(recipe, trajectories, folder, settings=settings, resume=resume, progress=False)

    def collection(folder: Path) -> None:
        generate("umaze", 5 * _SHARD, seed=0, path=folder / "d.hdf5", workers=1, progress=False)

    def conversion(folder: Path) -> None:
        for name in ("d.hdf5", "d.npz", "d-v0"):
            if not (folder / name).exists() or name != "d-v0":
                write(data, folder / name)

    def benchmark(folder: Path) -> None:
        run_benchmark(
            folder,
            plan_runs(tasks=["maze2d-umaze"], methods=["controller"], episodes=2),
            workers=1,
            progress=False,
        )

    return {
        "training": Work(training, _training_content, 0.45),
        "collection of data": Work(collection, _data_content, 0.25),
        "conversion of data": Work(conversion, _data_content, 0.25),
        "benchmark": Work(benchmark, _run_content, 0.05),
    }


def _training_content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        _add_tensors(digest, path)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    digest.update(repr([line.partition(', "seconds"')[0] for line in lines]).encode())
    return digest.hexdigest()


def _data_content(folder: Path) -> str:
    return " ".join(
        f"{path.name} {_recording(path)}"
        for path in sorted(folder.iterdir())
        if path.suffix in (".hdf5", ".npz") or path.name == "d-v0"
    )


def _run_content(folder: Path) -> str:
    rows = [(path.name, read_episodes(path)) for path in run_paths(folder)]
    return repr([(name, [astuple(row) for row in found]) for name, found in rows])


def _subjects(data: Recording) -> dict[str, Subject]:
    """Files to damage, by name."""

    def written(name: str, folder: Path, *, with_checksum: bool = False) -> tuple[Path, Path]:
        path = write(data, folder / name)
        if with_checksum:
            checksum(path)
        return path, path / "data" / "main_data.hdf5" if path.is_dir() else path

    def plain(folder: Path, *, with_checksum: bool = False) -> tuple[Path, Path]:
        """Write a contiguous hdf5 file, which has no checksum of its own."""
        path = folder / "plain.hdf5"
        with h5py.File(path, "w") as file:
            for field in ("observations", "actions", "rewards"):
                file[field] = getattr(data, field)
        if with_checksum:
            checksum(path)
        return path, path

    def copied(folder: Path) -> tuple[Path, Path]:
        path = Path(shutil.copy(checkpoint_path("maze2d-umaze"), folder / "c.safetensors"))
        return path, path

    def benchmark_record(folder: Path) -> tuple[Path, Path]:
        source = run_paths(RESULTS / "pointmaze")[0]
        path = write_run(
            folder,
            read_header(source).name,
            source.read_text(encoding="utf-8"),
            source.with_suffix(".json").read_text(encoding="utf-8"),
        )
        return path, path

    subjects = {"checkpoint": Subject(copied, _loaded, checksum=True)}
    for name in ("d.npz", "d.hdf5", "d-v0"):
        layout = {"d.npz": "npz", "d.hdf5": "hdf5", "d-v0": "Minari"}[name]
        subjects[f"{layout} with a checksum"] = Subject(
            partial(written, name, with_checksum=True), _recording, checksum=True
        )
        subjects[layout] = Subject(partial(written, name), _recording, checksum=name == "d.npz")
    subjects["plain hdf5 with a checksum"] = Subject(
        partial(plain, with_checksum=True), _recording, checksum=True
    )
    subjects["plain hdf5"] = Subject(plain, _recording, checksum=False)
    subjects["benchmark record"] = Subject(
        benchmark_record, lambda path: repr(read_run(path).episodes), checksum=False
    )
    return subjects


def _loaded(path: Path) -> str:
    load(path)
    digest = hashlib.sha256()
    _add_tensors(digest, path)
    return digest.hexdigest()


def _add_tensors(digest: hashlib._Hash, path: Path) -> None:
    for name, tensor in sorted(read_tensors(path)[0].items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())


def _recording(path: Path) -> str:
    recording = read(path)
    digest = hashlib.sha256()
    for field in fields(recording):
        value = getattr(recording, field.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{field.name} {value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
    digest.update(repr(recording.maze).encode())
    return digest.hexdigest()


def _count_kills(
    title: str, work: Work, count: int, folder: Path, rng: np.random.Generator, bar: tqdm[None]
) -> dict[str, object]:
    """Return a row: ``count`` kills of one kind of work, each in a new folder."""
    whole = folder / "unbroken"
    started = time.perf_counter()
    kind, _ = _in_a_process(partial(work.act, whole))
    seconds = time.perf_counter() - started
    if kind != "done":
        raise RuntimeError(f"{title} fails without being killed: {kind}")
    kind, expected = _in_a_process(partial(work.content, whole))
    files = _files(whole)
    found: Counter[str] = Counter()
    for number in range(count):
        out = folder / f"killed-{number}"
        out.mkdir()
        ended, _ = _in_a_process(partial(work.act, out), kill_after=rng.uniform(0, seconds))
        found["in time"] += ended == "killed"
        again, answer = _in_a_process(partial(work.act, out))
        kind, content = _in_a_process(partial(work.content, out))
        if again == "raw" or kind == "raw":
            found["raw"] += 1
        elif again == "done" and content == expected:
            found["whole"] += 1
        else:
            found["lost"] += 1
        found["left over"] += _files(out) != files
        if (again, content, _files(out)) != ("done", expected, files):
            bar.write(f"{title} {number}: {again} {answer}; {sorted(_files(out) ^ files)}")
        shutil.rmtree(out)
        bar.update()
    shutil.rmtree(whole)
    columns = ("in time", "whole", "lost", "raw", "left over")
    return {"work": title, "kills": count, **{name: found[name] for name in columns}}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _count_mutations(
    title: str,
    subject: Subject,
    count: int,
    folder: Path,
    rng: np.random.Generator,
    bar: tqdm[None],
) -> dict[str, object]:
    """Return a row: ``count`` mutations of one file."""
    place = folder / "subject"
    place.mkdir()
    path, file = subject.make(place)
    content = file.read_bytes()
    kind, expected = _in_a_process(partial(subject.content, path))
    if kind != "done":
        raise RuntimeError(f"{title} cannot be read undamaged: {expected}")
    found: Counter[str] = Counter()
    for number in range(count):
        mutated, what = content, ""
        while mutated == content:  # zeros may replace zeros
            mutated, what = _mutate(content, rng)
        file.write_bytes(mutated)
        kind, answer = _in_a_process(partial(subject.content, path))
        if kind == "done":
            kind = "the same" if answer == expected else "silent"
        found[kind] += 1
        if kind not in ("refused", "the same") and (kind != "silent" or subject.checksum):
            bar.write(f"{title} {number}, {what}: {kind} {answer}")
        bar.update()
    shutil.rmtree(place)
    columns = ("refused", "the same", "silent", "raw", "dead")
    return {
        "file": title,
        "checksum": "yes" if subject.checksum else "no",
        "mutations": count,
        **{name: found[name] for name in columns},
    }


def _mutate(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return the content with one kind of damage, and a description of the damage."""
    data = bytearray(content)
    # Headers are short, and much depends on them.
    at = int(rng.integers(min(len(data), 4096) if rng.random() < 0.3 else len(data)))
    size = int(rng.integers(1, 1025))
    other = int(rng.integers(len(data)))
    kind = str(rng.choice(["bit", "zeros", "noise", "cut", "swap", "twice"]))
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "noise":
        data[at : at + size] = rng.bytes(len(data[at : at + size]))
    elif kind == "cut":
        del data[at:]
    elif kind == "swap":
        size = min(size, len(data) - max(at, other))
        first, second = data[at : at + size], data[other : other + size]
        data[at : at + size], data[other : other + size] = second, first
    else:
        data[at:at] = data[at : at + size]
    return bytes(data), f"{kind} at {at}, {size} bytes"


def _in_a_process(
    act: Callable[[], str | None], kill_after: float | None = None
) -> tuple[str, str]:
    """Call a function in a forked process, and return how it ended.

    Args:
        act: the function.
        kill_after: seconds after which the process is killed, if it still runs.

    Returns:
        ("done", its result), ("refused" or "raw", its error), ("killed", ""), or ("dead", "") if it
        crashed or took too long.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(act, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(_TIMEOUT if kill_after is None else kill_after):
            kind, answer = receiver.recv()
        else:
            kind, answer = "dead" if kill_after is None else "killed", ""
    except EOFError:
        kind, answer = "dead", ""
    process.kill()
    process.join()
    receiver.close()
    return kind, answer


def _report(act: Callable[[], str | None], answer: multiprocessing.connection.Connection) -> None:
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        answer.send(("done", act() or ""))
    except DfplanError as error:
        answer.send(("refused", f"{type(error).__name__}: {error}"))
    except Exception as error:
        answer.send(("raw", f"{type(error).__name__}: {error}"))


def _sum(rows: list[dict[str, object]]) -> dict[str, object]:
    """Return a last row with the sums of all numeric columns."""
    return {
        name: sum(int(str(row[name])) for row in rows)
        if isinstance(value, int)
        else ("all" if name != "checksum" else "")
        for name, value in rows[0].items()
    }


if __name__ == "__main__":
    auto_cli(main)
