"""Names and types of the values in benchmark records, and the reader that checks them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from reprlib import repr as shorten
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dfplan.errors import DataError

_LARGEST = 2**53  # no number of a benchmark is nearly as large

Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
Duration = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
PositiveCount = Annotated[int, Field(ge=1, le=_LARGEST)]

STORED_FIELDS = {
    "checkpoint_digest": "model",
    "episode_count": "episodes",
    "episode_return": "reward",
    "error": "fault",
    "latched_return": "latched",
    "method": "planner",
    "problems_digest": "problems",
    "steps_to_goal": "first_touch",
    "stratum": "part",
    "tracker_digest": "follows",
    "upper_bound": "most",
}
"""Names of fields in files, where they differ from those of the classes."""

STORED_TRACKERS = {"default": "own", "planned-actions": "diffused"}
"""Names of trackers in files and file names, where they differ from those of the benchmark."""

RERUN = "Delete it and run the benchmark again, which computes what is missing."


class Stored:
    """Base of dataclasses that are read from files and checked."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", alias_generator=lambda name: STORED_FIELDS.get(name, name)
    )


def read_json(kind: Any, path: Path, number: int, line: bytes | str) -> Any:
    """Read a line of JSON as a dataclass.

    Raises:
        DataError: the line is not JSON, or has missing, unknown or invalid fields.
    """
    try:
        return _adapter(kind).validate_json(line)
    except ValidationError as error:
        raise damaged(path, number, _describe(error)) from error


def to_mapping(record: Any) -> dict[str, Any]:
    """Return the values of a dataclass by their names in files."""
    kind: Any = type(record)
    content: dict[str, Any] = _adapter(kind).dump_python(record, by_alias=True)
    return content


def damaged(path: Path, number: int, reason: object) -> DataError:
    """Return the error for a line that is not as expected."""
    return DataError(
        f"{path}, line {number}, is damaged or not a record of a benchmark: {reason}. {RERUN}"
    )


def _describe(error: ValidationError) -> str:
    """Return field, expectation and value of the first error."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if not place or first["type"] == "missing":
        return f"{place}: {first['msg']}".removeprefix(": ")
    return f"{place}: {first['msg']}, got {shorten(first['input'])}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
