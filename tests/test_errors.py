"""The checks that all settings share."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dfplan.errors import ConfigError, require_numbers


@pytest.mark.parametrize("value", [1, True, np.int64(7), np.uint8(2), 2**63 - 1])
def test_counts_are_whole_numbers_of_any_type(value: Any) -> None:
    require_numbers({"count": value}, "count", whole=True, least=1)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, math.nan, "3", None, np.array([1, 2])])
def test_other_counts_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="count must be a whole number, at least 1; got "):
        require_numbers({"count": value}, "count", whole=True, least=1)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        ({}, [-1e300, 0, 5], []),
        ({"least": 0}, [0, 1e300, np.float32(2), Fraction(1, 3)], [-1e-9]),
        ({"above": 0}, [1e-9], [0, -1]),
        ({"above": 0, "most": 1}, [1e-9, 1], [0, 1.1]),
        ({"least": 0, "below": 1}, [0, 0.9], [-0.1, 1]),
    ],
)
def test_bounds_are_kept_and_numbers_are_finite(
    bounds: dict[str, float], inside: list[Any], outside: list[Any]
) -> None:
    for value in inside:
        require_numbers({"other": None, "size": value}, "size", **bounds)  # type: ignore[arg-type]
    for value in [*outside, math.nan, math.inf, -math.inf, 1j, "1", None]:
        with pytest.raises(ConfigError, match="size must be a finite number"):
            require_numbers({"size": value}, "size", **bounds)  # type: ignore[arg-type]


def test_infinity_is_allowed_where_it_is_the_bound() -> None:
    require_numbers({"reach": math.inf}, "reach", above=0, most=math.inf)
    for value in (math.nan, -math.inf, 0):
        with pytest.raises(ConfigError, match="reach must be a real number, above 0"):
            require_numbers({"reach": value}, "reach", above=0, most=math.inf)


def test_all_names_are_checked_and_the_wrong_one_is_named() -> None:
    with pytest.raises(ConfigError, match=r"b must be a finite number, at least 0; got -1\.$"):
        require_numbers({"a": 0, "b": -1, "c": -1}, "a", "b", least=0)


@pytest.mark.parametrize("value", [True, np.int64(7), np.uint8(2), np.float32(0.5), Fraction(1, 2)])
def test_numbers_of_other_types_become_pythons(value: Any) -> None:
    settings = {"size": value}
    require_numbers(settings, whole=isinstance(value, bool | np.integer))
    assert type(settings["size"]) in (int, float) and settings["size"] == value
    json.dumps(settings)


def test_no_number_is_too_large_to_compute_with() -> None:
    require_numbers({"count": 2**63 - 1}, whole=True, least=1)
    require_numbers({"seed": 2**64 - 1}, whole=True, most=2**64 - 1)
    with pytest.raises(ConfigError, match=r"count must .* at most 9223372036854775807; got"):
        require_numbers({"count": 2**63}, whole=True, least=1)
    with pytest.raises(ConfigError, match=r"size must be a finite number, .* at most"):
        require_numbers({"size": 10**400}, least=0)
