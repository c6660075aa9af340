"""Where a caller's process and its arrays meet dfplan: what is set there does not come in."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from dfplan.errors import ConfigError, ObservationError

_PROCESS = os.getpid()


@contextmanager
def isolated(*, training: bool = False) -> Iterator[None]:
    """PyTorch and NumPy as they are by default, for this thread and until the block ends.

    Whatever the caller has set of the following is as before afterwards: inference mode,
    gradients, autocast, the default device and NumPy's handling of floating-point errors. What
    holds for the whole process, as the default dtype does, is not touched: code that runs in here
    names its dtypes. No generator of random numbers is touched either. How many threads PyTorch
    has, and how precise its matrix products are, is for the caller to choose.

    A forked process has only the thread that forked it. PyTorch would wait for ever for the other
    threads of its parent, so in a forked process it is set to one thread, for good.

    Args:
        training: whether gradients are recorded.

    Raises:
        ConfigError: a forked process in which PyTorch cannot work, as after its parent used a GPU.
    """
    forked = os.getpid() != _PROCESS
    if forked and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    try:
        with ExitStack() as stack:
            # In this order: leaving inference mode, in which nothing is guided, enables gradients.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.set_grad_enabled(training))
            stack.enter_context(np.errstate(all="ignore"))
            if torch.empty(0).device.type != "cpu":
                stack.enter_context(torch.device("cpu"))
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    except RuntimeError as error:
        if forked and "fork" in str(error):
            raise ConfigError(
                f"PyTorch cannot go on in a forked process here: {error} Start processes by "
                "'spawn' or 'forkserver' (multiprocessing.get_context), or fork before the first "
                "plan."
            ) from error
        raise


def given_array(values: object) -> np.ndarray:
    """A caller's values as an array, whatever holds them; not copied if that is not needed.

    Raises:
        TypeError, ValueError, RuntimeError: they are no array, or some are masked.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return values.double().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    if _masked(values):
        raise ValueError("some of them are masked")
    return np.asarray(values)


def _masked(values: object) -> bool:
    if isinstance(values, list | tuple):
        return any(map(_masked, values))
    return bool(np.ma.is_masked(values))


@contextmanager
def single_precision() -> Iterator[None]:
    """float32 as the default dtype until the block ends, for the whole process.

    For what cannot name its dtype; keep it short, as other threads of the caller see it.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def own_array(values: object, dtype: type[np.generic] | None = None) -> np.ndarray:
    """A copy of a caller's numbers, whatever holds them: array, tensor, list or single number.

    Args:
        values: of any shape, order and byte order.
        dtype: of the copy; by default that of ``values``.

    Raises:
        ObservationError: no numbers, complex ones, masked ones, or rows of different lengths.
    """
    try:
        given = given_array(values)
        with np.errstate(all="ignore"):
            if given.dtype.kind == "O" and all(isinstance(one, numbers.Real) for one in given.flat):
                given = given.astype(dtype or np.float64)  # whole numbers of any size, say
            if given.dtype.kind not in "biuf":
                raise ValueError(f"they are of type {given.dtype}")
            return np.array(given, dtype or given.dtype.newbyteorder("="), order="C")
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ObservationError(f"Expected numbers; got {values!r:.200} ({error}).") from error


def own_tensor(values: object) -> torch.Tensor:
    """A float tensor of a caller's numbers: ``values`` itself where it is one, else a copy.

    Raises:
        ObservationError: see :func:`own_array`.
    """
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        return values
    array = own_array(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    return torch.from_numpy(array)
