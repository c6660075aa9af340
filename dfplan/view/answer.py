"""Answers requests with streams of events: the denoising row by row, the plan, its execution."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dfplan.errors import ConfigError, DfplanError, MazeError, ObservationError
from dfplan.planning.denoise import evaluations
from dfplan.planning.partial_plan import LATEST, read_plan_query
from dfplan.planning.planner import PlanArguments
from dfplan.planning.rewards import (
    Box,
    ComposableReward,
    KeepOut,
    OnSupport,
    PassThrough,
    Short,
    points_on_lines,
)
from dfplan.planning.route import find_routes, find_ways
from dfplan.planning.settings import MUCH_NOISE
from dfplan.planning.single import ForcingPlanner
from dfplan.regions import RegionTable
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.types import DenoisingStep, Plan, Reward
from dfplan.view.execution import Emit, execute_plan
from dfplan.view.planners import ServedPlanner, rounded
from dfplan.view.requests import PlanRequest, Position, RequestError, errors_of

MAX_EVALUATIONS = 50_000
"""Most network evaluations for one request; they take some minutes on one core."""

_ZONE_MARGIN = 0.2  # cells


def answer(request: PlanRequest, served: ServedPlanner, emit: Emit) -> None:
    """Plan, and execute the plan if the request says so.

    The events are dicts with a ``kind``, in this order; numbers are rounded to 3 decimals:

    ======= ========================================================================================
    row     for each row of the scheduling matrix: ``row`` from 1 to ``rows``, ``level`` [C][T] of
            the candidates' tokens, ``regions`` [C][T][2] (radii of the tokens' prediction regions,
            which hold the final place with 50 and 90%; null if they were not measured) and
            ``points`` [C][P][2]
    plan    ``points`` [P][2], ``stride``, ``steps`` (planned), ``body_steps`` (that the body needs;
            null with via-points or zones, where it keeps the planned times), ``level`` [T],
            ``regions`` [T][2] or null, ``max_level``, ``spread`` [P] or null if it is not known,
            ``replans`` (number of plans made again), ``other_routes`` [R][Q][2] (those that take
            another route), ``too_fast`` (points after which the plan is faster than the body),
            ``scores`` [C], ``best`` (index of the chosen candidate), ``evaluations``, ``seconds``,
            ``via_distances`` (distance of the plan to each via-point) and ``zone_depths`` (how deep
            the plan enters each zone; 0 if it does not)
    episode ``positions`` [S][2] since the last such event, ``step`` of the last one, ``reached``
            (step at which the goal was reached, or null), ``replanned`` (number of new plans),
            ``over`` (whether the episode is over)
    error   ``message`` and ``field`` of the request, or an empty field; the last event
    ======= ========================================================================================

    An exception from ``emit`` stops the planning and is passed on.
    """
    try:
        if request.matrix == "pyramid" and request.uncertainty_scale > request.steps:
            raise RequestError(
                "uncertainty_scale",
                "Expected an uncertainty scale of at most the number of sampling steps, "
                f"{request.steps}; got {request.uncertainty_scale:g}.",
            )
        planner = planner_for(request, served)
        length = _longest_plan(request, planner)
        known = 1 if request.goal is None else 2
        sequences = request.candidates * (1 + planner.settings.replans)
        cost = sequences * evaluations(planner.settings, planner.model, length, known)
        if cost > MAX_EVALUATIONS:
            raise RequestError(
                "candidates",
                f"Expected at most {MAX_EVALUATIONS} network evaluations; this request may need "
                f"{cost}. Reduce candidates, Monte Carlo samples, steps or the uncertainty scale.",
            )
        reward = reward_of(request, served)
        _check_positions(request, served, planner)
        try:
            plan = _make_plan(request, planner, reward, emit)
        except ConfigError as error:
            raise RequestError("goal" if "horizon" in str(error) else "", str(error)) from error
        if request.execute:
            execute_plan(request, served, planner, reward, plan, emit)
    except RequestError as error:
        emit({"kind": "error", "field": error.field, "message": str(error)})
    except DfplanError as error:
        emit({"kind": "error", "field": "", "message": str(error)})


def planner_for(request: PlanRequest, served: ServedPlanner) -> ForcingPlanner:
    """The planner with the settings of a request; for via-points and zones with steep rewards."""
    planner = served.planner.with_settings(
        sampling=SamplingSchedule(
            request.matrix, request.steps, request.uncertainty_scale, request.stop_fraction
        ),
        candidates=request.candidates,
        route_candidates=request.candidates,
        mc_samples=request.mc_samples,
        guidance=replace(served.planner.settings.guidance, scale=request.guidance),
    )
    if request.via_points or request.zones:
        return planner.for_rewards(served.maze.suite.cell_size)
    return planner.with_settings(route_noise=MUCH_NOISE)


def _longest_plan(request: PlanRequest, planner: ForcingPlanner) -> int:
    """Tokens of the longest candidate: of a window, or of the way to the goal if it is longer."""
    statistics, layout = planner.model.statistics, planner.model.layout
    if request.goal is None or statistics.roadmap is None:
        return layout.tokens
    with suppress(ObservationError):
        ways = find_ways(statistics, np.array([request.goal]))
        (route,) = find_routes(ways, np.array([request.start]))
        return max(layout.tokens, 1 + math.ceil(LATEST * route.duration / layout.token_steps))
    return layout.tokens


def reward_of(request: PlanRequest, served: ServedPlanner) -> Reward | None:
    """The reward of a request: its via-points, its zones, and closeness to the visited places.

    None if the request has neither via-points nor zones.
    """
    terms: list[ComposableReward] = []
    unit = served.maze.suite.cell_size
    if request.via_points:
        terms.append(1000 / unit**2 * PassThrough(request.via_points))  # type: ignore[arg-type]
    if request.zones:
        keep_out = KeepOut(zone_boxes(request), margin=_ZONE_MARGIN * unit)
        terms.append(20000 / unit**2 * keep_out)
    if not terms:
        return None
    return sum(terms, 2400 / unit**2 * OnSupport(served.planner.model.statistics.support))


def zone_boxes(request: PlanRequest) -> list[Box]:
    """The zones as regions of a reward."""
    return [Box((a, b), (c, d)) for a, b, c, d in request.zones]


def _check_positions(request: PlanRequest, served: ServedPlanner, planner: ForcingPlanner) -> None:
    """Raise :class:`RequestError` with the field of a position that cannot be planned with."""
    start, require_free = np.array(request.start), served.maze.require_free

    def require_query(goal: np.ndarray | None) -> None:
        arguments = PlanArguments(start, goal, reward=Short())
        read_plan_query(arguments, planner.model, planner.settings)

    with errors_of("start", MazeError, ObservationError):
        require_free(start, "start")
        require_query(None)
    if request.goal is not None:
        with errors_of("goal", MazeError, ObservationError):
            require_free(np.array(request.goal), "goal", radius=0.0)
            require_query(np.array(request.goal))
    for number, position in enumerate(request.via_points, 1):
        with errors_of("via_points", MazeError):
            require_free(np.array(position), f"via-point {number}", radius=0.0)
    ends: dict[str, Position | None] = {"start": request.start, "goal": request.goal}
    for low0, low1, high0, high1 in request.zones:
        for name, end in ends.items():
            if end and low0 <= end[0] <= high0 and low1 <= end[1] <= high1:
                message = f"The {name} must be outside the zones. Move it, or erase the zone."
                raise RequestError("zones", message)


def _make_plan(
    request: PlanRequest, planner: ForcingPlanner, reward: Reward | None, emit: Emit
) -> Plan:
    """Plan, and emit the events ``row`` and ``plan``."""
    stack = planner.model.layout.frame_stack

    def emit_row(step: DenoisingStep) -> None:
        emit(
            {
                "kind": "row",
                "row": step.row,
                "rows": step.rows,
                "level": step.level[0, :, ::stack].tolist(),
                "regions": _region_radii(planner, step.regions, step.level[0]),
                "points": rounded(step.points[0]),
            }
        )

    goal = None if request.goal is None else np.array(request.goal)
    plan = planner.plan(
        np.array(request.start), goal, reward=reward, seed=request.seed, callback=emit_row
    )
    emit(
        {
            "kind": "plan",
            "body_steps": _body_steps(plan) if reward is None else None,
            "regions": _region_radii(planner, plan.regions, plan.level[0]),
            **_plan_fields(plan, stack),
            **_replan_fields(plan),
            **_constraint_distances(request, plan),
        }
    )
    return plan


def _region_radii(planner: ForcingPlanner, regions: RegionTable | None, level: np.ndarray) -> Any:
    """Radii of the prediction regions of each token, from the noise ``level`` [..., P] of points.

    None if they were not measured.
    """
    if regions is None:
        return None
    radii = regions.of(level / planner.model.schedule.max_level)
    return rounded(radii[..., :: planner.model.layout.frame_stack, :])


def _body_steps(plan: Plan) -> int | None:
    """Environment steps after which the body is at the end, if it hurries; None if not known."""
    return None if plan.times is None else round(float(plan.times[0, -1]))


def _plan_fields(plan: Plan, stack: int) -> dict[str, Any]:
    """The plan itself, and how it was chosen."""
    # The plan is a refined candidate; the nearest candidate is the one that was refined.
    distances = np.abs(plan.candidates[0] - plan.points[:1]).sum((-1, -2))
    fast = [] if plan.too_fast is None else np.flatnonzero(plan.too_fast[0]).tolist()
    return {
        "points": rounded(plan.points[0]),
        "stride": plan.stride,
        "steps": int(plan.steps[0]),
        "level": plan.level[0, ::stack].tolist(),
        "max_level": plan.max_level,
        "too_fast": fast,
        "scores": rounded(plan.scores[0]),
        "best": int(distances.argmin()),
        "evaluations": plan.evaluations,
        "seconds": round(plan.seconds, 4),
    }


def _replan_fields(plan: Plan) -> dict[str, Any]:
    """How far the plan moves if it is made again, and which of the new plans part from it."""
    if plan.spread is None or plan.replans is None or plan.same_route is None:
        return {"spread": None, "replans": 0, "other_routes": []}
    return {
        "spread": rounded(plan.spread[0]) if plan.same_route[0].any() else None,
        "replans": len(plan.replans[0]),
        "other_routes": rounded(plan.replans[0][~plan.same_route[0]]),
    }


def _constraint_distances(request: PlanRequest, plan: Plan) -> dict[str, Any]:
    """Distance of a plan to each via-point, and how deep it enters each zone."""
    line = points_on_lines(torch.from_numpy(plan.points), 8)
    steps = torch.zeros(line.shape[1])
    distances = [(line - torch.tensor(point)).norm(dim=-1).min() for point in request.via_points]
    depths = [-box.signed_distance(line, steps).clamp_max(0.0).min() for box in zone_boxes(request)]
    return {"via_distances": rounded(np.array(distances)), "zone_depths": rounded(np.abs(depths))}
