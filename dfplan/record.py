"""Comparison, hash and representation of dataclasses that hold arrays."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np


class Record:
    """Base of dataclasses that hold arrays or tensors.

    Two records are equal if they have the same class and equal fields. Arrays and tensors are
    compared by shape and elements, where NaN equals NaN; lists, tuples and dicts item by item;
    other values by ``==``. Equal records have equal hashes, so records can be keys; arrays enter
    the hash by their shape only. ``repr`` shows long arrays by type and shape.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        # ``dataclass`` generates these methods unless the class itself defines them.
        for name in ("__eq__", "__hash__", "__repr__"):
            setattr(cls, name, getattr(cls, name))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_equal, _compared(self), _compared(other)))

    def __hash__(self) -> int:
        return hash((type(self), *map(_key, _compared(self))))

    def __repr__(self) -> str:
        shown = [field.name for field in fields(self) if field.repr]  # type: ignore[arg-type]
        values = (f"{name}={_BRIEF.repr(getattr(self, name))}" for name in shown)
        return f"{type(self).__qualname__}({', '.join(values)})"


def _compared(record: Any) -> list[Any]:
    return [getattr(record, field.name) for field in fields(record) if field.compare]


def _is_array(value: object) -> bool:
    """Whether ``value`` is an array or tensor; does not import PyTorch."""
    return isinstance(value, np.ndarray) or hasattr(value, "numel")


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if _is_array(one) and _is_array(other):
        if isinstance(one, np.ndarray) != isinstance(other, np.ndarray) or one.shape != other.shape:
            return False
        if not isinstance(one, np.ndarray):
            one, other = one.cpu(), other.cpu()
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if _is_array(one) or _is_array(other):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other or (one != one and other != other))


def _key(value: Any) -> Any:
    """A hashable stand-in for ``value``, equal for equal values."""
    if _is_array(value):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return frozenset((key, _key(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    if type(value).__hash__ is None or value != value:
        return type(value)
    return value


class _Brief(reprlib.Repr):
    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, Record):
            return repr(x)
        if not _is_array(x):
            return super().repr1(x, level)
        if x.ndim == 1 and len(x) <= self.maxlist:
            return str(x.tolist())
        return f"{x.dtype}{list(x.shape)}".removeprefix("torch.")


_BRIEF = _Brief()
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = 4
_BRIEF.maxstring = _BRIEF.maxother = 80
