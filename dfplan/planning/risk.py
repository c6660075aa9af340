"""What can happen to a plan by chance, from the recorded jumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dfplan.planning.route import Route, expected_way
from dfplan.planning.time_to_goal import GoalTimes
from dfplan.tokens.roadmap import BIN_CELLS, areas
from dfplan.tokens.statistics import Statistics
from dfplan.types import Future, Plan

_CONTACT = 1.5
"""A line is where the data jumps if it passes a departure this closely, in cells of the support."""

_SAMPLES = 10
"""Points on each line of a plan at which its bin is looked up."""


def with_risk(plan: Plan, routes: Sequence[Route], statistics: Statistics) -> Plan:
    """The same plan with ``arrival``, ``on_plan``, ``loss`` and ``futures``.

    A plan visits a bin with jumps if its line passes where the data has jumped. Each visit ends
    with a jump with the chance of the bin (:class:`~dfplan.tokens.roadmap.Roadmap`). After a jump
    the episode continues on the best way from the landing.

    Args:
        plan: for B queries.
        routes: the expected way of each.
        statistics: statistics of the data, with a roadmap.
    """
    shape = plan.points.shape[:2]
    arrival, on_plan, loss = np.ones(len(plan)), np.ones(shape), np.zeros(shape)
    futures: list[Future] = []
    for query, (route, points) in enumerate(zip(routes, plan.points, strict=True)):
        arrived = 0.0
        for point, bin in _visits(
            route.way, points, route.points[-1:] if route.ends_in_jump else None
        ):
            for future in _futures(route.way, statistics, query, point, bin, on_plan[query, -1]):
                futures.append(future)
                on_plan[query, point + 1 :] -= future.probability
                loss[query, point + 1 :] += future.probability * (1 - future.arrival)
                arrived += future.probability * future.arrival
        last = route.way.start_bin(points[-1]) if route.ends_in_jump else None
        onward = 1.0 if last is None else route.way.arrival[last]
        arrival[query] = onward * on_plan[query, -1] + arrived
    return replace(
        plan,
        arrival=arrival.clip(0, 1).astype(np.float32),
        on_plan=on_plan.clip(0, 1).astype(np.float32),
        loss=loss.clip(0, 1).astype(np.float32),
        futures=tuple(futures),
    )


def expected_delay(
    stages: Sequence[GoalTimes],
    points: np.ndarray,
    passed: np.ndarray,
    max_step: float,
    onward: float = 0.0,
) -> float:
    """The expected steps that jumps add to a plan, where a loss counts as on the roadmap.

    After a jump, the expected time from the landing takes the place of what is left of the line at
    top speed. Time to spare does not count, so that a plan gains nothing by waiting. As on the
    roadmap, any visit to a bin with jumps can end with one; a search would otherwise find lines
    between the recorded departures.

    Args:
        stages: the expected times to each required place in order, and then to the goal.
        points: of the plan, [P, 2].
        passed: how many required places each point has behind it, int [P].
        max_step: the largest displacement along an axis in one environment step.
        onward: expected steps from the end of the line to the goal.
    """
    roadmap, delay, on_plan = stages[-1].roadmap, 0.0, 1.0
    length = np.abs(np.diff(points, axis=0)).max(1) / max_step
    left = np.append(length[::-1].cumsum()[::-1], 0.0) + onward
    later = [0.0]  # steps from each required place on, the last place first
    for before, stage in zip(stages[-2::-1], stages[:0:-1], strict=True):
        later.insert(0, later[0] + stage.expected_from(before.goal))
    for point, bin in _visits(stages[-1], points, reach=np.inf):
        way = stages[passed[point]]
        times = np.where(np.isfinite(way.steps), way.steps, way.lost) + later[passed[point]]
        jumps = roadmap.jumps[:, 0] == bin
        chance = roadmap.chance[jumps].astype(np.float64)
        landings = times[roadmap.jumps[jumps, 1]]
        delay += on_plan * float((chance * (1 + landings - left[point])).sum())
        on_plan *= 1 - chance.sum()
    return delay


def _visits(
    way: GoalTimes,
    points: np.ndarray,
    waits_at: np.ndarray | None = None,
    reach: float = _CONTACT,
) -> Iterator[tuple[int, int]]:
    """Each visit of the line ``points`` [P, 2] to a bin with jumps: (point before it, bin).

    It is a visit if the line passes a departure no farther than ``reach``, in cells of the support.
    In the end the body waits for a jump at ``waits_at`` [1, 2].
    """
    roadmap = way.roadmap
    if not len(roadmap.departures):
        return
    share = np.arange(_SAMPLES)[:, None] / _SAMPLES
    line = (points[:-1, None] + share * np.diff(points, axis=0)[:, None]).reshape(-1, 2)
    limit = reach * roadmap.size / BIN_CELLS
    away = roadmap.departure_tree.query(line, distance_upper_bound=limit)[0]
    bins, touches = roadmap.bin_of(line), np.isfinite(away)
    if waits_at is not None:
        bins, touches = np.append(bins, roadmap.bin_of(waits_at)), np.append(touches, True)
    stay = np.append(0, np.cumsum(np.diff(bins) != 0))
    # The first sample of each stay that touches a departure.
    samples = np.flatnonzero(touches)
    samples = samples[np.unique(stay[samples], return_index=True)[1]]
    for sample, bin in zip(samples.tolist(), bins[samples].tolist(), strict=True):
        # A body that is at the goal does not wait for a jump.
        if bin >= 0 and bin not in way.ends and roadmap.jump_chance[bin] > 0:
            yield min(sample // _SAMPLES, len(points) - 2), bin


def _futures(
    way: GoalTimes,
    statistics: Statistics,
    query: int,
    point: int,
    bin: int,
    probability: float,
) -> Iterator[Future]:
    """Where a visit to ``bin`` can lead; neighboring landings are one future.

    Args:
        way: to the goal.
        statistics: statistics of the data.
        query: index of the plan.
        point: the plan's point before the visit.
        bin: with jumps.
        probability: of the visit.
    """
    roadmap = way.roadmap
    jumps = roadmap.jumps[:, 0] == bin
    landings, chance = roadmap.jumps[jumps, 1], roadmap.chance[jumps].astype(np.float64)
    label = areas(roadmap.bins[landings])
    for area in np.unique(label):
        own = label == area
        share = chance[own] / chance[own].sum()
        landing = landings[own][chance[own].argmax()]
        line = roadmap.centers[[landing]]
        if np.isfinite(way.steps[landing]):
            line = expected_way(way, line[0], statistics).points
        yield Future(
            query,
            point,
            float(probability * chance[own].sum()),
            float((share * way.arrival[landings[own]]).sum()),
            line.astype(np.float32),
        )
