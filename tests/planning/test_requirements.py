"""Ways that pass places in order and keep out of regions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from walks import STEP, statistics_of, walk

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.requirements import asks_for_times, requirements_of
from dfplan.planning.rewards import Box, Disc, Fast, KeepOut, PassThrough, Short, SlowIn
from dfplan.planning.route import find_routes, find_ways
from dfplan.planning.single import ForcingPlanner
from dfplan.tokens.statistics import Statistics

# Two ways from the start to the goal, and a dead end.
UPPER = [(0, 0), (0, 4), (10, 4), (10, 0)]
LOWER = [(0, 0), (0, -3), (10, -3), (10, 0)]
DEAD_END = [(0, 4), (0, 8)]
START, GOAL = np.array([0.0, 0.0]), np.array([10.0, 0.0])


def ring() -> Statistics:
    lines = [UPPER, UPPER[::-1], LOWER, LOWER[::-1], DEAD_END, DEAD_END[::-1]]
    return statistics_of(*[walk(*line) + off for line in lines for off in (-0.05, 0.0, 0.05)])


class Door:
    """A wall that is there for 50 of each 100 steps."""

    def signed_distance(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return torch.where(steps % 100 < 50, points[..., 0] - 5, 9.0)


def way(reward: object) -> np.ndarray:
    (required,) = requirements_of(reward)  # type: ignore[arg-type]
    return find_routes(find_ways(ring(), GOAL[None], requirements=required), START[None])[0].points


def passes(line: np.ndarray, place: np.ndarray, reach: float) -> int | None:
    """The first place of a dense line within ``reach`` of ``place``; None if there is none."""
    near = np.flatnonzero(np.linalg.norm(line - place, axis=1) < reach)
    return int(near[0]) if len(near) else None


def dense(points: np.ndarray) -> np.ndarray:
    share = np.linspace(0, 1, 200)[:, None, None]
    return np.asarray((points[:-1] + share * np.diff(points, axis=0)).swapaxes(0, 1).reshape(-1, 2))


def test_a_way_passes_the_places_in_order() -> None:
    places = np.array([[10.0, 3.0], [0.0, 7.0]])
    line = dense(way(100.0 * PassThrough(torch.tensor(places)) + Short()))
    first, second = (passes(line, place, 0.3) for place in places)
    assert first is not None and second is not None and first < second
    np.testing.assert_allclose(line[[0, -1]], [START, GOAL], atol=0.1)


def test_a_way_keeps_out_of_closed_regions() -> None:
    shortest = dense(find_routes(find_ways(ring(), GOAL[None]), START[None])[0].points)
    assert shortest[:, 1].min() < -2
    line = dense(way(KeepOut([Disc((5.0, -3.0), 0.5)])))
    assert line[:, 1].max() > 3.5 and passes(line, np.array([5.0, -3.0]), 0.5) is None


def test_the_time_of_a_way_is_the_sum_of_its_parts() -> None:
    place = np.array([0.0, 7.0])
    (required,) = requirements_of(PassThrough(torch.tensor(place[None])))
    (whole,) = find_routes(find_ways(ring(), GOAL[None], requirements=required), START[None])
    parts = [
        find_routes(find_ways(ring(), end[None]), begin[None])[0]
        for begin, end in ((START, place), (place, GOAL))
    ]
    assert whole.duration == pytest.approx(sum(part.duration for part in parts))
    assert (np.diff(whole.steps) >= 0).all() and len(whole.steps) == len(whole.points)


@pytest.mark.parametrize(
    "reward",
    [
        None,
        Short(),
        lambda states, steps: states.sum((1, 2)),
        -1.0 * PassThrough(torch.zeros(1, 2)),
        KeepOut([Disc((5.0, 0.0), 1.0, velocity=(0.01, 0.0))]),
        KeepOut([Door()]),
    ],
)
def test_other_rewards_require_nothing(reward: object) -> None:
    assert requirements_of(reward) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reward", "asks"),
    [
        (None, False),
        (PassThrough(torch.zeros(1, 2)) + 2.0 * Short() + Fast((1.0, 0.0)), False),
        (KeepOut([Disc((5.0, 0.0), 1.0)]), False),
        (KeepOut([Disc((5.0, 0.0), 1.0, velocity=(0.01, 0.0))]), True),
        (Short() + KeepOut([Door()]), True),
        (SlowIn(Disc((5.0, 0.0), 1.0), 0.1), True),
        (lambda states, steps: states.sum((1, 2)), True),
    ],
)
def test_a_reward_asks_for_times_if_it_depends_on_them(reward: Any, asks: bool) -> None:
    assert asks_for_times(None, reward) is asks
    assert asks_for_times(40, reward), "the caller says how long"


def test_a_region_that_closes_all_ways_is_an_error_for_a_way() -> None:
    upper, lower = Disc((5.0, 4.0), 0.5), Box((4.0, -4.0), (6.0, -2.0))
    with pytest.raises(ObservationError, match="No recorded way"):
        way(KeepOut([upper, lower]))


def test_a_plan_starts_from_the_way_that_its_reward_requires(unguided: ForcingPlanner) -> None:
    model = replace(unguided.model, statistics=ring())
    planner = replace(unguided, model=model).with_settings(route_noise=STEP)
    place = np.array([0.0, 7.0])
    reward = PassThrough(torch.tensor(place[None]))
    plan = planner.plan(START, GOAL, reward=1000.0 * reward, seed=0)
    straight = planner.plan(START, GOAL, seed=0)
    assert plan.steps[0] > straight.steps[0]
    assert passes(dense(plan.points[0]), place, 1.0) is not None
    # What is worth no detour gets none.
    assert planner.plan(START, GOAL, reward=1e-6 * reward, seed=0).steps == straight.steps


def test_terms_without_an_order_are_passed_in_the_shorter_one(unguided: ForcingPlanner) -> None:
    model = replace(unguided.model, statistics=ring())
    planner = replace(unguided, model=model).with_settings(route_noise=STEP)
    near, far = np.array([0.0, 7.0]), np.array([10.0, 3.0])
    first, second = (1000.0 * PassThrough(torch.tensor(place[None])) for place in (near, far))
    for reward in (first + second, second + first):
        line = dense(planner.plan(START, GOAL, reward=reward, seed=0).points[0])
        at, then = passes(line, near, 1.0), passes(line, far, 1.0)
        assert at is not None and then is not None and at < then


def test_a_row_whose_goal_is_closed_off_leaves_the_others_their_ways(
    unguided: ForcingPlanner,
) -> None:
    model = replace(unguided.model, statistics=ring())
    planner = replace(unguided, model=model).with_settings(route_noise=STEP)
    reward = 1000.0 * KeepOut([Disc((5.0, -3.0), 0.5), Disc((0.0, 6.0), 0.5)])
    starts, goals = np.stack([START, START]), np.stack([GOAL, (0.0, 8.0)])
    alone = planner.plan(START, GOAL, reward=reward, seed=0).points[0]
    among = planner.plan(starts, goals, reward=reward, seed=0).points[0]
    for line in (alone, among):
        assert dense(line)[:, 1].max() > 3.5 and dense(line)[:, 1].min() > -2.5


def test_a_region_thinner_than_a_bin_closes_a_way() -> None:
    roadmap = ring().roadmap
    assert roadmap is not None
    for low in 5.0 + np.linspace(0.0, 1.0, 7) * roadmap.size:
        line = way(KeepOut([Box((low, -4.0), (low + roadmap.size / 4, -2.0))]))
        assert dense(line)[:, 1].min() > -2


def test_a_horizon_too_short_for_the_places_is_an_error(unguided: ForcingPlanner) -> None:
    planner = replace(unguided, model=replace(unguided.model, statistics=ring()))
    reward = PassThrough(torch.tensor([[0.0, 7.0]]))
    with pytest.raises(ConfigError, match="way"):
        planner.plan(START, GOAL, reward=reward, horizon=120, seed=0)
