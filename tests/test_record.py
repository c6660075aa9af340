"""All records of the package can be compared, hashed, copied, pickled and printed."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, floating_dtypes

import dfplan
from dfplan.planning.rewards import Disc, KeepOut, Reach, Short
from dfplan.record import Record
from dfplan.suites import D4RL
from dfplan.tokens.normalizer import Normalizer
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Episode, Plan


def modules() -> Iterator[types.ModuleType]:
    for found in pkgutil.walk_packages(dfplan.__path__, "dfplan."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def dataclasses_of_the_package() -> list[type]:
    classes = {
        value
        for module in modules()
        for value in vars(module).values()
        if isinstance(value, type)
        and dataclasses.is_dataclass(value)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    }
    return sorted(classes, key=lambda value: (value.__module__, value.__qualname__))


def sample(kind: Any, number: int) -> Any:
    """A new value of a type; an array if the type allows one."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return sample(max(inner, key=holds_array), number)
    if origin is tuple or kind is tuple:
        each = inner[:1] if inner[-1:] == (...,) else inner
        return tuple(sample(one, number) for one in each)
    if origin in (list, Sequence) or kind is list:
        return [sample(one, number) for one in inner or (Any,)]
    if origin in (dict, Mapping) or kind is dict:
        return {sample(inner[0], number): sample(inner[1], number)} if inner else {}
    if kind is np.ndarray or kind is Any:
        return np.array([[np.nan, number], [1.5, 2.0]])
    if kind is torch.Tensor:
        return torch.tensor([[np.nan, number], [1.5, 2.0]])
    if dataclasses.is_dataclass(kind):
        return built(kind, number)  # type: ignore[arg-type]
    simple = {int: number, float: number + 0.5, str: f"{number}", bool: number == 1}
    return simple.get(kind, {Path: Path(f"{number}")}.get(kind, min if number == 1 else max))


def holds_array(kind: Any) -> int:
    inner = [holds_array(one) for one in typing.get_args(kind)]
    return max(
        [int(kind in (np.ndarray, torch.Tensor, Any) or dataclasses.is_dataclass(kind)), *inner]
    )


def built(kind: type, number: int) -> Any:
    """A record with a value in each field, without validation."""
    while inspect.isabstract(kind):
        kind = kind.__subclasses__()[0]
    record = object.__new__(kind)
    names = {**vars(importlib.import_module(kind.__module__)), "torch": torch}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        hint = eval(field.type, names) if isinstance(field.type, str) else field.type
        object.__setattr__(record, field.name, sample(hint, number))
    return record


