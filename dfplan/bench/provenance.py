"""Provenance of results: the command, the code and the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from dfplan.bench.schema import Count, Duration, Stored
from dfplan.record import Record

_PACKAGES = (
    "dfplan", "torch", "numpy", "scipy", "gymnasium", "gymnasium-robotics", "mujoco", "ogbench",
    "joblib",
)  # fmt: skip


@dataclass(frozen=True)
class Provenance(Record, Stored):
    """The command, the code and the machine that made results.

    Attributes:
        seconds: wall time of the whole run.
        date: end of the run, ISO 8601, UTC.
        commit: of the source tree, with ``-dirty`` if it had changes; None for an installed wheel.
        versions: of Python and of the installed packages that may change results.
        system: operating system and architecture.
        cores: number of cores that the run could use.
    """

    command: str
    seconds: Duration
    date: str
    commit: str | None
    versions: dict[str, str]
    system: str
    cpu: str
    cores: Count

    @property
    def machine(self) -> str:
        """Processor, cores and system as one text."""
        return f"{self.cpu}, {self.cores} cores, {self.system}"


def provenance(command: str, seconds: float) -> Provenance:
    """Describe this machine and this code, for a run of ``seconds`` that ends now."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return Provenance(
        command=command,
        seconds=seconds,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=_commit(Path(__file__).resolve().parents[2]),
        versions=versions,
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    found = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # git is missing, or there is no commit yet
        return None
    return result.stdout.strip()
