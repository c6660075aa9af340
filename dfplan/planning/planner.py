"""Base class of planners and of wrappers around planners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from dfplan.boundary import isolated
from dfplan.errors import ConfigError, require_function
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.trackers import Tracker
from dfplan.planning.warm_start import WarmStart
from dfplan.record import Record
from dfplan.types import Plan, Planner, Reward

Progress = Callable[[Any], None]
"""Called after each step of planning: with a :class:`~dfplan.types.DenoisingStep` after each row of
the scheduling matrix, or, by a tree search, with the :class:`~dfplan.types.SearchTree` after each
round. An exception from it stops the planning."""


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


@dataclass(frozen=True)
class PlanArguments(Record):
    """The arguments of :meth:`BasePlanner.plan`, unchecked."""

    observation: np.ndarray
    goal: np.ndarray | None = None
    reward: Reward | None = None
    horizon: int | None = None
    seed: int | None = None
    history: ObservationHistory | None = None
    trace: bool = False
    callback: Progress | None = None
    warm_start: WarmStart | None = None

    def given(self, name: str) -> bool:
        """Whether an optional argument is neither None nor False."""
        value = getattr(self, name)
        return value is not None and value is not False

    def plan_with(self, planner: Planner) -> Plan:
        """The plan that ``planner`` makes from these arguments."""
        # Planners of other packages may not have the optional arguments.
        names = [field.name for field in fields(self) if field.name not in _OPTIONAL]
        names += filter(self.given, _OPTIONAL)
        values = {name: getattr(self, name) for name in names}
        return planner.plan(values.pop("observation"), values.pop("goal"), **values)


_OPTIONAL = ("history", "trace", "callback", "warm_start")


class BasePlanner(ABC):
    """A planner that is defined by one method, :meth:`make_plan`.

    A class need not inherit from it to be a :class:`~dfplan.types.Planner`.

    Attributes:
        supports: which of the arguments ``reward``, ``history``, ``trace``, ``callback`` and
            ``warm_start`` of :meth:`plan` this class uses. Others are refused.
        observation_layout: the columns of the observations that it plans from. A planner that
            wraps another one in the attribute ``planner`` has that one's.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"reward", "history", "trace", "callback"})

    @property
    def observation_layout(self) -> ObservationLayout:
        return getattr(getattr(self, "planner", None), "observation_layout", PLANAR)

    @isolated()
    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
        history: ObservationHistory | None = None,
        trace: bool = False,
        callback: Progress | None = None,
        warm_start: WarmStart | None = None,
    ) -> Plan:
        """Plan from each observation to its goal, or by reward alone.

        Args:
            observation: position and velocity, [4] or [B, 4], in units of the data; or the position
                alone, [2] or [B, 2]. A model of other observations needs these, [S] or [B, S].
            goal: position, [2] or [B, 2]; None to plan by ``reward`` alone.
            reward: added to the guidance and to the score.
            horizon: environment steps of the plan, rounded up to whole tokens; by default it is
                chosen for each query.
            seed: seed of all noise; None draws a random one.
            history: the last positions, noisy or missing; its last one replaces the position of
                the observation. The plan starts from the estimate of it
                (:func:`~dfplan.planning.state_estimator.estimate_positions`). The history precedes
                the plan as clean tokens, so both together must fit in the model's window.
            trace: whether the plan records how it was made: the denoising of the chosen
                candidate, or the search tree.
            callback: called after each step of planning. All candidates are then denoised in one
                batch, however many there are.
            warm_start: earlier plans of the same queries. The new ones start from what is left of
                them, with noise that grows toward their end.

        Raises:
            ObservationError: wrong shapes, values that are not finite, or a goal, or a start
                without noise, that is too far from the data.
            ConfigError: a horizon or distance that is too long for the model, a horizon in which
                the goal cannot be reached, no goal and no reward, a reward that does not return
                one finite number per plan or has no gradient, an invalid callback, or an argument
                that this planner does not support.
        """
        arguments = PlanArguments(
            observation, goal, reward, horizon, seed, history, trace, callback, warm_start
        )
        for name in ("reward", *_OPTIONAL):
            if arguments.given(name) and name not in self.supports:
                raise ConfigError(
                    f"{type(self).__name__} does not support {name}; got "
                    f"{getattr(arguments, name)!r:.100}. Leave it out, or use a planner trained by "
                    "Diffusion Forcing."
                )
        if callback is not None:
            require_function("callback", callback, "progress")
        return self.make_plan(arguments)

    @abstractmethod
    def make_plan(self, arguments: PlanArguments) -> Plan:
        """Make a plan from the arguments of :meth:`plan`."""