@pytest.mark.parametrize(
    "kind", dataclasses_of_the_package(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_a_record_can_be_compared_hashed_and_printed(kind: type) -> None:
    one, same, other = built(kind, 1), built(kind, 1), built(kind, 2)
    if kind.__eq__ is object.__eq__:
        assert one == one and one != same
    else:
        assert one == same and (one != same) is False
    differs = bool(dataclasses.fields(kind))
    assert (one != other) is differs and (one == other) is not differs
    assert one in [other, one]
    assert one != None and one != "record" and one != 1  # noqa: E711
    assert len(repr(one)) < 3_000
    if kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        assert {one: 1}[one] == 1 and (same in {one: 1}) is (one == same)


@pytest.fixture(scope="module")
def records(planner: Any, trained: Any, trajectories: Any) -> list[Any]:
    plan = planner.plan(np.array([-20.0, 40, 0, 0]), np.array([-10.0, 40]), seed=0, trace=True)
    episode = Episode(np.zeros((9, 2)), np.zeros(8), ((0, plan), (4, plan)), np.ones(2), None)
    return [
        plan,
        episode,
        trajectories,
        Checkpoint.load(trained.checkpoint),
        planner.model.statistics,
        planner.model.schedule,
        planner.model.layout,
        planner.settings,
        Reach([1.0, 2.0]),
        0.5 * Reach([1.0, 2.0]) + KeepOut([Disc((0.0, 0.0), 1.0)]) + Short(),
        dfplan.parse_maze("large"),
        D4RL,
    ]


def test_copies_of_records_are_equal_to_them(records: list[Any]) -> None:
    for record in records:
        for twin in (
            copy.copy(record),
            copy.deepcopy(record),
            pickle.loads(pickle.dumps(record)),
            dataclasses.replace(record),
        ):
            assert twin == record and hash(twin) == hash(record) and {record: 1}[twin] == 1
            assert repr(twin) == repr(record)
        assert dataclasses.asdict(record).keys() == {
            field.name for field in dataclasses.fields(record)
        }
    for index, record in enumerate(records):
        assert [other == record for other in records].index(True) == index


def test_representations_of_large_records_are_short(records: list[Any]) -> None:
    for record in records:
        assert len(repr(record)) < 8_000
    assert f"points=float32{list(records[0].points.shape)}" in repr(records[0])
    assert repr(Reach([1.0, 2.0])) == "Reach(target=[1.0, 2.0])"
    assert len(repr(dfplan.load("maze2d-umaze"))) < 8_000


def test_records_that_differ_in_one_field_differ(records: list[Any]) -> None:
    plan: Plan = records[0]
    for name, value in (
        ("points", plan.points + 1),
        ("points", plan.points[:, :-1]),
        ("goal", None),
        ("seconds", plan.seconds + 1),
        ("trace", plan.trace[:-1]),
        ("trace", (*plan.trace[:-1], (plan.level, plan.points))),
        ("velocities", plan.points),
    ):
        other = dataclasses.replace(plan, **{name: value})
        assert other != plan and plan != other and other not in [plan]
    checkpoint: Checkpoint = records[3]
    name, tensor = next(iter(checkpoint.network.items()))
    for network in ({**checkpoint.network, name: tensor + 1}, {}, {name: tensor}):
        assert dataclasses.replace(checkpoint, network=network) != checkpoint


@dataclasses.dataclass(frozen=True)
class Sample(Record):
    """A record for tests."""

    values: Any
    label: str = ""


NUMBERS = arrays(floating_dtypes(endianness="="), array_shapes(min_dims=0, min_side=0, max_side=4))


@given(one=NUMBERS, other=NUMBERS)
def test_records_are_equal_if_their_arrays_are(one: np.ndarray, other: np.ndarray) -> None:
    a, b = Sample(one), Sample(other)
    assert (a == b) is np.array_equal(one, other, equal_nan=True) is (b == a)
    assert a == Sample(one.copy()) and hash(a) == hash(Sample(one.copy()))
    if a == b:
        assert hash(a) == hash(b)
    if one.dtype != np.longdouble:
        tensors = Sample(torch.from_numpy(one.copy())), Sample(torch.from_numpy(one.copy()))
        assert tensors[0] == tensors[1] and hash(tensors[0]) == hash(tensors[1])
        assert tensors[0] != a and a != tensors[0]


TREES = st.recursive(
    st.none() | st.floats() | st.text(max_size=3) | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(one=TREES, other=TREES)
def test_fields_may_be_nested(one: Any, other: Any) -> None:
    a, b, twin = Sample(one), Sample(other), Sample(copy.deepcopy(one))
    assert a == twin and hash(a) == hash(twin) and (a == b) is (b == a)
    assert (a != b) is not (a == b)
    assert a == pickle.loads(pickle.dumps(a))
    assert Sample(a) == Sample(twin) and Sample(a, "x") != Sample(a)
    assert len(repr(Sample([one] * 50))) < 3_000


def test_normalizers_are_equal_if_their_statistics_are() -> None:
    make: Callable[[float], Normalizer] = lambda value: Normalizer(  # noqa: E731
        torch.full((2,), value), torch.ones(2)
    )
    assert make(1.0) == make(1.0) != make(2.0)
