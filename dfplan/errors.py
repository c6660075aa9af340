"""Errors raised at the boundary of dfplan.

Every message says what was expected, what came, and how to mend it.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

_LARGEST = 2**63 - 1

Entry = TypeVar("Entry")


class DfplanError(Exception):
    """Base class of every error that dfplan raises on purpose.

    Attributes:
        rows: those of a batch that it is about, where that is known; the message names the first.
    """

    def __init__(self, *args: object, rows: Iterable[int] = ()) -> None:
        super().__init__(*args)
        self.rows = tuple(rows)


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


class BusyError(DfplanError, OSError):
    """Another process is using a folder that only one may use."""


class MissingPackageError(DfplanError, ImportError):
    """A package that only some of dfplan needs is not installed.

    Args:
        purpose: what needs it.
        package: the one that is missing.
        extra: that of dfplan which brings it.
    """

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; run: pip install 'dfplan[{extra}]'"
        )


class MissingSimulatorError(MissingPackageError):
    """The packages that simulate the mazes are not installed.

    Args:
        package: the one that is missing.
        extra: that of dfplan which brings it.
    """

    def __init__(self, package: str, extra: str = "envs") -> None:
        super().__init__("Simulating a maze", package, extra)


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Make the error for a name that is not known; it suggests the closest known name."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def require_name(kind: str, name: object, known: Collection[str]) -> None:
    """Raise :class:`ConfigError` unless ``name`` is among the known names of this kind."""
    if name not in known:
        raise unknown_name(kind, name, known)


def lookup(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """Return ``table[name]``.

    Args:
        kind: what the table holds, in the singular, for the error: ``"sampling step"``.

    Raises:
        ConfigError: there is no such name; the message suggests the closest one.
    """
    require_name(kind, name, table)
    return table[name]


def require_numbers(
    values: MutableMapping[str, Any],
    *names: str,
    whole: bool = False,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise :class:`ConfigError` unless settings are numbers within bounds.

    Numbers of other types, such as NumPy's, are replaced by Python's own, which JSON can hold.

    Args:
        values: settings by name; of a dataclass, ``vars(self)``.
        names: which of them to check; by default all.
        whole: whether they are counts.
        least: the smallest that is allowed...
        above: ...or a number that they must lie above.
        most: the largest that is allowed, of counts by default the largest that fits in 64 bits;
            only with ``math.inf`` may they be infinite...
        below: ...or a number that they must lie below.
    """
    numeric: Any = numbers.Integral if whole else numbers.Real
    for name in names or values:
        value: Any = values[name]
        if isinstance(value, numeric) and hasattr(value, "item"):
            value = value.item()  # NumPy's own cannot be compared with all of Python's
        usual = _LARGEST if whole and most is None else sys.float_info.max
        huge = isinstance(value, numbers.Integral) and int(value) > usual
        greatest = usual if huge and most is None else most
        if not isinstance(value, numeric) or not (
            # NaN fails every comparison.
            (-math.inf < value < math.inf or value == most)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (greatest is None or value <= greatest)
            and (below is None or value < below)
        ):
            kind = "whole" if whole else "real" if most == math.inf else "finite"
            limits = {"at least": least, "above": above, "at most": greatest, "below": below}
            bounds = [f", {word} {bound}" for word, bound in limits.items() if bound is not None]
            raise ConfigError(f"{name} must be a {kind} number{''.join(bounds)}; got {value!r}.")
        if type(values[name]) not in (int, float):
            values[name] = int(value) if whole else float(value)


def require_flags(values: MutableMapping[str, Any], *names: str) -> None:
    """Raise :class:`ConfigError` unless settings are True or False; NumPy's become Python's."""
    for name in names:
        if not isinstance(values[name], bool | np.bool_):
            raise ConfigError(f"{name} must be True or False; got {values[name]!r}.")
        values[name] = bool(values[name])


def read_seed(seed: object, below: int | None = None) -> int | None:
    """A seed as a plain number, which Gymnasium and PyTorch want; None stays None.

    Args:
        seed: a whole number of any type, from 0 upwards.
        below: where generators take no larger ones.

    Raises:
        ConfigError: it is no such number.
    """
    if seed is None:
        return None
    if not (isinstance(seed, numbers.Integral) and 0 <= int(seed) < (below or math.inf)):
        limit = "" if below is None else f" and below {below}"
        raise ConfigError(
            f"A seed is a whole number of at least 0{limit}, or None to draw afresh; got {seed!r}."
        )
    return int(seed)
