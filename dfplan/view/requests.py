"""What a page may ask for: JSON, of which every field is checked before anything is planned."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from dfplan.errors import ConfigError, unknown_name

MATRICES = ("full_sequence", "pyramid", "trapezoid", "autoregressive")
"""Scheduling matrices that can be asked for by name."""

FARTHEST = 1e4
"""Largest coordinate that is read, in units of position: no maze is nearly as large."""

Pair = tuple[float, float]


class RequestError(ConfigError):
    """A request that cannot be met.

    Args:
        field: of the request, or empty where it is none of them.
        message: what was expected, what came, how to mend it.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class PlanRequest:
    """One plan that a page asks for; positions in the environment's own frame and units.

    Attributes:
        planner: name of one that is served.
        start: position.
        goal: position, or None for a plan that via-points and zones alone shape.
        via: places to pass, in this order; at most 8.
        zones: boxes to keep out of, as (low 0, low 1, high 0, high 1); at most 16.
        matrix: one of :data:`MATRICES`.
        uncertainty_scale: of a pyramid and a trapezoid, 0 to 20.
        rows: share of the matrix's rows that are run, 0.01 to 1.
        steps: sampling steps a token, 1 to 50.
        guidance: scale, 0 to 10.
        candidates: 1 to 64.
        futures: 1 to 16.
        seed: of all noise, 0 to 2**31 - 1.
        drive: whether to carry the plan out in the environment.
    """

    planner: str
    start: Pair
    goal: Pair | None = None
    via: tuple[Pair, ...] = ()
    zones: tuple[tuple[float, float, float, float], ...] = ()
    matrix: str = "full_sequence"
    uncertainty_scale: float = 1.0
    rows: float = 1.0
    steps: int = 3
    guidance: float = 0.5
    candidates: int = 16
    futures: int = 1
    seed: int = 0
    drive: bool = False


def read_request(body: bytes, planners: Collection[str]) -> PlanRequest:
    """Read a request.

    Args:
        body: JSON in UTF-8: an object with :class:`PlanRequest`'s fields; all but ``planner`` and
            ``start`` may be left out.
        planners: names of those that are served.

    Raises:
        RequestError: what is wrong, and with which field.
    """
    given = _parsed(body)
    known = [field.name for field in fields(PlanRequest)]
    for name in given:
        if name not in known:
            raise RequestError("", str(unknown_name("field", name[:40], known)))
    for name in ("planner", "start"):
        if name not in given:
            _refuse(name, "given", None)
    values = {name: _READERS[name](name, value) for name, value in given.items()}
    if values["planner"] not in planners:
        raise RequestError("planner", str(unknown_name("planner", values["planner"], planners)))
    request = PlanRequest(**values)
    if request.goal is None and not (request.via or request.zones):
        raise RequestError("goal", "Give a goal, or a via-point or a zone to plan by.")
    return request


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(body.decode(), parse_constant=lambda name: _refuse("", "JSON", name))
    except RequestError:
        raise
    except (ValueError, RecursionError) as error:
        message = f"A request is a JSON object in UTF-8; {_short(error)}."
        raise RequestError("", message) from error
    if not isinstance(given, dict):
        _refuse("", "a JSON object", given)
    return given


def _refuse(field: str, expected: str, value: object) -> NoReturn:
    raise RequestError(
        field, f"Expected {field + ' to be ' if field else ''}{expected}; got {_short(value)}."
    )


def _short(value: object) -> str:
    """At most a line of what came."""
    if isinstance(value, int) and abs(value) >= 10**30:  # may have too many digits to be written
        return "a number of more than 30 digits"
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _number(field: str, value: object, least: float, most: float) -> float:
    expected = f"a number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(field, expected, value)
    # Compared before it is made a float: whole numbers may be too large for one.
    if not least <= value <= most or not math.isfinite(value):
        _refuse(field, expected, value)
    return float(value)


def _real(least: float, most: float) -> Callable[[str, object], float]:
    return lambda field, value: _number(field, value, least, most)


def _whole(least: int, most: int) -> Callable[[str, object], int]:
    def read(field: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            _refuse(field, f"a whole number from {least} to {most}", value)
        return value

    return read


def _name(field: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 200:
        _refuse(field, "a name", value)
    return value


def _matrix(field: str, value: object) -> str:
    if value not in MATRICES:
        _refuse(field, f"one of {', '.join(MATRICES)}", value)
    return str(value)


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(field, "true or false", value)
    return value


def _row(field: str, value: object, size: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != size:
        _refuse(field, f"{size} numbers in a list", value)
    return tuple(_number(field, each, -FARTHEST, FARTHEST) for each in value)


def _position(field: str, value: object) -> tuple[float, ...]:
    return _row(field, value, 2)


def _goal(field: str, value: object) -> tuple[float, ...] | None:
    return None if value is None else _row(field, value, 2)


def _rows_of(size: int, most: int) -> Callable[[str, object], tuple[tuple[float, ...], ...]]:
    def read(field: str, value: object) -> tuple[tuple[float, ...], ...]:
        if not isinstance(value, list) or len(value) > most:
            _refuse(field, f"a list of at most {most}", value)
        return tuple(_row(field, each, size) for each in value)

    return read


_boxes = _rows_of(4, 16)


def _zones(field: str, value: object) -> tuple[tuple[float, ...], ...]:
    boxes = _boxes(field, value)
    for box in boxes:
        if not (box[0] < box[2] and box[1] < box[3]):
            _refuse(
                field, "boxes with low below high on both axes, [low, low, high, high]", list(box)
            )
    return boxes


_READERS: dict[str, Callable[[str, object], Any]] = {
    "planner": _name,
    "start": _position,
    "goal": _goal,
    "via": _rows_of(2, 8),
    "zones": _zones,
    "matrix": _matrix,
    "uncertainty_scale": _real(0, 20),
    "rows": _real(0.01, 1),
    "steps": _whole(1, 50),
    "guidance": _real(0, 10),
    "candidates": _whole(1, 64),
    "futures": _whole(1, 16),
    "seed": _whole(0, 2**31 - 1),
    "drive": _flag,
}
