"""Base class of planners and of wrappers around planners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from dfplan.errors import ConfigError
from dfplan.planning.trackers import Tracker
from dfplan.record import Record
from dfplan.types import Plan, Planner, Reward


@dataclass(frozen=True)
class PlanArguments(Record):
    """The arguments of :meth:`dfplan.types.Planner.plan`, unchecked."""

    observation: np.ndarray
    goal: np.ndarray | None = None
    reward: Reward | None = None
    horizon: int | None = None
    seed: int | None = None

    def plan_with(self, planner: Planner) -> Plan:
        """The plan that ``planner`` makes from these arguments."""
        return planner.plan(
            self.observation,
            self.goal,
            reward=self.reward,
            horizon=self.horizon,
            seed=self.seed,
        )


class BasePlanner(ABC):
    """A planner that is defined by one method, :meth:`make_plan`.

    A class need not inherit from it to be a :class:`~dfplan.types.Planner`.
    """

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """See :meth:`dfplan.types.Planner.plan`."""
        return self.make_plan(PlanArguments(observation, goal, reward, horizon, seed))

    @abstractmethod
    def make_plan(self, arguments: PlanArguments) -> Plan:
        """Make a plan from the arguments of :meth:`plan`."""


@runtime_checkable
class HasTracker(Protocol):
    """A planner with a default tracker for its plans."""

    def tracker(self) -> Tracker: ...


def require_planner(planner: object) -> None:
    """Raise :class:`ConfigError` unless ``planner`` is a :class:`~dfplan.types.Planner`."""
    if isinstance(planner, type) or not isinstance(planner, Planner):
        raise ConfigError(
            f"planner must be an object with the method plan; got {planner!r:.200}. Load one with "
            "dfplan.load(...)."
        )
