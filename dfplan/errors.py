"""The exceptions of dfplan, and checks of arguments.

Every message says what was expected, what was given and how to fix it.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np

_LARGEST = 2**63 - 1

Entry = TypeVar("Entry")


class DfplanError(Exception):
    """Base class of all exceptions that dfplan raises on purpose.

    Attributes:
        rows: indices of the batch elements that the error is about, if known; the message
            describes the first of them.
    """

    def __init__(self, *args: object, rows: Iterable[int] = ()) -> None:
        super().__init__(*args)
        self.rows = tuple(rows)


class ConfigError(DfplanError, ValueError):
    """An argument, setting or name is unknown or invalid."""


class MazeError(DfplanError, ValueError):
    """A maze cannot be read, or a position is in a wall or outside the maze."""


class DataError(DfplanError, ValueError):
    """A data file or array is damaged, has an unknown format or has the wrong shape."""


class CheckpointError(DfplanError, ValueError):
    """A checkpoint is missing, damaged, incomplete or has another format version."""


class ObservationError(DfplanError, ValueError):
    """An observation, goal or action has the wrong shape or is not finite."""


class PlanRefusedError(DfplanError, RuntimeError):
    """A plan is too unlikely to succeed."""


class BusyError(DfplanError, OSError):
    """Another process is using a folder that only one process may use at a time."""


class MissingPackageError(DfplanError, ImportError):
    """An optional package is not installed.

    Args:
        purpose: what needs the package; starts the message.
        package: name of the missing package.
        extra: the extra of dfplan that installs it.
    """

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; run: pip install 'dfplan[{extra}]'"
        )


class MissingSimulatorError(MissingPackageError):
    """A package that simulates mazes is not installed.

    Args:
        package: name of the missing package.
        extra: the extra of dfplan that installs it.
    """

    def __init__(self, package: str, extra: str = "envs") -> None:
        super().__init__("Simulating a maze", package, extra)


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ConfigError:
    """Make the error for a name that is not known; it suggests the closest known name."""
    names = sorted(known)
    hint = did_you_mean(str(name), names)
    return ConfigError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the known name that begins with ``name`` or is most similar; may be empty."""
    names = sorted(known)
    close = [each for each in names if name and each.startswith(name)]
    close = close or get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def require_name(kind: str, name: object, known: Collection[str]) -> None:
    """Raise :class:`ConfigError` unless ``name`` is among the known names of this kind."""
    if name not in known:
        raise unknown_name(kind, name, known)


def lookup(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """Return ``table[name]``.

    Args:
        kind: for the error message: what the table holds, in the singular.
        name: key to look up.
        table: entries by name.

    Raises:
        ConfigError: there is no such name; the message suggests the closest one.
    """
    require_name(kind, name, table)
    return table[name]


def require_numbers(
    values: MutableMapping[str, Any],
    *names: str,
    integer: bool = False,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
) -> None:
    """Raise :class:`ConfigError` unless the named values are finite numbers within bounds.

    Replaces numbers of other types, such as NumPy's, by Python's ``int`` or ``float`` in place, so
    that the values can be written as JSON.

    Args:
        values: settings by name; for a dataclass, ``vars(self)``.
        names: which values to check; default: all.
        integer: whether they must be integers.
        minimum: smallest allowed value.
        above: exclusive lower bound.
        maximum: largest allowed value; default for integers: the largest that fits in 64 bits.
            With ``math.inf``, infinity is allowed too.
        below: exclusive upper bound.
    """
    numeric: Any = numbers.Integral if integer else numbers.Real
    for name in names or values:
        value: Any = values[name]
        if isinstance(value, numeric) and hasattr(value, "item"):
            value = value.item()  # NumPy's numbers do not compare with every Python number
        usual = _LARGEST if integer and maximum is None else sys.float_info.max
        huge = isinstance(value, numbers.Integral) and int(value) > usual
        greatest = usual if huge and maximum is None else maximum
        if not isinstance(value, numeric) or not (
            # NaN fails every comparison.
            (-math.inf < value < math.inf or value == maximum)
            and (minimum is None or value >= minimum)
            and (above is None or value > above)
            and (greatest is None or value <= greatest)
            and (below is None or value < below)
        ):
            kind = "whole" if integer else "real" if maximum == math.inf else "finite"
            limits = {"at least": minimum, "above": above, "at most": greatest, "below": below}
            bounds = [f", {word} {bound}" for word, bound in limits.items() if bound is not None]
            raise ConfigError(f"{name} must be a {kind} number{''.join(bounds)}; got {value!r}.")
        if type(values[name]) not in (int, float):
            values[name] = int(value) if integer else float(value)


def require_flags(values: MutableMapping[str, Any], *names: str) -> None:
    """Raise :class:`ConfigError` unless the named values are booleans.

    Replaces NumPy's booleans by Python's in place.
    """
    for name in names:
        if not isinstance(values[name], bool | np.bool_):
            raise ConfigError(f"{name} must be True or False; got {values[name]!r}.")
        values[name] = bool(values[name])


def require_class(kind: type, **values: object) -> None:
    """Raise :class:`ConfigError` unless the named values are instances of the class ``kind``."""
    for name, value in values.items():
        if not isinstance(value, kind):
            raise ConfigError(
                f"{name} must be a {kind.__name__}; got {value!r:.200}. Pass {name}="
                f"{kind.__name__}(...)."
            )


def require_function(name: str, function: object, *arguments: str) -> None:
    """Raise :class:`ConfigError` unless ``function`` can be called with these arguments."""
    if not (callable(function) and _accepts(function, len(arguments))):
        raise ConfigError(
            f"{name} must be a function of ({', '.join(arguments)}); got {function!r:.200}."
        )


def _accepts(function: Callable[..., object], count: int) -> bool:
    """Whether ``function`` can be called with ``count`` arguments."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def read_seed(seed: object, below: int | None = None) -> int | None:
    """Convert a seed to ``int``, the type that Gymnasium and PyTorch accept; keep None.

    Args:
        seed: an integer of any type, at least 0.
        below: exclusive upper bound.

    Raises:
        ConfigError: ``seed`` is something else.
    """
    if seed is None:
        return None
    if not (isinstance(seed, numbers.Integral) and 0 <= int(seed) < (below or math.inf)):
        limit = "" if below is None else f" and below {below}"
        raise ConfigError(
            f"A seed must be a whole number of at least 0{limit}, or None for a random seed; got "
            f"{seed!r}."
        )
    return int(seed)
