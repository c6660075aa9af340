"""Planning in a thread, so that control does not wait for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from dfplan.errors import require_numbers
from dfplan.types import Plan

_ACTING = 0.003
"""Seconds that are left for everything else that a policy does in a step."""


@dataclass(eq=False)
class Order:
    """A plan that is being made.

    Attributes:
        rows: environments that it is for, int [R].
        goals: the goals of all environments when it was ordered, float32 [B, 2].
        elapsed: environment steps since then.
    """

    rows: np.ndarray
    goals: np.ndarray
    elapsed: int = 0


class BackgroundPlanning:
    """Makes one plan after another in a thread.

    Args:
        deadline_ms: how many milliseconds a step of a policy may take.

    Attributes:
        order: the plan that is being made; None if there is none.

    Raises:
        ConfigError: the deadline is not a positive number.
    """

    def __init__(self, deadline_ms: float) -> None:
        require_numbers({"deadline_ms": deadline_ms}, above=0, maximum=1e6)
        # The thread may keep Python's lock for one switch interval.
        self._patience = max(0.0, deadline_ms / 1000 - _ACTING - sys.getswitchinterval())
        self._thread: ThreadPoolExecutor | None = None
        self._made: Future[Plan] | None = None
        self._until = 0.0
        self.order: Order | None = None

    def begin_step(self) -> None:
        """A step of the policy begins now."""
        self._until = time.perf_counter() + self._patience

    def end_step(self) -> None:
        """Count an environment step."""
        if self.order is not None:
            self.order.elapsed += 1

    def start(self, order: Order, make: Callable[[], Plan]) -> None:
        """Call ``make`` in the thread, after the plan that it is making now."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "dfplan")
        self.order, self._made = order, self._thread.submit(make)

    def result(self) -> tuple[Order, Plan] | None:
        """The plan that was ordered, if it is made in time for this step.

        Raises:
            Exception: as the planner.
        """
        order, made = self.order, self._made
        if order is None or made is None:
            return None
        wait([made], max(0.0, self._until - time.perf_counter()))
        if not made.done():
            return None
        self.drop()
        return order, made.result()

    def drop(self) -> None:
        """Forget the plan that was ordered."""
        self.order = self._made = None
