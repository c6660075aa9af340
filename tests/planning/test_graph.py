"""Plans without a network, on the roadmap of recorded walks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from walks import STEP, statistics_of, walk

from dfplan.errors import ConfigError, DataError, ObservationError
from dfplan.planning.graph import GraphPlanner
from dfplan.tokens.statistics import Statistics

STITCHED = [[(0, 0), (6, 0)], [(4, 0), (4, 6)], [(4, 4), (10, 4)]]


def around(*lines: list[tuple[float, float]]) -> Statistics:
    """The statistics of three walks side by side along each line."""
    return statistics_of(*[walk(*line) + off for line in lines for off in (-0.05, 0.0, 0.05)])


def test_it_joins_walks_that_no_recorded_walk_joins() -> None:
    statistics = around(*STITCHED)
    plan = GraphPlanner(statistics).plan(np.array([0.0, 0.0]), np.array([10.0, 4.0]))
    np.testing.assert_allclose(plan.points[0, [0, -1]], [[0, 0], [10, 4]], atol=1e-6)
    assert statistics.support.distance(plan.points[0]).max() < 3 * STEP
    corner = np.abs(plan.points[0] - [4, 2]).max(1).min()
    assert corner < 0.5


def test_its_time_is_that_of_the_walks() -> None:
    plan = GraphPlanner(around(*STITCHED)).plan(np.array([0.0, 0.0]), np.array([10.0, 4.0]))
    length = 4 + 4 + 6
    assert 0.8 * length / STEP < plan.steps[0] < 1.1 * length / STEP
    moved = np.abs(np.diff(plan.points[0], axis=0)).max(1)
    assert moved.max() < 1.1 * STEP * plan.stride


def test_it_leaves_out_detours_of_the_walks() -> None:
    rng = np.random.default_rng(0)
    room = [[tuple(rng.uniform(0, 10, 2)) for _ in range(40)] for _ in range(4)]
    plan = GraphPlanner(around(*room)).plan(np.array([1.0, 1.0]), np.array([9.0, 8.0]))
    length = np.linalg.norm(np.diff(plan.points[0], axis=0), axis=1).sum()
    assert length < 1.03 * np.hypot(8, 7)


def test_a_batch_has_the_plans_of_its_rows() -> None:
    planner = GraphPlanner(around(*STITCHED))
    starts, goals = np.array([[0, 0], [4.0, 5]]), np.array([[10, 4.0], [10, 4]])
    both = planner.plan(starts, goals)
    for row in range(2):
        one = planner.plan(starts[row], goals[row])
        count = one.points.shape[1]
        np.testing.assert_allclose(both.points[row, :count], one.points[0], atol=1e-6)
        assert both.steps[row] == one.steps[0]


def test_walks_that_do_not_meet_are_not_joined() -> None:
    apart = around([(0, 0), (6, 0)], [(0, 5), (6, 5)])
    with pytest.raises(ObservationError, match="No recorded way"):
        GraphPlanner(apart).plan(np.array([0.0, 0.0]), np.array([6.0, 5.0]))


def test_walks_are_one_way() -> None:
    with pytest.raises(ObservationError, match="No recorded way"):
        GraphPlanner(around(*STITCHED)).plan(np.array([10.0, 4.0]), np.array([0.0, 0.0]))


def test_it_needs_a_goal_and_a_roadmap() -> None:
    statistics = around(*STITCHED)
    with pytest.raises(ConfigError, match="goal"):
        GraphPlanner(statistics).plan(np.zeros(2))
    old = Statistics(statistics.normalizer, statistics.support, statistics.motion)
    with pytest.raises(ConfigError, match="roadmap"):
        GraphPlanner(old).plan(np.zeros(2), np.array([1.0, 0.0]))
    with pytest.raises(ConfigError, match="risk_aversion"):
        GraphPlanner(statistics, risk_aversion=-1)
    with pytest.raises(ConfigError, match="seed"):
        GraphPlanner(statistics).plan(np.zeros(2), np.array([1.0, 0.0]), seed=-1)
    with pytest.raises(ConfigError, match="observation_layout"):
        GraphPlanner(statistics, observation_layout="planar")  # type: ignore[arg-type]


def test_data_in_which_nothing_connects_is_an_error() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 40, (50, 2))
    scattered = statistics_of(
        *(place + np.array([[0.0, 0.0], [0.01, 0.0], [0.02, 0.0]]) for place in places)
    )
    with pytest.raises(DataError, match="goes from none"):
        GraphPlanner(scattered).plan(places[0], places[1])


def test_a_roadmap_of_another_frame_is_an_error() -> None:
    one, other = around(*STITCHED), around([(50, 0), (56, 0)])
    with pytest.raises(ConfigError, match="same data"):
        replace(one, roadmap=other.roadmap)
