"""What plans know about jumps: closed forms on recorded walks with a known chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from walks import statistics_of, walk

from dfplan.planning.graph import GraphPlanner
from dfplan.planning.requirements import Requirements
from dfplan.planning.risk import expected_delay, with_risk
from dfplan.planning.route import find_routes, find_ways
from dfplan.tokens.statistics import Statistics

START, GOAL = np.array([0.0, 0.0]), np.array([10.0, 0.0])

pytestmark = pytest.mark.filterwarnings("ignore::dfplan.data.segments.DataWarning")


def with_jumps(lost: int, saved: int, through: int, round_way: bool) -> Statistics:
    """A corridor to the goal, in which some walks jump at (5, 0), and perhaps a way round it.

    Those that are lost land at (30, 0), where no walk leads on; the others near the goal.
    """
    first = walk((0, 0), (5, 0))
    walks = [np.concatenate([first, walk((30, 0), (31, 0))])] * lost
    walks += [np.concatenate([first, walk((8, 0), (10, 0))])] * saved
    walks += [walk((0, 0), (10, 0))] * through
    if round_way:
        walks += [walk((0, 0), (0, 5), (10, 5), (10, 0))] * 3
    return statistics_of(*walks)


def test_a_plan_knows_its_chances() -> None:
    statistics = with_jumps(lost=10, saved=20, through=60, round_way=False)
    plan = GraphPlanner(statistics).plan(START, GOAL)
    leaves = 31 / 91  # one more than recorded
    assert plan.futures is not None and len(plan.futures) == 2
    assert plan.on_plan is not None and plan.loss is not None and plan.arrival is not None
    assert plan.on_plan[0, 0] == 1 and plan.loss[0, 0] == 0
    assert plan.on_plan[0, -1] == pytest.approx(1 - leaves, abs=1e-5)
    assert plan.loss[0, -1] == pytest.approx(leaves / 3, abs=1e-5)
    assert plan.arrival[0] == pytest.approx(1 - leaves / 3, abs=1e-5)
    by_arrival = sorted(plan.futures, key=lambda future: future.arrival)
    for future, share, place in zip(by_arrival, (1 / 3, 2 / 3), (30.0, 8.0), strict=True):
        assert future.probability == pytest.approx(leaves * share, abs=1e-5)
        assert abs(future.points[0, 0] - place) < 0.6
        assert abs(plan.points[0, future.point, 0] - 5) < 1.5
    assert (np.diff(plan.on_plan[0]) <= 0).all() and (np.diff(plan.loss[0]) >= 0).all()


@pytest.mark.parametrize("aversion, goes_round", [(0.0, False), (50.0, True)])
def test_risk_aversion_chooses_the_way(aversion: float, goes_round: bool) -> None:
    statistics = with_jumps(lost=10, saved=20, through=60, round_way=True)
    plan = GraphPlanner(statistics, risk_aversion=aversion).plan(START, GOAL)
    assert (plan.points[0, :, 1].max() > 4) == goes_round
    assert plan.arrival is not None and plan.futures is not None
    assert (plan.arrival[0] == 1) == goes_round and (not plan.futures) == goes_round


def test_a_way_that_must_jump_ends_there_and_says_so() -> None:
    plan = GraphPlanner(with_jumps(lost=10, saved=30, through=0, round_way=False)).plan(START, GOAL)
    assert abs(plan.points[0, -1, 0] - 5) < 0.5
    assert plan.arrival is not None and plan.futures is not None
    assert plan.arrival[0] == pytest.approx(0.75, abs=1e-3) and len(plan.futures) == 2


def test_a_stay_near_a_departure_is_one_visit() -> None:
    statistics = with_jumps(lost=10, saved=20, through=60, round_way=False)
    assert statistics.roadmap is not None
    (route,) = find_routes(find_ways(statistics, GOAL[None]), START[None])
    plan = GraphPlanner(statistics).plan(START, GOAL)
    place = statistics.roadmap.departures[0]
    bin = statistics.roadmap.bin_of(place)
    corners = statistics.roadmap.bins[bin] + np.array([[0.1, 0.1], [0.9, 0.9]])
    corners = statistics.roadmap.origin + corners * statistics.roadmap.size
    aside = corners[np.abs(corners - place).max(1).argmax()]
    lines = ([START, place, GOAL], [START, place, aside, place, GOAL], [START, place, START, GOAL])
    left = []
    for line in lines:
        points = walk(*line)[None].astype(np.float32)
        changed = replace(plan, points=points, level=np.zeros(points.shape[:2], np.int64))
        risk = with_risk(changed, [route], statistics)
        assert risk.on_plan is not None
        left.append(risk.on_plan[0, -1])
    once = 1 - 31 / 91
    np.testing.assert_allclose(left, [once, once, once**2], atol=1e-5)


def test_without_jumps_nothing_is_left_to_chance() -> None:
    plan = GraphPlanner(statistics_of(*[walk((0, 0), (10, 0))] * 3)).plan(START, GOAL)
    assert plan.arrival is not None and plan.on_plan is not None and plan.loss is not None
    assert plan.arrival[0] == 1 and (plan.on_plan == 1).all() and (plan.loss == 0).all()
    assert plan.futures == ()


def line(*corners: tuple[float, float]) -> np.ndarray:
    """A plan through these corners, [P, 2]."""
    return np.asarray(walk(*corners)[:, :2], float)


def test_waiting_does_not_change_the_expected_delay() -> None:
    """With time to spare, a jump would otherwise seem to save time."""
    statistics = with_jumps(lost=10, saved=20, through=60, round_way=True)
    (ways,) = find_ways(statistics, GOAL[None])
    step = statistics.motion.max_step
    across = line((0, 0), (10, 0))
    waiting = np.concatenate([across, np.repeat(across[-1:], 500, 0)])
    delays = [
        expected_delay(ways.stages, points, np.zeros(len(points), int), step)
        for points in (across, waiting)
    ]
    assert delays[0] > 0 and delays[1] == pytest.approx(delays[0])
    around = line((0, 0), (0, 5), (10, 5), (10, 0))
    assert expected_delay(ways.stages, around, np.zeros(len(around), int), step) == 0


def test_a_landing_still_has_to_pass_the_places_that_are_left() -> None:
    """A jump behind a required place costs the way back to it."""
    statistics = with_jumps(lost=0, saved=30, through=60, round_way=True)
    place = np.array([[2.0, 0.0]])
    (ways,) = find_ways(statistics, GOAL[None], requirements=Requirements(place))
    points, step = line((0, 0), (10, 0)), statistics.motion.max_step
    passed = (points[:, 0] >= 2).astype(int)
    before, behind = (
        expected_delay(ways.stages, points, counts, step)
        for counts in (np.zeros(len(points), int), passed)
    )
    assert before > behind
