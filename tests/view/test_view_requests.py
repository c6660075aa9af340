from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfplan.errors import ConfigError
from dfplan.view.requests import PlanRequest, RequestError, read_request

NAMES = ("maze2d-umaze", "ogbench-medium")
LEAST = {"planner": NAMES[0], "start": [1, 1], "goal": [2.5, 3]}


def read(**given: Any) -> PlanRequest:
    return read_request(json.dumps(LEAST | given).encode(), NAMES)


def test_what_is_left_out_is_the_default() -> None:
    assert read() == PlanRequest(NAMES[0], (1.0, 1.0), (2.5, 3.0))


def test_everything_is_read_as_it_was_written() -> None:
    everything = {
        "planner": NAMES[1],
        "start": [0, -3.25],
        "goal": None,
        "via": [[1, 2], [3, 4.5]],
        "zones": [[0, 0, 1, 2]],
        "matrix": "pyramid",
        "uncertainty_scale": 2.5,
        "rows": 0.5,
        "steps": 7,
        "guidance": 1.25,
        "candidates": 64,
        "futures": 3,
        "seed": 11,
        "drive": True,
    }
    request = read(**everything)
    assert {*everything} == {field.name for field in fields(PlanRequest)}
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
    ("via", [[1, 1]] * 9),
    ("via", [1, 1]),
    ("zones", [[0, 0, 1, 1]] * 17),
    ("zones", [[0, 0, 1]]),
    ("zones", [[1, 0, 0, 1]]),
    ("zones", [[0, 0, 0, 0]]),
    ("matrix", "cone"),
    ("matrix", []),
    ("uncertainty_scale", -0.1),
    ("uncertainty_scale", 21),
    ("rows", 0),
    ("rows", 1.5),
    ("steps", 0),
    ("steps", 2.5),
    ("steps", 51),
    ("guidance", -1),
    ("guidance", "much"),
    ("candidates", 65),
    ("candidates", 10**400),
    ("candidates", True),
    ("futures", 17),
    ("seed", -1),
    ("seed", 2**31),
    ("seed", None),
    ("drive", 1),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_value_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(RequestError) as refused:
        read(**{field: value})
    assert refused.value.field == field
    assert isinstance(refused.value, ConfigError)
    assert len(str(refused.value)) < 300 and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["planner", "start"])
def test_a_missing_field_is_named(name: str) -> None:
    left = {key: value for key, value in LEAST.items() if key != name}
    with pytest.raises(RequestError, match=f"Expected {name} to be given") as refused:
        read_request(json.dumps(left).encode(), NAMES)
    assert refused.value.field == name


def test_an_unknown_field_is_refused_with_the_closest() -> None:
    with pytest.raises(RequestError, match="Did you mean 'candidates'"):
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
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_request(body, NAMES)
    assert len(str(refused.value)) < 300


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([field.name for field in fields(PlanRequest)]), _JSON)
def test_anything_is_read_or_refused(field: str, value: Any) -> None:
    try:
        request = read(**{field: value})
    except RequestError:
        return
    hash(request)  # nothing in it can be changed


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        read_request(body, NAMES)
