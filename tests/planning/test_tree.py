"""The tree planner, on a network trained in a corridor and on made-up ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from walks import statistics_of, walk

from dfplan.errors import ConfigError
from dfplan.planning.denoise import evaluations
from dfplan.planning.objective import PlanObjective
from dfplan.planning.rewards import PassThrough, Reach
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.sampling.guidance import GUIDANCES
from dfplan.sampling.matrices import full_sequence
from dfplan.tokens.statistics import Statistics
from dfplan.types import Denoiser, Planner, SearchTree

ROUND = 8 * 3
"""Network evaluations of a round: 8 leaves with 3 sampling steps."""


@pytest.fixture
def states(corridor: Any) -> np.ndarray:
    return np.concatenate([corridor.at(np.array([2.0, 36.0])), np.zeros((2, 2))], 1)


@pytest.fixture
def goals(corridor: Any) -> np.ndarray:
    return np.asarray(corridor.at(np.array([38.0, 5.0])))


def test_plans_keep_start_and_goal(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    tree = TreePlanner(planner, TreeSettings(evaluations=4 * ROUND))
    assert isinstance(tree, Planner)
    plan = tree.plan(states, goals, seed=0)
    np.testing.assert_allclose(plan.points[:, 0], states[:, :2], atol=1e-4)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
    count = plan.candidates.shape[1]
    np.testing.assert_allclose(
        plan.candidates[:, :, -1], goals[:, None].repeat(count, 1), atol=1e-4
    )
    assert (np.diff(plan.scores) <= 0).all()
    assert not plan.level.any()


def test_a_seed_determines_the_plan(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    tree = TreePlanner(planner, TreeSettings(evaluations=2 * ROUND))
    first, second = (tree.plan(states, goals, seed=3) for _ in range(2))
    assert np.array_equal(first.points, second.points)
    assert not np.array_equal(first.points, tree.plan(states, goals, seed=4).points)


def test_a_larger_budget_never_lowers_the_score(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    from_noise = planner.with_settings(route_noise=np.inf)
    best = np.stack(
        [
            TreePlanner(from_noise, TreeSettings(evaluations=rounds * ROUND))
            .plan(states, goals, seed=0)
            .scores.max(1)
            for rounds in (1, 2, 4, 8)
        ]
    )
    assert (np.diff(best, axis=0) >= 0).all()
    assert (best[-1] > best[0]).any()


@pytest.mark.parametrize("mc_samples", [1, 3])
@pytest.mark.parametrize("horizon", [None, 100])
@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid", "autoregressive"])
def test_evaluations_stay_within_the_budget(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    matrix: str,
    mc_samples: int,
    horizon: int | None,
) -> None:
    rows: list[int] = []

    def counting(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        rows.append(len(x))
        return planner.model.denoiser(x, level)

    counted = replace(planner, model=replace(planner.model, denoiser=counting)).with_settings(
        matrix=matrix, mc_samples=mc_samples, largest_batch=10
    )
    model = counted.model
    longest = evaluations(counted.settings, model, model.layout.tokens, known=2)
    budget = 3 * longest
    tree = TreePlanner(counted, TreeSettings(evaluations=budget))
    plan = tree.plan(states, goals, horizon=horizon, seed=0)
    assert sum(rows) == 2 * plan.evaluations
    assert budget - longest < plan.evaluations <= budget


def lucky(right: torch.Tensor) -> Denoiser:
    """Each token is the one of ``right`` [T, D] nearest to it in time, or far off, by its noise."""

    def denoise(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        first = (right - x[:, :1]).square().sum(-1).argmin(1)
        index = (first[:, None] + torch.arange(x.shape[1])).clamp(max=len(right) - 1)
        wrong = (x[..., :1] > 0).float() * 3.0
        return torch.where((level > 0)[..., None], right[index] + wrong, x)

    return denoise


def test_good_segments_are_kept(planner: ForcingPlanner, corridor: Any) -> None:
    # Each of the 11 tokens between the ends is on the path or far from it, depending on its noise,
    # so a whole plan is good once in 2048 times.
    way = torch.from_numpy(corridor.at(np.linspace(2.0, 38.0, 25))).float()
    tokens = planner.model.statistics.normalizer.normalize(way)
    right = planner.model.layout.to_tokens(tokens[None])[0]
    guidance = replace(planner.settings.guidance, scale=0.0)
    model = replace(planner.model, denoiser=lucky(right))
    single = replace(planner, model=model).with_settings(
        steps=1, candidates=64, route_noise=np.inf, refine_steps=0, guidance=guidance
    )
    tree = TreePlanner(single, TreeSettings(evaluations=64))
    start, goal = np.append(corridor.at(np.array(2.0)), [0, 0]), corridor.at(np.array(38.0))
    horizon = single.model.layout.longest_horizon - single.model.layout.token_steps
    objective = PlanObjective(single.settings, single.model)

    def off(planner: Planner) -> float:
        plan = planner.plan(start, goal, horizon=horizon, seed=0)
        assert plan.evaluations == 64
        return float(objective.off_support(torch.from_numpy(plan.points)).sum())

    assert off(single) > 1
    assert off(tree) == 0


def test_a_callback_gets_the_tree_after_each_round(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    seen: list[SearchTree] = []
    from_noise = planner.with_settings(route_noise=np.inf)
    search = TreePlanner(from_noise, TreeSettings(evaluations=4 * ROUND))
    plan = search.plan(states, goals, seed=0, trace=True, callback=seen.append)
    tree = plan.tree
    assert tree is not None and [one.parent.shape[1] for one in seen] == [9, 17, 25, 33]
    for one in seen:  # it is a copy
        count = one.parent.shape[1]
        np.testing.assert_array_equal(one.scores, tree.scores[:, :count])
        np.testing.assert_array_equal(one.parent, tree.parent[:, :count])
    assert (
        not tree.arrived[:, 0].any()
        and (tree.parent[:, 0] == -1).all()
        and np.isneginf(tree.scores[:, 0]).all()
    )
    assert (tree.parent[:, 1:] < np.arange(1, 33)).all() and (tree.parent[:, 1:] >= 0).all()
    assert (tree.visits[:, 0] == 32).all() and (tree.visits[:, 1:] >= 1).all()
    assert np.isin(plan.scores, tree.scores).all()
    assert search.plan(states, goals, seed=0).tree is None


def test_a_segment_continues_the_plan_of_its_parent(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    layout = planner.model.layout
    search = TreePlanner(planner.with_settings(route_noise=np.inf))
    tree = search.plan(states, goals, seed=0, trace=True).tree
    assert tree is not None
    for parent, points, begins, ends in zip(
        tree.parent, tree.points, tree.begins, tree.ends, strict=True
    ):
        for node in range(1, len(parent)):
            assert begins[node] <= ends[parent[node]]
            before = slice(begins[node] + 1)
            np.testing.assert_array_equal(points[node][before], points[parent[node]][before])
            length = ends[node] - begins[node]
            assert 0 <= length <= (layout.tokens - 1) * layout.frame_stack
    assert len(np.unique(tree.ends - tree.begins)) > 4


def on_ring(planner: ForcingPlanner, statistics: Statistics, **settings: Any) -> ForcingPlanner:
    """A planner whose network keeps what it gets, on other data."""

    def keep(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return x

    guidance = replace(planner.settings.guidance, scale=0.0)
    model = replace(planner.model, denoiser=keep, statistics=statistics)
    return replace(planner, model=model).with_settings(
        guidance=guidance, refine_steps=0, route_noise=0.1, steps=1, **settings
    )


def test_a_search_without_an_arrival_goes_on_along_the_way(planner: ForcingPlanner) -> None:
    far = walk((0, 0), (0, 4), (60, 4), (60, 60))
    single = on_ring(planner, statistics_of(far, far + 0.05))
    start, goal = far[0], far[-1]
    settings = TreeSettings(evaluations=1, leaves=1)
    plan = TreePlanner(single, settings).plan(start, goal, seed=0, trace=True)
    assert plan.tree is not None and plan.tree.ends[0, 1] < plan.steps[0] / plan.stride
    np.testing.assert_allclose(plan.points[0, -1], goal, atol=0.1)
    longer = TreePlanner(single, TreeSettings(evaluations=200)).plan(start, goal, seed=0)
    assert longer.steps[0] >= 0.9 * len(far)
    np.testing.assert_allclose(longer.points[0, -1], goal, atol=0.1)


@pytest.mark.filterwarnings("ignore::dfplan.data.segments.DataWarning")
def test_the_value_of_a_node_is_the_expected_time_over_chance(planner: ForcingPlanner) -> None:
    walks = [walk((0, 0), (0, 5), (10, 5), (10, 0))] * 3
    for y in np.linspace(-0.6, 0.6, 9):
        first = walk((0, y), (5, y))
        walks += [np.concatenate([first, walk((30, 0), (31, 0))])] * 5
        walks += [walk((0, y), (10, y))] * 10
    start, goal = np.array([0.0, 0.0]), np.array([10.0, 0.0])
    for aversion, goes_round in ((0.0, False), (50.0, True)):
        single = on_ring(planner, statistics_of(*walks), risk_aversion=aversion, support_margin=0.5)
        plan = TreePlanner(single).plan(start, goal, seed=0)
        assert (plan.points[0, :, 1].max() > 4) == goes_round
        assert plan.arrival is not None and (plan.arrival[0] > 0.99 or not goes_round)
        if goes_round:  # also with time to spare
            long = TreePlanner(single).plan(start, goal, horizon=600, seed=0)
            assert long.arrival is not None and long.arrival[0] > 0.99


def test_the_plan_is_the_node_with_the_best_score(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    raw = planner.with_settings(refine_steps=0)
    together = TreePlanner(raw).plan(states, goals, seed=0, trace=True)
    assert together.tree is not None
    scores = together.tree.scores
    assert (together.scores.max(1) == scores.max(1)).all()
    for row, best in enumerate(scores.argmax(1)):
        length = together.points.shape[1]
        np.testing.assert_array_equal(
            together.points[row], together.tree.points[row, best][:length]
        )


def test_places_are_passed_in_order(planner: ForcingPlanner) -> None:
    there = walk((0, 0), (0, 4), (10, 4), (10, 0))
    single = on_ring(planner, statistics_of(there, there[::-1], there + 0.05, there[::-1] + 0.05))
    places = np.array([[10.0, 3.0], [0.0, 3.0]])
    reward = PassThrough(torch.tensor(places))
    start, goal = np.array([0.0, 0.0]), np.array([10.0, 0.0])
    plan = TreePlanner(single).plan(start, goal, reward=100.0 * reward, seed=0)
    points = torch.from_numpy(plan.points)
    assert reward(points, torch.arange(points.shape[1])) > -0.5
    np.testing.assert_allclose(plan.points[0, -1], goal, atol=0.1)


@pytest.mark.parametrize("horizon", [100, 160])
def test_a_horizon_is_the_length_of_the_plan(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, horizon: int
) -> None:
    plan = TreePlanner(planner).plan(states, goals, horizon=horizon, seed=0)
    assert (plan.steps == horizon).all()


def test_without_a_roadmap_segments_are_whole_plans(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    statistics = replace(planner.model.statistics, roadmap=None)
    single = replace(planner, model=replace(planner.model, statistics=statistics))
    plan = TreePlanner(single).plan(states, goals, seed=0, trace=True)
    assert plan.tree is not None
    np.testing.assert_allclose(plan.tree.points[:, 1:, -1], goals[:, None].repeat(64, 1), atol=1e-4)


def test_time_ends_the_search_after_a_round(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    settings = TreeSettings(evaluations=100 * ROUND, milliseconds=1e-3)
    assert TreePlanner(planner, settings).plan(states, goals, seed=0).evaluations == ROUND


def test_time_alone_can_be_the_budget(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    by_time = TreePlanner(planner, TreeSettings(evaluations=None, milliseconds=300.0))
    made = by_time.plan(states, goals, seed=0)
    by_calls = TreePlanner(planner, TreeSettings(evaluations=made.evaluations))
    assert np.array_equal(by_calls.plan(states, goals, seed=0).points, made.points)


def test_a_tree_can_plan_by_reward_alone(
    planner: ForcingPlanner, states: np.ndarray, corridor: Any
) -> None:
    there = corridor.at(np.array(20.0))
    tree = TreePlanner(planner, TreeSettings(evaluations=4 * ROUND))
    reward = 20.0 * Reach(torch.from_numpy(there).float())
    plan = tree.plan(states, reward=reward, horizon=120, seed=0)
    assert np.linalg.norm(plan.points[:, -1] - there, axis=1).max() < 3
    np.testing.assert_allclose(plan.points[:, 0], states[:, :2], atol=1e-4)


def test_a_budget_too_small_for_one_node_is_an_error(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match=r"at least 3 network.*got 2"):
        TreePlanner(planner, TreeSettings(evaluations=2)).plan(states, goals)


@pytest.mark.parametrize(
    "wrong",
    [
        {"leaves": 0},
        {"lengths": ()},
        {"lengths": 0.5},
        {"lengths": (0.5, 0.0)},
        {"lengths": (1.5,)},
        {"leaves": 2.5},
        {"evaluations": 3.5},
        {"evaluations": 0},
        {"milliseconds": float("nan")},
        {"milliseconds": 0.0},
        {"milliseconds": -5},
        {"evaluations": None},
    ],
)
def test_invalid_settings_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TreeSettings(**wrong)


def test_planners_that_cannot_be_searched_are_errors(planner: ForcingPlanner) -> None:
    with pytest.raises(ConfigError, match="stop_fraction=1"):
        TreePlanner(planner.with_settings(matrix="pyramid", stop_fraction=0.5))
    with pytest.raises(ConfigError, match="a ForcingPlanner"):
        TreePlanner(TreePlanner(planner))  # type: ignore[arg-type]


def test_a_matrix_that_costs_most_for_few_tokens_stays_within_the_budget(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    def matrix(tokens: int, max_level: int, steps: int, scale: float) -> torch.Tensor:
        return full_sequence(tokens, max_level, 2 if tokens > 5 else 20)

    tree = TreePlanner(planner.with_settings(matrix=matrix), TreeSettings(evaluations=100))
    assert 0 < tree.plan(states, goals, seed=0).evaluations <= 100
    with pytest.raises(ConfigError, match="at least 20 network"):
        replace(tree, settings=TreeSettings(evaluations=19)).plan(states, goals)


def test_a_guidance_that_calls_the_network_more_often_stays_within_the_budget(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twice(denoiser: Denoiser, *arguments: Any, **named: Any) -> Denoiser:
        def denoise(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            denoiser(x, level)
            return denoiser(x, level)

        return denoise

    monkeypatch.setitem(GUIDANCES, "twice", twice)
    guidance = replace(planner.settings.guidance, method="twice")
    single = planner.with_settings(guidance=guidance)
    once, double = (each.plan(states, goals, seed=0).evaluations for each in (planner, single))
    assert double == 2 * once
    for budget in (50, 100):
        tree = TreePlanner(single, TreeSettings(evaluations=budget))
        assert 0 < tree.plan(states, goals, seed=0).evaluations <= budget
