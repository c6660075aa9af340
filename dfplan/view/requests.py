"""Requests of the web app, which are checked before anything is planned."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from dfplan.errors import ConfigError, MissingPackageError, unknown_name

try:
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
except ImportError as error:
    raise MissingPackageError("The web app", "pydantic", "view") from error

_LARGEST = 1e4  # accepted coordinate, in units of position; all mazes are much smaller

Coordinate = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Position = tuple[Coordinate, Coordinate]
Zone = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
"""A box: (low 0, low 1, high 0, high 1)."""

_NUMBERS = f"numbers from {-_LARGEST:g} to {_LARGEST:g}"


class RequestError(ConfigError):
    """A request that is invalid or cannot be planned.

    Attributes:
        field: the field of the request that is wrong; empty if the error is about no single field.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@contextmanager
def errors_of(field: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into errors of a field of the request."""
    try:
        yield
    except kinds as error:
        raise RequestError(field, str(error)) from error


def _check_order(zone: Zone) -> Zone:
    if not (zone[0] < zone[2] and zone[1] < zone[3]):
        raise ValueError("the low corner is not below the high corner")
    return zone


class PlanRequest(BaseModel):
    """A request for one plan. Positions are in the suite's coordinates.

    Error messages contain the descriptions of the fields.

    Attributes:
        planner: name of a served planner.
        start: position of the body.
        goal: position to reach; None plans with via-points and zones only.
        via_points: positions to pass, in this order.
        zones: boxes to stay out of.
        matrix: scheduling matrix.
        uncertainty_scale: rows per token, of a pyramid or a trapezoid.
        stop_fraction: share of the matrix's rows that are run.
        steps: sampling steps per token.
        guidance: guidance scale.
        candidates: number of candidates.
        mc_samples: samples of Monte Carlo guidance.
        seed: of the noise.
        execute: whether to execute the plan in the environment.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    planner: str = Field(max_length=200, description="a name")
    start: Position = Field(description=f"2 {_NUMBERS} in a list")
    goal: Position | None = Field(default=None, description=f"2 {_NUMBERS} in a list, or null")
    via_points: tuple[Position, ...] = Field(
        default=(), max_length=8, description=f"at most 8 positions, each 2 {_NUMBERS}"
    )
    zones: tuple[Annotated[Zone, AfterValidator(_check_order)], ...] = Field(
        default=(),
        max_length=16,
        description="at most 16 boxes [low, low, high, high], with low below high on both axes, of "
        f"{_NUMBERS}",
    )
    matrix: Literal["full_sequence", "pyramid", "trapezoid", "autoregressive"] = Field(
        default="full_sequence", description="full_sequence, pyramid, trapezoid or autoregressive"
    )
    uncertainty_scale: float = Field(default=1.0, ge=0, le=20, description="a number from 0 to 20")
    stop_fraction: float = Field(default=1.0, ge=0.01, le=1, description="a number from 0.01 to 1")
    steps: int = Field(default=3, ge=1, le=50, description="a whole number from 1 to 50")
    guidance: float = Field(default=0.5, ge=0, le=10, description="a number from 0 to 10")
    candidates: int = Field(default=16, ge=1, le=64, description="a whole number from 1 to 64")
    mc_samples: int = Field(default=1, ge=1, le=16, description="a whole number from 1 to 16")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description=f"a whole number from 0 to {2**31 - 1}"
    )
    execute: bool = Field(default=False, description="true or false")


def read_request(body: bytes, planners: Collection[str]) -> PlanRequest:
    """Read a request for one of these planners.

    The body is JSON in UTF-8, an object with the fields of :class:`PlanRequest`. All but
    ``planner`` and ``start`` are optional.

    Raises:
        RequestError: the request is invalid.
    """
    try:
        request = PlanRequest.model_validate_json(body)
    except ValidationError as error:
        raise _request_error(error.errors(include_url=False, include_context=False)[0]) from error
    if request.planner not in planners:
        raise RequestError("planner", str(unknown_name("planner", request.planner, planners)))
    if request.goal is None and not (request.via_points or request.zones):
        raise RequestError("goal", "Expected a goal, a via-point or a zone; got none of them.")
    return request


def _request_error(details: Any) -> RequestError:
    """Convert an error of pydantic."""
    fields, value = PlanRequest.model_fields, _shorten(repr(details["input"]))
    if not details["loc"]:
        problem = details["msg"] if details["type"] == "json_invalid" else f"got {value}"
        return RequestError("", f"A request is a JSON object in UTF-8; {_shorten(problem)}.")
    field = str(details["loc"][0])
    if field not in fields:
        return RequestError("", str(unknown_name("field", field[:40], fields)))
    if details["type"] == "missing":
        value = "nothing"
    return RequestError(field, f"Expected {field} to be {fields[field].description}; got {value}.")


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
