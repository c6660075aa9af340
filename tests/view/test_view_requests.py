"""Reading requests: valid ones are read, all others are refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfplan.errors import ConfigError
from dfplan.view.requests import PlanRequest, RequestError, read_request

NAMES = ("maze2d-umaze", "ogbench-medium")
MINIMAL = {"planner": NAMES[0], "start": [1, 1], "goal": [2.5, 3]}


def read(**given: Any) -> PlanRequest:
    return read_request(json.dumps(MINIMAL | given).encode(), NAMES)


def test_missing_fields_have_their_defaults() -> None:
    assert read() == PlanRequest(planner=NAMES[0], start=(1.0, 1.0), goal=(2.5, 3.0))


def test_all_fields_are_read() -> None:
    everything = {
        "planner": NAMES[1],
        "start": [0, -3.25],
        "goal": None,
        "via_points": [[1, 2], [3, 4.5]],
        "zones": [[0, 0, 1, 2]],
        "matrix": "pyramid",
        "uncertainty_scale": 2.5,
        "stop_fraction": 0.5,
        "steps": 7,
        "guidance": 1.25,
        "candidates": 64,
        "mc_samples": 3,
        "seed": 11,
        "execute": True,
    }
    request = read(**everything)
    assert {*everything} == {*PlanRequest.model_fields}
    assert json.loads(json.dumps(vars(request))) == everything


WRONG: list[tuple[str, Any]] = [
    ("planner", "maze2d-humaze"),
    ("planner", 3),
    ("planner", ["maze2d-umaze"]),
    ("start", None),
    ("start", [1]),
    ("start", [1, 2, 3]),
    ("start", [1, "2"]),
    ("start", [1, True]),
    ("start", [1, 1e300]),
    ("start", [1, -1e5]),
    ("start", {"0": 1}),
    ("goal", [None, None]),
    ("goal", "1,1"),
    ("goal", None),
    ("via_points", [[1, 1]] * 9),
    ("via_points", [1, 1]),
    ("zones", [[0, 0, 1, 1]] * 17),
    ("zones", [[0, 0, 1]]),
    ("zones", [[1, 0, 0, 1]]),
    ("zones", [[0, 0, 0, 0]]),
    ("matrix", "cone"),
    ("matrix", []),
    ("uncertainty_scale", -0.1),
    ("uncertainty_scale", 21),
    ("stop_fraction", 0),
    ("stop_fraction", 1.5),
    ("steps", 0),
    ("steps", 2.5),
    ("steps", 51),
    ("guidance", -1),
    ("guidance", "much"),
    ("candidates", 65),
    ("candidates", 10**400),
    ("candidates", True),
    ("mc_samples", 17),
    ("seed", -1),
    ("seed", 2**31),
    ("seed", None),
    ("execute", 1),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_invalid_values_are_refused_with_their_field(field: str, value: Any) -> None:
    with pytest.raises(RequestError) as refused:
        read(**{field: value})
    assert refused.value.field == field
    assert isinstance(refused.value, ConfigError)
    assert field in str(refused.value) or value is None
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["planner", "start"])
def test_missing_required_fields_are_refused(name: str) -> None:
    left = {key: value for key, value in MINIMAL.items() if key != name}
    with pytest.raises(RequestError, match=rf"{name}.*nothing") as refused:
        read_request(json.dumps(left).encode(), NAMES)
    assert refused.value.field == name


def test_unknown_fields_are_refused_with_the_closest_name() -> None:
    with pytest.raises(RequestError, match="'candidates'"):
        read(candidate=3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[" * 60000,
        b'{"start": NaN}',
        b'{"seed": Infinity}',
        b'{"seed": ' + b"9" * 60000 + b"}",
        b'{"a":' * 9000,
    ],
    ids=lambda body: repr(body)[:20],
)
def test_invalid_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_request(body, NAMES)
    assert len(str(refused.value)) < 300


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([*PlanRequest.model_fields]), _JSON)
def test_any_value_is_read_or_refused(field: str, value: Any) -> None:
    try:
        request = read(**{field: value})
    except RequestError:
        return
    hash(request)  # it is immutable


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        read_request(body, NAMES)
