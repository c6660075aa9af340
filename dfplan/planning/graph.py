"""A planner without a network: the expected way on the roadmap of the data."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dfplan.errors import ConfigError, read_seed, require_class, require_numbers
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import (
    MAX_GOAL_DISTANCE,
    MAX_START_DISTANCE,
    SEED_LIMIT,
    read_query,
)
from dfplan.planning.risk import with_risk
from dfplan.planning.route import find_routes, find_ways
from dfplan.planning.time_to_goal import MAX_RISK_AVERSION, RISK_AVERSION
from dfplan.planning.timing import body_times
from dfplan.planning.trackers import Pursuit, pursuit
from dfplan.record import Record
from dfplan.tokens.statistics import Statistics
from dfplan.types import Plan


@dataclass(frozen=True)
class GraphPlanner(Record, BasePlanner):
    """Plans the expected way to the goal that :mod:`dfplan.planning.route` finds in the data.

    It shows what the data knows without a network.

    Attributes:
        statistics: statistics of the data, with a roadmap.
        risk_aversion: see :func:`~dfplan.planning.time_to_goal.goal_times`.
        stride: environment steps between two points of a plan.
        observation_layout: the columns of an observation.
        maze: the maze as text. It is copied to plans for drawing and not used otherwise.

    Raises:
        ConfigError: an attribute has the wrong type or is negative.
    """

    supports = frozenset()

    statistics: Statistics
    risk_aversion: float = RISK_AVERSION
    stride: int = 10
    observation_layout: ObservationLayout = PLANAR
    maze: str | None = None

    def __post_init__(self) -> None:
        require_class(Statistics, statistics=self.statistics)
        require_class(ObservationLayout, observation_layout=self.observation_layout)
        require_numbers(vars(self), "risk_aversion", minimum=0, maximum=MAX_RISK_AVERSION)
        require_numbers(vars(self), "stride", integer=True, minimum=1)

    def tracker(self) -> Pursuit:
        """Pure pursuit, with gains computed from the data's motion."""
        return pursuit(self.statistics.motion)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :meth:`~dfplan.planning.planner.BasePlanner.plan`."""
        began = time.perf_counter()
        read_seed(arguments.seed, SEED_LIMIT)
        if arguments.horizon is not None:
            raise ConfigError(
                f"A plan on the roadmap takes its expected time; got a horizon of "
                f"{arguments.horizon!r:.100}. Leave it out, or use a ForcingPlanner."
            )
        query = read_query(arguments.observation, arguments.goal, self.observation_layout)
        query.require_near_data(self.statistics, MAX_START_DISTANCE, MAX_GOAL_DISTANCE)
        if query.goal is None:
            raise ConfigError("A plan on the roadmap needs a goal; got none.")
        starts = query.start.numpy().astype(np.float64)
        ways = find_ways(self.statistics, query.goal, self.risk_aversion)
        routes = find_routes(ways, starts)
        steps = np.array([route.steps[-1] for route in routes])
        counts = np.ceil(steps / self.stride).astype(int).clip(min=1)
        at = np.arange(counts.max() + 1) * self.stride
        points = np.stack([route.at(at) for route in routes]).astype(np.float32)
        clean = np.zeros(points.shape[:2], np.int64)
        motion = self.statistics.motion
        times = body_times(points, motion, query.layout.velocities(query.observation))
        plan = Plan(
            points=points,
            steps=counts * self.stride,
            stride=self.stride,
            level=clean,
            max_level=1,
            candidates=points[:, None],
            scores=-steps.astype(np.float32)[:, None],
            observation=query.observation,
            goal=query.goal,
            evaluations=0,
            seconds=time.perf_counter() - began,
            times=times.astype(np.float32),
            max_step=motion.max_step,
            spread=np.zeros(clean.shape, np.float32),  # it has no noise
            maze=self.maze,
            floor=self.statistics.support.floor,
            layout=query.layout,
        )
        return with_risk(plan, routes, self.statistics)
