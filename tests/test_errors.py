"""Checks of settings and names."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dfplan.errors import ConfigError, lookup, require_name, require_numbers


@pytest.mark.parametrize("value", [1, True, np.int64(7), np.uint8(2), 2**63 - 1])
def test_integers_of_any_type_are_accepted(value: Any) -> None:
    require_numbers({"count": value}, "count", integer=True, minimum=1)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, math.nan, "3", None, np.array([1, 2])])
def test_other_values_than_integers_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"count .*at least 1"):
        require_numbers({"count": value}, "count", integer=True, minimum=1)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ({}, [-1e300, 0, 5], []),
        ({"minimum": 0}, [0, 1e300, np.float32(2), Fraction(1, 3)], [-1e-9]),
        ({"above": 0}, [1e-9], [0, -1]),
        ({"above": 0, "maximum": 1}, [1e-9, 1], [0, 1.1]),
        ({"minimum": 0, "below": 1}, [0, 0.9], [-0.1, 1]),
    ],
)
def test_bounds_are_kept_and_numbers_are_finite(
    bounds: dict[str, float], inside: list[Any], outside: list[Any]
) -> None:
    for value in inside:
        require_numbers({"other": None, "size": value}, "size", **bounds)  # type: ignore[arg-type]
    for value in [*outside, math.nan, math.inf, -math.inf, 1j, "1", None]:
        with pytest.raises(ConfigError, match="size"):
            require_numbers({"size": value}, "size", **bounds)  # type: ignore[arg-type]


def test_infinity_is_allowed_if_it_is_the_maximum() -> None:
    require_numbers({"reach": math.inf}, "reach", above=0, maximum=math.inf)
    for value in (math.nan, -math.inf, 0):
        with pytest.raises(ConfigError, match=r"reach .*above 0"):
            require_numbers({"reach": value}, "reach", above=0, maximum=math.inf)


def test_the_error_names_the_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"b .*at least 0; got -1"):
        require_numbers({"a": 0, "b": -1, "c": -1}, "a", "b", minimum=0)


@pytest.mark.parametrize("value", [True, np.int64(7), np.uint8(2), np.float32(0.5), Fraction(1, 2)])
def test_numbers_of_other_types_become_int_or_float(value: Any) -> None:
    settings = {"size": value}
    require_numbers(settings, integer=isinstance(value, bool | np.integer))
    assert type(settings["size"]) in (int, float) and settings["size"] == value
    json.dumps(settings)


def test_integers_above_64_bits_are_refused() -> None:
    require_numbers({"count": 2**63 - 1}, integer=True, minimum=1)
    require_numbers({"seed": 2**64 - 1}, integer=True, maximum=2**64 - 1)
    with pytest.raises(ConfigError, match=r"count .*at most 9223372036854775807"):
        require_numbers({"count": 2**63}, integer=True, minimum=1)
    with pytest.raises(ConfigError, match=r"size .*at most"):
        require_numbers({"size": 10**400}, minimum=0)


def test_lookup_returns_the_entry_or_suggests_a_name() -> None:
    table = {"pyramid": 1, "full_sequence": 2}
    assert [lookup("matrix", name, table) for name in table] == [1, 2]
    require_name("matrix", "pyramid", table)
    for check in (lookup, require_name):
        with pytest.raises(ConfigError, match=r"matrix 'pyramdi'.*'pyramid'"):
            check("matrix", "pyramdi", table)
        with pytest.raises(ConfigError, match="full_sequence, pyramid"):
            check("matrix", "zzz", table)
