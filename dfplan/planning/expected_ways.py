"""The expected ways of queries to their goals, from which plans start."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dfplan.errors import ConfigError, DataError, ObservationError
from dfplan.planning.objective import PlanObjective
from dfplan.planning.query import PlanQuery
from dfplan.planning.requirements import Requirements, requirements_of
from dfplan.planning.route import Route, Ways, find_routes, find_ways
from dfplan.planning.row_errors import first_then_others, in_row
from dfplan.record import Record
from dfplan.sampling.model import SequenceModel
from dfplan.types import Reward

_SHORTCUT = 1.1
"""A plan can be this much shorter than the expected way, which bends at the centers of bins."""


@dataclass(frozen=True)
class ExpectedWays(Record):
    """The expected ways of B queries to their goals.

    Attributes:
        ways: to the goal of each query; None if they are not known or not wanted.
        routes: the way of each query; None with ``ways``.
        along: whether its plans start from it; bool [B].
        partial: whether the routes are only the first parts of the ways.
    """

    ways: list[Ways] | None
    routes: list[Route] | None
    along: np.ndarray
    partial: bool = False

    @property
    def to_goals(self) -> bool:
        """Whether plans start from whole ways to their goals."""
        return bool(self.along.any()) and not self.partial

    @property
    def followed(self) -> list[Route | None] | None:
        """The way from which the plans of each query start; None for pure noise.

        None for all queries is None instead of the list.
        """
        if self.routes is None or not self.along.any():
            return None
        return [
            route if along else None for route, along in zip(self.routes, self.along, strict=True)
        ]

    def first_parts(self, length: float) -> ExpectedWays:
        """The parts of the ways from the start on that are at most so long, as routes.

        Raises:
            ConfigError: the ways are not known.
        """
        if self.routes is None:
            raise ConfigError(
                "ahead needs the expected way to the goal, which this checkpoint does not know, "
                "since it has no roadmap. Use ahead=None, or train again with dfplan train."
            )
        return replace(self, routes=[each.first_part(length) for each in self.routes], partial=True)

    def query_to_ends(self, query: PlanQuery) -> PlanQuery:
        """The query to the ends of the followed ways, or of their first parts.

        A way can end before the goal, where a jump is likely.
        """
        lines = self.routes if self.partial else self.followed
        if lines is None or query.goal is None:
            return query
        pairs = zip(lines, query.goal, strict=True)
        ends = [goal if route is None else route.points[-1] for route, goal in pairs]
        return replace(query, goal=np.stack(ends).astype(np.float32))

    def require_time(self, horizon: int | None, max_step: float) -> None:
        """Raise :class:`ConfigError` if a body at top speed needs more steps than ``horizon``."""
        if self.routes is None or horizon is None:
            return
        needed = np.array([route.length / max_step for route in self.routes])
        short = needed > _SHORTCUT * int(horizon)
        if short.any():
            row = int(needed.argmax())
            raise ConfigError(
                f"The way to the goal{in_row(row, len(needed))} takes about {needed[row]:.0f} "
                f"steps at top speed; got a horizon of {horizon}. Give a longer horizon, or plan "
                "to a nearer goal.",
                rows=first_then_others(row, short),
            )


def expected_ways(
    query: PlanQuery,
    model: SequenceModel,
    objective: PlanObjective,
    reward: Reward | None,
    horizon: int | None = None,
    *,
    always: bool = False,
) -> ExpectedWays:
    """The expected way of each query, and whether its plans start from it.

    A reward may require places to pass and regions to keep out of
    (:mod:`dfplan.planning.requirements`). Of the ways that do so, and the direct one, that with the
    best score is expected. Plans do not start from it with an infinite ``route_noise``, with a
    reward that requires nothing of the way or what no way fulfills, or if tokens hold more than
    positions, which is not known on the way.

    Args:
        query: to plan for.
        model: its statistics may have a roadmap.
        objective: scores ways.
        reward: the caller's, or None.
        horizon: environment steps of the plan; None if the planner chooses.
        always: whether ways are wanted if plans start from pure noise.

    Raises:
        ObservationError: no recorded way leads from a start to its goal.
    """
    settings, statistics = objective.settings, model.statistics
    from_noise = math.isinf(settings.route_noise)
    possible = model.layout.holds_positions_alone and not from_noise
    if query.goal is None or statistics.roadmap is None or (from_noise and not always):
        return ExpectedWays(None, None, np.zeros(len(query), bool))
    ways = find_ways(statistics, query.goal, settings.risk_aversion)
    routes = find_routes(ways, query.start.numpy())
    required = requirements_of(reward) if model.layout.holds_positions_alone else []
    if not required:
        return ExpectedWays(ways, routes, np.full(len(query), possible and reward is None))
    scores = [_score(route, objective, model, horizon) for route in routes]
    along = np.zeros(len(query), bool)
    for requirements in required:
        for row, way, route in _required(query, model, settings.risk_aversion, requirements):
            along[row] = possible
            score = _score(route, objective, model, horizon)
            if score > scores[row]:
                ways[row], routes[row], scores[row] = way, route, score
    return ExpectedWays(ways, routes, along)


def _required(
    query: PlanQuery, model: SequenceModel, risk_aversion: float, requirements: Requirements
) -> Iterator[tuple[int, Ways, Route]]:
    """The rows for which a way fulfills the requirements, and these ways."""
    assert query.goal is not None
    starts, rows = query.start.numpy().astype(np.float64), np.arange(len(query))
    while len(rows):
        try:
            ways = find_ways(model.statistics, query.goal[rows], risk_aversion, requirements)
        except ObservationError as error:
            rows = np.delete(rows, list(error.rows))
            continue
        except DataError:  # the closed regions leave no move
            return
        for row, way in zip(rows.tolist(), ways, strict=True):
            with contextlib.suppress(ObservationError):
                yield row, way, way.route(starts[row])
        return


def _score(
    route: Route, objective: PlanObjective, model: SequenceModel, horizon: int | None
) -> float:
    """The score of a plan along a way."""
    steps = route.duration if horizon is None else int(horizon)
    count = max(1, math.ceil(steps / model.layout.stride))
    line = route.at(np.linspace(0.0, route.duration, count + 1)).astype(np.float32)
    score = objective.score(torch.from_numpy(line)[None], torch.zeros(1))
    return float(score) - route.onward
