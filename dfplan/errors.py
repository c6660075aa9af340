"""Errors raised at the boundary of dfplan.

Every message says what was expected, what came, and how to mend it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DfplanError(Exception):
    """Base class of every error that dfplan raises on purpose."""


class ConfigError(DfplanError, ValueError):
    """An argument, flag or name is not one that dfplan knows or can use."""


class MazeError(DfplanError, ValueError):
    """A maze cannot be read, or a position lies in a wall or outside it."""


class DataError(DfplanError, ValueError):
    """A data file or array is damaged, foreign or of the wrong shape."""


class CheckpointError(DfplanError, ValueError):
    """A checkpoint is missing, damaged, incomplete or of another version."""


class ObservationError(DfplanError, ValueError):
    """An observation, goal or action has the wrong shape or is not finite."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not among the known ones, with the closest of them."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
