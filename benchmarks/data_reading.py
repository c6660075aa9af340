"""How long does it take to the first batch, in how much memory, and does training wait for data?

    python benchmarks/data_reading.py

Each row is measured in a separate process. "to first batch" is the time from the call that reads
the file to the first batch of windows: reading, detecting anomalies, fingerprint and statistics.
"peak memory" is the peak of anonymous memory (RssAnon, sampled every 5 ms) minus its value after
importing dfplan. "peak resident" also counts the file's mapped pages, which the system reclaims
when needed. "waits" is the share of the training time in which the loop waits for a batch, with two
threads, on a file that is not in the page cache when training starts. The file with 100 million
steps repeats the one with 4 million 25 times, in OGBench's format, uncompressed and memory-mapped;
the file with 1 million is its beginning. The published hdf5 files are compressed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli

_MILLION = 1_000_000


def main(
    folder: Path | None = None,
    steps: int = 4 * _MILLION,
    copies: int = 25,
    train_steps: int = 60,
    out: Path = RESULTS,
) -> None:
    """Make the files and measure.

    Args:
        folder: for the files, which need 3 GB; by default a temporary one.
        steps: in the hdf5 file.
        copies: of these steps in the large file.
        train_steps: optimizer steps of each training.
        out: folder for the results.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        files = _files(Path(temporary), steps, copies)
        rows = []
        for file, count in files.items():
            found = json.loads(
                subprocess.run(
                    [sys.executable, __file__, "measure", str(file), str(train_steps)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            rows.append({"file": f"{count / _MILLION:g} million steps, {file.suffix[1:]}", **found})
    publish(out, "data_reading", __doc__, started, {"Reading and training": rows})


def _files(folder: Path, steps: int, copies: int) -> dict[Path, int]:
    """Write the files; return the number of steps in each."""
    from dfplan.collect.generate import generate
    from dfplan.data.read import read

    small = generate("maze2d-large", steps=steps, seed=0, path=folder / "data.hdf5")
    data = read(small)
    short, long = folder / "short.npz", folder / "long.npz"
    for file, rows, times in ((short, min(_MILLION, steps), 1), (long, steps, copies)):
        _stored_npz(file, data.observations[:rows], data.actions[:rows], times)
    return {small: steps, short: min(_MILLION, steps), long: steps * copies}


def _stored_npz(path: Path, observations: np.ndarray, actions: np.ndarray, times: int) -> None:
    """Write OGBench's format, uncompressed: the arrays repeated, one trajectory per repetition."""
    import zipfile

    ends = np.zeros(len(actions), bool)
    ends[-1] = True
    fields = {"observations": observations, "actions": actions, "terminals": ends}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, values in fields.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(values.dtype),
                    "fortran_order": False,
                    "shape": (len(values) * times, *values.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(times):
                    member.write(np.ascontiguousarray(values).data)


def measure(file: Path, train_steps: int) -> None:
    """Read ``file`` and train on it briefly; print the measurements as JSON."""
    import torch

    from dfplan.data.read import read
    from dfplan.data.segments import segmented
    from dfplan.tokens.statistics import fit_statistics
    from dfplan.tokens.windows import TokenWindows
    from dfplan.training.loop import train
    from dfplan.training.presets import PRESETS
    from dfplan.training.settings import TrainSettings

    recipe = PRESETS["maze2d-large"].recipe
    settings = TrainSettings(steps=train_steps, batch_size=64)
    _drop_from_cache(file)
    with _Memory() as memory:
        started = time.perf_counter()
        data = segmented(read(file))
        fit_statistics(data)
        TokenWindows(data, recipe.layout).draw(64, torch.Generator().manual_seed(0))
        seconds = time.perf_counter() - started
        first = memory.anonymous
        _drop_from_cache(file)
        with tempfile.TemporaryDirectory() as run:
            trained = train(recipe, data, run, settings=settings, progress=False).training
    print(
        json.dumps(
            {
                "to first batch, s": seconds,
                "peak memory to it, MiB": first / 2**20,
                "peak memory with training, MiB": memory.anonymous / 2**20,
                "peak resident, MiB": memory.resident / 2**20,
                "training, s": trained["seconds"],
                "waits, %": 100 * trained["waited_seconds"] / trained["seconds"],
            }
        )
    )


def _drop_from_cache(file: Path) -> None:
    """Ask the system to remove the file from the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class _Memory:
    """Measures peak anonymous and resident memory inside a with block, in bytes."""

    def __enter__(self) -> _Memory:
        self._base = self._read()
        self.anonymous = self.resident = 0
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.005):
            anonymous, resident = self._read()
            self.anonymous = max(self.anonymous, anonymous - self._base[0])
            self.resident = max(self.resident, resident - self._base[1])

    @staticmethod
    def _read() -> tuple[int, int]:
        status = Path("/proc/self/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        anonymous, resident = (1024 * int(fields[name].split()[0]) for name in ("RssAnon", "VmRSS"))
        return anonymous, resident


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        auto_cli(main)
