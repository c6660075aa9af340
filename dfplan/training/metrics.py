"""The log of a training run: one JSON object a line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from dfplan.files import atomic_path


class MetricsWarning(UserWarning):
    """Damaged lines were removed from the metrics of a run."""


class MetricsLog:
    """Appends lines to ``path``.

    Opening the log removes the lines after the step that the run resumes from, and lines that are
    damaged or repeated. It warns of the latter by :class:`MetricsWarning`.

    Args:
        path: the file.
        step: the step that the run resumes from; 0 starts an empty log.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        lines = path.read_bytes().splitlines() if step and path.exists() else []
        kept, last, damaged = [], 0, 0
        for line in lines:
            logged = _logged_step(line)
            if logged is None or logged <= last:
                damaged += 1
            elif logged <= step:
                kept.append(line + b"\n")
                last = logged
        found = [f"{damaged} damaged or repeated lines were removed"] if damaged else []
        if last < step:  # a state is only saved at a step that was logged
            found.append(f"the lines after step {last} are missing")
        if found:
            warnings.warn(
                f"{path}: {' and '.join(found)}. The training state is complete, so the run "
                "continues.",
                MetricsWarning,
                stacklevel=2,
            )
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(kept))

    def write(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """Append one line.

        Args:
            step: steps done so far.
            loss: mean since the line before.
            rate: learning rate of the last step.
            seconds: duration of the run so far.
        """
        line = {"step": step, "loss": loss, "learning_rate": rate, "seconds": seconds}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _logged_step(line: bytes) -> int | None:
    """The step of a line of metrics; None for a damaged line."""
    try:
        step = dict(json.loads(line.decode()))["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step if isinstance(step, int) else None
