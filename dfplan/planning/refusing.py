"""A planner that refuses plans which are unlikely to succeed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.errors import PlanRefusedError, require_class
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.row_errors import in_row
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import SuccessTest, success_probability
from dfplan.planning.trackers import Tracker
from dfplan.record import Record
from dfplan.types import Plan


@dataclass(frozen=True)
class RefusingPlanner(Record, BasePlanner):
    """Refuses plans whose probability of success is too low.

    A :class:`~dfplan.Policy` with ``on_error="hold"`` then continues with its last plan.

    Attributes:
        planner: makes the plans.
        test: what counts as a success, and how likely it must be (``least``).

    Raises:
        ConfigError: the planner or the test is of another class.
    """

    supports = ForcingPlanner.supports - {"reward"}

    planner: ForcingPlanner
    test: SuccessTest

    def __post_init__(self) -> None:
        require_class(ForcingPlanner, planner=self.planner)
        require_class(SuccessTest, test=self.test)

    def tracker(self) -> Tracker:
        """The planner's tracker."""
        return self.planner.tracker()

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :meth:`~dfplan.planning.planner.BasePlanner.plan`.

        Raises:
            PlanRefusedError: a plan is less likely to succeed than ``test.least``.
        """
        plan = arguments.plan_with(self.planner)
        likely = success_probability(self.planner, plan, self.test, seed=arguments.seed)
        refused = np.flatnonzero(likely < self.test.least)
        if len(refused):
            row = int(likely.argmin())
            raise PlanRefusedError(
                f"The plan{in_row(row, len(likely))} succeeds with a probability of "
                f"{likely[row]:.2f}; expected at least {self.test.least:g}. Choose a nearer goal, "
                "give it more time, or lower SuccessTest.least.",
                rows=tuple(refused.tolist()),
            )
        return plan
