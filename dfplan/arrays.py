"""Reads a caller's numbers from any container into NumPy arrays. Does not import PyTorch."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np

from dfplan.errors import ObservationError


def as_array(values: object) -> np.ndarray:
    """Convert an array, tensor, list or number to an array; copy only where necessary.

    Raises:
        TypeError, ValueError, RuntimeError: ``values`` is not an array, or has masked elements.
    """
    torch: Any = sys.modules.get("torch")  # a caller who has a tensor has imported torch
    if torch is not None and isinstance(values, torch.Tensor):
        tensor: Any = values.detach().cpu()
        array: np.ndarray = (tensor.double() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return array
    if _is_masked(values):
        raise ValueError("some elements are masked")
    return np.asarray(values)


def copy_array(values: object, dtype: type[np.generic] | None = None) -> np.ndarray:
    """Copy real numbers from an array, tensor, list or number to a new array.

    Args:
        values: any shape, memory order and byte order.
        dtype: type of the copy; default: the type of ``values``, in native byte order.

    Raises:
        ObservationError: ``values`` are not numbers, are complex or masked, or are a list of rows
            of different lengths.
    """
    try:
        array = as_array(values)
        with np.errstate(all="ignore"):
            if array.dtype.kind == "O" and all(isinstance(one, numbers.Real) for one in array.flat):
                array = array.astype(dtype or np.float64)  # for example integers above 64 bits
            if array.dtype.kind not in "biuf":
                raise ValueError(f"their type is {array.dtype}")
            return np.array(array, dtype or array.dtype.newbyteorder("="), order="C")
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ObservationError(f"Expected numbers; got {values!r:.200} ({error}).") from error


def _is_masked(values: object) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_is_masked, values))
    return bool(np.ma.is_masked(values))
