"""Start a worker process, watch it, and collect its results.

A worker (:mod:`dfplan.bench.worker`) has one thread, so its results depend on no other work on the
machine. It has its own memory, and it can be killed if a method hangs: the worker touches a file at
each call of the method, and the launcher watches that file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dfplan.bench.methods import named_method
from dfplan.bench.provenance import provenance
from dfplan.bench.records import Cost, RunName, episodes_text, metadata_text, read_episodes
from dfplan.bench.spec import RunSpec, failed_episodes
from dfplan.errors import DfplanError
from dfplan.files import scratch_folder
from dfplan.processes import child_process

HEARTBEAT = "heartbeat"
"""The file that a worker touches at each call of the method."""

CRASHED = "crashed"
"""The file that a worker writes if it ends by an error that is not the method's."""

SCRATCH = "dfplan-job-"
"""Prefix of the names of worker folders in the folder for temporary files."""

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)
_POLL_SECONDS = 0.2
_STARTUP_SECONDS = 120.0  # extra time for imports, loading and bounds


@dataclass(frozen=True)
class RunFiles:
    """The content of a run's two files; see :mod:`dfplan.bench.records`."""

    name: RunName
    episodes: str
    metadata: str


class LostRunError(DfplanError):
    """A worker process died, and its results are lost."""


def launch(spec: RunSpec) -> list[RunFiles]:
    """Run a spec in a worker process.

    If a method raises, each episode of its group is run again alone, so that an error counts only
    for the episodes in which it occurs. If a method hangs, its process group is killed, and its
    unfinished episodes count as errors. The same holds if a plugin ends the process.

    Raises:
        LostRunError: the process died for another reason.
    """
    with scratch_folder(tempfile.gettempdir(), SCRATCH) as folder:
        folder.chmod(0o700)  # other users must not read the output of a method
        (folder / HEARTBEAT).touch()
        log_path = folder / "errors"
        command = [sys.executable, "-m", "dfplan.bench.worker", json.dumps(asdict(spec))]
        command += [str(folder), str(os.getpid())]
        # One thread from the start: some libraries read these when they are imported.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with (
            log_path.open("w") as log,
            child_process(command, output=log, environment=environment) as process,
        ):
            ended = _wait(process, folder / HEARTBEAT, spec.timeout)
        if not ended:
            return _unfinished(spec, folder, f"a call took longer than {spec.timeout:g} s")
        is_complete = all((folder / f"{i}.json").exists() for i in range(len(spec.trackers)))
        code = process.returncode
        if code or not is_complete:  # a plugin may end the process with any code
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            is_plugin = named_method(spec.method).is_plugin
            if is_plugin and code not in _KILLED and not (folder / CRASHED).exists():
                return _unfinished(spec, folder, f"the method ended its process with {reason}")
            output = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise LostRunError(
                f"{spec.task_id}, {spec.method}, seed {spec.seed} is lost: its process ended with "
                f"{reason}{': ' + output[-1] if output else ''}. Run the same command again: it "
                "computes only what is missing."
            )
        return [
            RunFiles(
                spec.header(tracker).name,
                *((folder / f"{index}.{kind}").read_text("utf-8") for kind in ("jsonl", "json")),
            )
            for index, tracker in enumerate(spec.trackers)
        ]


def _wait(process: subprocess.Popen[bytes], heartbeat: Path, timeout: float) -> bool:
    """Wait for the process to end; False if there was no heartbeat for ``timeout`` seconds."""
    first = last = heartbeat.stat().st_mtime_ns
    last_change = time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        now = heartbeat.stat().st_mtime_ns
        if now != last:
            last, last_change = now, time.monotonic()
        limit = timeout if last != first else timeout + _STARTUP_SECONDS
        if time.monotonic() - last_change > limit:
            return False
    return True


def _unfinished(spec: RunSpec, folder: Path, error: str) -> list[RunFiles]:
    """Return the finished episodes of a worker that was cut short, and errors for the others."""
    no_metadata = metadata_text(Cost(), [], provenance(spec.command, 0.0))
    files = []
    for index, tracker in enumerate(spec.trackers):
        header, path = spec.header(tracker), folder / f"{index}.jsonl"
        done = read_episodes(path) if path.exists() else []
        if len(rest := spec.problems.subset(slice(len(done), None))):
            done += spec.records(failed_episodes(spec.task, rest, error), len(done))
        metadata = path.with_suffix(".json")
        text = metadata.read_text(encoding="utf-8") if metadata.exists() else no_metadata
        files.append(RunFiles(header.name, episodes_text(header, done), text))
    return files
