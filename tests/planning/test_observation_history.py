"""Plans from a noisy past, on a network trained in a corridor and on optimal ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.diffusion.schedules import interpolation_schedule, noise_schedule
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.observation_history import ObservationHistory, fill_missing, noise_to_level
from dfplan.planning.single import ForcingPlanner
from dfplan.tokens.normalizer import Normalizer
from dfplan.types import Plan

K = 20
"""Levels of the corridor's network."""


@pytest.fixture
def states(corridor: Any) -> np.ndarray:
    starts = corridor.at(np.array([6.0, 36.0, 18.0]))
    return np.concatenate([starts, np.zeros((3, 2))], 1)


@pytest.fixture
def goals(corridor: Any) -> np.ndarray:
    return np.asarray(corridor.at(np.array([30.0, 10.0, 33.0])))


def seen_past(states: np.ndarray, tokens: int, level: int) -> ObservationHistory:
    """That comes to ``states`` at a constant speed along q1."""
    frames = 1 + (tokens - 1) * 2
    ago = np.arange(frames - 1, -1, -1)[:, None] * np.array([0.0, 0.5])
    return ObservationHistory(states[:, None, :2] - ago, np.full((len(states), frames), level))


def same(first: Plan, second: Plan) -> bool:
    return np.array_equal(first.points, second.points) and np.array_equal(
        first.candidates, second.candidates
    )


@pytest.mark.parametrize("mc_samples", [1, 2])
def test_an_exact_past_of_one_position_is_no_past_bit_for_bit(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, mc_samples: int
) -> None:
    planner = replace(planner, settings=replace(planner.settings, mc_samples=mc_samples))
    without = planner.plan(states, goals, seed=0, trace=True)
    elsewhere = states + np.array([3.0, 1.0, 0.0, 0.0])
    told = planner.plan(elsewhere, goals, seed=0, trace=True, history=seen_past(states, 1, 0))
    assert same(told, without)
    np.testing.assert_array_equal(told.observation, without.observation)
    np.testing.assert_array_equal(told.trace[0][1], without.trace[0][1])


@pytest.mark.parametrize("tokens", [2, 3])
def test_what_is_lost_may_have_any_value(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, tokens: int
) -> None:
    past = seen_past(states, tokens, 4)
    past.level[1, 1:], past.level[2, :-1] = K, K
    plans = []
    for value in (0.0, 1e6, np.nan, -np.inf):
        positions = np.where(past.level[..., None] == K, value, past.positions)
        plans.append(
            planner.plan(states, goals, seed=0, history=ObservationHistory(positions, past.level))
        )
    assert all(same(plan, plans[0]) for plan in plans[1:])
    assert np.isfinite(plans[0].points).all()


@pytest.mark.parametrize("row", [0, 2])
def test_rows_are_independent(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, row: int
) -> None:
    past = seen_past(states, 3, 4)
    past.level[0, :3] = K
    others = ObservationHistory(np.roll(past.positions, 1, 0), np.roll(past.level, 1, 0))
    others.positions[row], others.level[row] = past.positions[row], past.level[row]
    first = planner.plan(states, goals, seed=0, history=past)
    second = planner.plan(states, goals, seed=0, history=others)
    assert first.history is not None and second.history is not None
    np.testing.assert_allclose(first.history[row], second.history[row], atol=1e-5)
    np.testing.assert_allclose(first.points[row], second.points[row], atol=1e-3)
    assert np.abs(first.history - second.history).max() > 1


