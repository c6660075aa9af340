"""Shields dfplan from global settings of PyTorch and NumPy that the caller has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.errors import ConfigError

_PROCESS = os.getpid()


@contextmanager
def isolated(*, training: bool = False) -> Iterator[None]:
    """Run a block with the default settings of PyTorch and NumPy, in this thread only.

    The block runs outside inference mode and autocast, with the CPU as the default device, and
    without NumPy's floating-point warnings. The caller's settings are restored afterwards.

    Not changed: settings of the whole process, such as the default dtype (code in the block passes
    its dtypes explicitly), random generators, the number of threads and the precision of matrix
    products.

    A forked process has only the thread that called ``fork``, and PyTorch would wait forever for
    its parent's other threads. In a forked process PyTorch is therefore limited to one thread,
    permanently.

    Args:
        training: whether to record gradients.

    Raises:
        ConfigError: PyTorch cannot work in this forked process, for example because its parent
            has used a GPU.
    """
    forked = os.getpid() != _PROCESS
    if forked and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
    try:
        with ExitStack() as stack:
            # This order matters: leaving inference mode enables gradients.
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
                f"PyTorch cannot continue in a forked process: {error} Start processes with "
                "'spawn' or 'forkserver' (multiprocessing.get_context), or fork before the first "
                "plan."
            ) from error
        raise


@contextmanager
def single_precision() -> Iterator[None]:
    """Make float32 the default dtype of the whole process until the block ends.

    For code that cannot pass its dtype. Keep the block short: other threads see the change.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_tensor(values: object) -> torch.Tensor:
    """Convert numbers to a float tensor; return ``values`` itself if it is one already.

    Raises:
        ObservationError: as :func:`dfplan.arrays.copy_array`.
    """
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        return values
    array = copy_array(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    return torch.from_numpy(array)