def test_a_plan_goes_on_from_the_estimate_which_nothing_pulls(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    taut = replace(planner, settings=replace(planner.settings, smoothness_weight=50.0))
    past = seen_past(states, 3, 3)
    for chosen in (planner, taut):
        plan = chosen.plan(states, goals, seed=0, history=past)
        assert plan.history is not None and plan.history.shape == past.positions.shape
        np.testing.assert_array_equal(plan.history, planner.estimate(past, seed=0))
        np.testing.assert_allclose(plan.points[:, 0], plan.history[:, -1], atol=1e-4)
        np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
        np.testing.assert_array_equal(plan.observation[:, :2], plan.history[:, -1])
        assert np.linalg.norm(plan.history - past.positions, axis=-1).max() > 0.01
    assert corridor.away(planner.plan(states, goals, seed=0, history=past).points).max() < 5


@pytest.mark.parametrize("tokens", [1, 2, 5, 13])
def test_the_horizon_counts_from_the_present_and_the_window_holds_both(
    unguided: ForcingPlanner, states: np.ndarray, tokens: int
) -> None:
    near = states[:, :2] + 0.5
    past = seen_past(states, tokens, 0)
    limit = unguided.longest_horizon - 10 * (tokens - 1)
    plan = unguided.plan(states, near, horizon=limit, seed=0, history=past)
    assert (plan.steps == limit).all() and plan.points.shape[1] == 1 + limit // plan.stride
    assert plan.level.shape == plan.points.shape[:2]
    with pytest.raises(ConfigError, match=f"1 to {limit} environment steps"):
        unguided.plan(states, near, horizon=limit + 1, history=past)


def test_more_context_than_the_window_is_refused(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    for tokens in (14, 20):
        message = f"More context than the window.*14 tokens.*past of {tokens}.*at most 13"
        with pytest.raises(ConfigError, match=message):
            planner.plan(states, goals, history=seen_past(states, tokens, 0))
        with pytest.raises(ConfigError, match=message):
            planner.estimate(seen_past(states, tokens, 0))


@pytest.mark.parametrize(
    ("positions", "level", "message"),
    [
        (np.zeros((3, 4, 2)), np.zeros((3, 4), int), r"1 \+ \(n - 1\) \* 2, 2\].*\[3, 4, 2\]"),
        (np.zeros((2, 3, 2)), np.zeros((2, 3), int), r"positions \[3, .*\[2, 3, 2\]"),
        (np.zeros((3, 3, 2)), np.zeros((3, 2), int), r"\[3, 3, 2\] and \[3, 2\]"),
        (np.zeros((3, 3)), np.zeros((3, 3), int), "needs positions"),
        (np.zeros((3, 3, 2)), np.zeros((3, 3)), "whole numbers from 0, exact, to 20, lost"),
        (np.zeros((3, 3, 2)), np.full((3, 3), 21), "from 21 to 21"),
        (np.zeros((3, 3, 2)), np.full((3, 3), -1), "from -1 to -1"),
        (np.full((3, 3, 2), np.nan), np.full((3, 3), 19), "position 0 of row 0 is .* level 19"),
    ],
)
def test_what_is_no_past_is_refused(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    positions: np.ndarray,
    level: np.ndarray,
    message: str,
) -> None:
    with pytest.raises(ObservationError, match=message):
        planner.plan(states, goals, history=ObservationHistory(positions, level))


def test_where_nothing_is_known_of_a_body_there_is_no_plan(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    past = seen_past(states, 3, 4)
    past.level[1] = K
    for ask in (planner.estimate, lambda past: planner.plan(states, goals, history=past)):
        with pytest.raises(ObservationError, match="Of row 1 every position is lost"):
            ask(past)
    past.level[1, 0] = K - 1
    assert np.isfinite(planner.estimate(past, seed=0)).all()


@pytest.mark.parametrize("noise", [-1.0, np.nan])
def test_a_noise_that_is_none_has_no_level(planner: ForcingPlanner, noise: float) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        noise_to_level(np.array([0.1, noise]), planner.statistics, planner.schedule)


@pytest.mark.parametrize("wrong", [(np.zeros((3, 3, 2)), np.zeros((3, 3), int)), 0.2])
def test_what_is_not_even_a_past_is_refused(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, wrong: Any
) -> None:
    with pytest.raises(
        ObservationError,
        match=r"A past is a dfplan.planning.observation_history.ObservationHistory .*; got ",
    ):
        planner.plan(states, goals, history=wrong)
    with pytest.raises(ObservationError, match="in numbers"):
        planner.estimate(ObservationHistory([[["a", "b"]]], np.zeros((1, 1), int)))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 3])
def test_every_sequence_through_the_network_is_counted(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, level: int
) -> None:
    sequences = []

    def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        sequences.append(len(x))
        return planner.denoiser(x, level)

    past = seen_past(states, 3, level)
    plan = replace(planner, denoiser=counted).plan(states, goals, seed=0, history=past)
    assert plan.evaluations * len(states) == sum(sequences)


def test_a_start_off_the_data_is_refused_only_where_it_is_exact(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    past = seen_past(states, 1, 3)
    past.positions[1, 0] += 14.0
    assert np.isfinite(planner.plan(states, goals, seed=0, history=past).points).all()
    past.level[1] = 0
    with pytest.raises(ObservationError, match=r"start must lie where.*row 1"):
        planner.plan(states, goals, seed=0, history=past)


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("schedule", ["interpolation", "cosine"])
def test_the_estimate_is_the_conditional_mean_on_gaussian_data(
    planner: ForcingPlanner, stack: int, schedule: str
) -> None:
    """A walk with steps of 0.5, from N(0, 1): the mean given all observations is a linear map."""
    levels, tokens, window = noise_schedule(schedule, 4000), 4, 6
    frames = 1 + (window - 1) * stack
    layout = replace(planner.layout, tokens=window, frame_stack=stack)
    time = torch.arange(frames)
    walk = 1 + 0.25 * torch.minimum(time[:, None], time).double()
    repeat = torch.zeros(window * stack, frames, dtype=torch.double)
    repeat[torch.arange(window * stack), (torch.arange(window * stack) - stack + 1).clamp(0)] = 1.0
    spread = repeat @ walk @ repeat.T

    def optimal(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        rows = []
        for row, own in zip(x.double(), level, strict=True):
            alpha = levels.alpha[own].double().repeat_interleave(stack)
            sigma = levels.sigma[own].double().repeat_interleave(stack)
            seen = alpha[:, None] * spread * alpha + sigma.square().diag()
            gain = (spread * alpha) @ torch.linalg.inv(seen)
            rows.append((gain @ row.reshape(-1, 2)).reshape(window, -1))
        return torch.stack(rows).float()

    statistics = replace(
        planner.statistics,
        normalizer=Normalizer(torch.tensor([2.0, -1.0]), torch.tensor([3.0, 3.0])),
    )
    gaussian = replace(
        planner, denoiser=optimal, layout=layout, schedule=levels, statistics=statistics
    )
    frames = 1 + (tokens - 1) * stack
    walk = walk[:frames, :frames]
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 2.0, (5, tokens))
    noise[0, 1] = noise[3, 3] = np.inf
    noise = noise[:, (np.arange(frames) + stack - 1) // stack]
    seen = rng.normal(size=(5, frames, 2)) * 2
    past = ObservationHistory(
        3 * seen + np.array([2.0, -1.0]), noise_to_level(3 * noise, statistics, levels)
    )
    got = (gaussian.estimate(past, seed=0) - np.array([2.0, -1.0])) / 3
    for row in range(5):
        known = np.isfinite(noise[row])
        inside = walk.numpy()[np.ix_(known, known)] + np.diag(noise[row, known] ** 2)
        wanted = walk.numpy()[:, known] @ np.linalg.solve(inside, seen[row, known])
        np.testing.assert_allclose(got[row], wanted, atol=5e-3)


def test_trust_counts_the_axis_in_which_noise_weighs_more(planner: ForcingPlanner) -> None:
    levels = interpolation_schedule(100)
    statistics = replace(
        planner.statistics, normalizer=Normalizer(torch.zeros(2), torch.tensor([4.0, 2.0]))
    )
    noise = np.array([0.0, 2.0, 6.0, 0.2, np.inf])
    assert noise_to_level(noise, statistics, levels).tolist() == [0, 50, 75, 10, 100]


def test_a_lost_position_is_stood_in_for_by_the_other_of_its_token(
    planner: ForcingPlanner,
) -> None:
    positions = np.arange(14.0).reshape(1, 7, 2)
    level = np.array([[K, K, 3, 0, K, K, K]])
    told = fill_missing(
        ObservationHistory(positions, level), planner.layout, planner.statistics, planner.schedule
    )
    assert told.positions[0, 1:5, 0].tolist() == [4, 4, 6, 6]
    std, reach = float(planner.statistics.normalizer.std.min()), 5 * 0.26  # half of 5 steps at 0.52
    ratio = np.hypot([3 / 17, 0.0], reach / std)
    assert told.level[0].tolist() == [
        K,
        int(np.ceil(K * ratio[0] / (1 + ratio[0]))),
        3,
        0,
        int(np.ceil(K * ratio[1] / (1 + ratio[1]))),
        K,
        K,
    ]
