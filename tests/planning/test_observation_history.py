"""Plans from a noisy history, with a trained network and with optimal denoisers."""

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
from dfplan.planning.state_estimator import estimate_positions
from dfplan.sampling.model import SequenceModel
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


def observed_history(states: np.ndarray, tokens: int, level: int) -> ObservationHistory:
    """A history that reaches ``states`` at a constant speed along q1."""
    frames = 1 + (tokens - 1) * 2
    ago = np.arange(frames - 1, -1, -1)[:, None] * np.array([0.0, 0.5])
    return ObservationHistory(states[:, None, :2] - ago, np.full((len(states), frames), level))


def same(first: Plan, second: Plan) -> bool:
    return np.array_equal(first.points, second.points) and np.array_equal(
        first.candidates, second.candidates
    )


@pytest.mark.parametrize("mc_samples", [1, 2])
def test_an_exact_history_of_one_position_equals_no_history(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, mc_samples: int
) -> None:
    planner = planner.with_settings(mc_samples=mc_samples)
    without = planner.plan(states, goals, seed=0, trace=True)
    elsewhere = states + np.array([3.0, 1.0, 0.0, 0.0])
    filled = planner.plan(
        elsewhere, goals, seed=0, trace=True, history=observed_history(states, 1, 0)
    )
    assert same(filled, without)
    np.testing.assert_array_equal(filled.observation, without.observation)
    np.testing.assert_array_equal(filled.trace[0][1], without.trace[0][1])


@pytest.mark.parametrize("tokens", [2, 3])
def test_missing_positions_may_have_any_value(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, tokens: int
) -> None:
    history = observed_history(states, tokens, 4)
    history.level[1, 1:], history.level[2, :-1] = K, K
    plans = []
    for value in (0.0, 1e6, np.nan, -np.inf):
        positions = np.where(history.level[..., None] == K, value, history.observed)
        plans.append(
            planner.plan(
                states, goals, seed=0, history=ObservationHistory(positions, history.level)
            )
        )
    assert all(same(plan, plans[0]) for plan in plans[1:])
    assert np.isfinite(plans[0].points).all()


@pytest.mark.parametrize("row", [0, 2])
def test_rows_are_independent(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, row: int
) -> None:
    planner = planner.with_settings(route_noise=np.inf)  # lengths do not depend on the batch
    history = observed_history(states, 3, 4)
    history.level[0, :3] = K
    others = ObservationHistory(np.roll(history.observed, 1, 0), np.roll(history.level, 1, 0))
    others.observed[row], others.level[row] = history.observed[row], history.level[row]
    first = planner.plan(states, goals, seed=0, history=history)
    second = planner.plan(states, goals, seed=0, history=others)
    assert first.history is not None and second.history is not None
    np.testing.assert_allclose(first.history[row], second.history[row], atol=1e-5)
    np.testing.assert_allclose(first.points[row], second.points[row], atol=1e-3)
    assert np.abs(first.history - second.history).max() > 1


def test_a_plan_starts_at_the_estimate_which_guidance_does_not_move(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    smooth = planner.with_settings(smoothness_weight=50.0)
    history = observed_history(states, 3, 3)
    for chosen in (planner, smooth):
        plan = chosen.plan(states, goals, seed=0, history=history)
        assert plan.history is not None and plan.history.shape == history.observed.shape
        estimate = estimate_positions(history, planner.model, seed=0)
        np.testing.assert_array_equal(plan.history, estimate)
        np.testing.assert_allclose(plan.points[:, 0], plan.history[:, -1], atol=1e-4)
        np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
        np.testing.assert_array_equal(plan.observation[:, :2], plan.history[:, -1])
        assert np.linalg.norm(plan.history - history.observed, axis=-1).max() > 0.01
    assert corridor.away(planner.plan(states, goals, seed=0, history=history).points).max() < 5


@pytest.mark.parametrize("tokens", [1, 2, 5, 13])
def test_history_and_plan_share_the_window(
    unguided: ForcingPlanner, states: np.ndarray, tokens: int
) -> None:
    near = states[:, :2] + 0.5
    history = observed_history(states, tokens, 0)
    limit = unguided.model.layout.longest_horizon - 10 * (tokens - 1)
    plan = unguided.plan(states, near, horizon=limit, seed=0, history=history)
    assert (plan.steps == limit).all() and plan.points.shape[1] == 1 + limit // plan.stride
    assert plan.level.shape == plan.points.shape[:2]
    longer = unguided.plan(states, near, horizon=limit + 10, seed=0, history=history)
    assert (longer.steps == limit + 10).all()


def test_a_history_that_fills_the_window_is_an_error(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    for tokens in (14, 20):
        message = f"14 tokens.*history of {tokens}.*at most 13"
        with pytest.raises(ConfigError, match=message):
            planner.plan(states, goals, history=observed_history(states, tokens, 0))
        with pytest.raises(ConfigError, match=message):
            estimate_positions(observed_history(states, tokens, 0), planner.model)


@pytest.mark.parametrize(
    ("positions", "level", "message"),
    [
        (np.zeros((3, 4, 2)), np.zeros((3, 4), int), r"1 \+ \(n - 1\) \* 2, 2\].*\[3, 4, 2\]"),
        (np.zeros((2, 3, 2)), np.zeros((2, 3), int), r"positions \[3, .*\[2, 3, 2\]"),
        (np.zeros((3, 3, 2)), np.zeros((3, 2), int), r"\[3, 3, 2\] and \[3, 2\]"),
        (np.zeros((3, 3)), np.zeros((3, 3), int), "needs positions"),
        (np.zeros((3, 3, 2)), np.zeros((3, 3)), "whole numbers from 0.* to 20"),
        (np.zeros((3, 3, 2)), np.full((3, 3), 21), "from 21 to 21"),
        (np.zeros((3, 3, 2)), np.full((3, 3), -1), "from -1 to -1"),
        (np.full((3, 3, 2), np.nan), np.full((3, 3), 19), "position 0.* level 19"),
    ],
)
def test_invalid_histories_are_errors(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    positions: np.ndarray,
    level: np.ndarray,
    message: str,
) -> None:
    with pytest.raises(ObservationError, match=message):
        planner.plan(states, goals, history=ObservationHistory(positions, level))


def test_a_history_without_any_position_is_an_error(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    history = observed_history(states, 3, 4)
    history.level[1] = K
    for call in (
        lambda history: estimate_positions(history, planner.model),
        lambda history: planner.plan(states, goals, history=history),
    ):
        with pytest.raises(ObservationError, match="row 1 are missing"):
            call(history)
    history.level[1, 0] = K - 1
    assert np.isfinite(estimate_positions(history, planner.model, seed=0)).all()


@pytest.mark.parametrize("noise", [-1.0, np.nan])
def test_invalid_noise_has_no_level(planner: ForcingPlanner, noise: float) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        noise_to_level(np.array([0.1, noise]), planner.model)


@pytest.mark.parametrize("wrong", [(np.zeros((3, 3, 2)), np.zeros((3, 3), int)), 0.2])
def test_other_types_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, wrong: Any
) -> None:
    with pytest.raises(
        ObservationError,
        match="must be a dfplan",
    ):
        planner.plan(states, goals, history=wrong)
    text: Any = [[["a", "b"]]]
    with pytest.raises(ObservationError, match="numeric"):
        estimate_positions(ObservationHistory(text, np.zeros((1, 1), int)), planner.model)


@pytest.mark.parametrize("level", [0, 3])
def test_evaluations_are_counted(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, level: int
) -> None:
    sequences = []

    def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        sequences.append(len(x))
        return planner.model.denoiser(x, level)

    history = observed_history(states, 3, level)
    counting = replace(planner, model=replace(planner.model, denoiser=counted))
    plan = counting.plan(states, goals, seed=0, history=history)
    assert plan.evaluations * len(states) == sum(sequences)


def test_only_an_exact_start_must_be_near_the_data(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    history = observed_history(states, 1, 3)
    history.observed[1, 0] += 14.0
    assert np.isfinite(planner.plan(states, goals, seed=0, history=history).points).all()
    history.level[1] = 0
    with pytest.raises(ObservationError, match=r"start.*row 1"):
        planner.plan(states, goals, seed=0, history=history)


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("schedule", ["interpolation", "cosine"])
def test_the_estimate_is_the_conditional_mean_on_gaussian_data(
    planner: ForcingPlanner, stack: int, schedule: str
) -> None:
    """A random walk with steps of 0.5 from N(0, 1): the conditional mean is a linear map."""
    levels, tokens, window = noise_schedule(schedule, 4000), 4, 6
    frames = 1 + (window - 1) * stack
    layout = replace(planner.model.layout, tokens=window, frame_stack=stack)
    time = torch.arange(frames)
    walk = 1 + 0.25 * torch.minimum(time[:, None], time).double()
    repeat = torch.zeros(window * stack, frames, dtype=torch.double)
    repeat[torch.arange(window * stack), (torch.arange(window * stack) - stack + 1).clamp(0)] = 1.0
    spread = repeat @ walk @ repeat.T

    def optimal(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        rows = []
        for row, levels_of_row in zip(x.double(), level, strict=True):
            alpha = levels.alpha[levels_of_row].double().repeat_interleave(stack)
            sigma = levels.sigma[levels_of_row].double().repeat_interleave(stack)
            seen = alpha[:, None] * spread * alpha + sigma.square().diag()
            gain = (spread * alpha) @ torch.linalg.inv(seen)
            rows.append((gain @ row.reshape(-1, 2)).reshape(window, -1))
        return torch.stack(rows).float()

    statistics = replace(
        planner.model.statistics,
        normalizer=Normalizer(torch.tensor([2.0, -1.0]), torch.tensor([3.0, 3.0])),
    )
    model = SequenceModel(optimal, layout, levels, statistics)
    frames = 1 + (tokens - 1) * stack
    walk = walk[:frames, :frames]
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 2.0, (5, tokens))
    noise[0, 1] = noise[3, 3] = np.inf
    noise = noise[:, (np.arange(frames) + stack - 1) // stack]
    seen = rng.normal(size=(5, frames, 2)) * 2
    history = ObservationHistory(3 * seen + np.array([2.0, -1.0]), noise_to_level(3 * noise, model))
    got = (estimate_positions(history, model, seed=0) - np.array([2.0, -1.0])) / 3
    for row in range(5):
        known = np.isfinite(noise[row])
        inside = walk.numpy()[np.ix_(known, known)] + np.diag(noise[row, known] ** 2)
        wanted = walk.numpy()[:, known] @ np.linalg.solve(inside, seen[row, known])
        np.testing.assert_allclose(got[row], wanted, atol=5e-3)


def test_noise_to_level_uses_the_axis_with_more_noise(planner: ForcingPlanner) -> None:
    levels = interpolation_schedule(100)
    statistics = replace(
        planner.model.statistics, normalizer=Normalizer(torch.zeros(2), torch.tensor([4.0, 2.0]))
    )
    noise = np.array([0.0, 2.0, 6.0, 0.2, np.inf])
    model = replace(planner.model, statistics=statistics, schedule=levels)
    assert noise_to_level(noise, model).tolist() == [0, 50, 75, 10, 100]


def test_a_missing_position_is_replaced_by_another_of_its_token(
    planner: ForcingPlanner,
) -> None:
    positions = np.arange(14.0).reshape(1, 7, 2)
    level = np.array([[K, K, 3, 0, K, K, K]])
    filled = fill_missing(ObservationHistory(positions, level), planner.model)
    assert filled.observed[0, 1:5, 0].tolist() == [4, 4, 6, 6]
    std = float(planner.model.statistics.normalizer.std.min())
    reach = 5 * 0.26  # half of 5 steps at 0.52
    ratio = np.hypot([3 / 17, 0.0], reach / std)
    assert filled.level[0].tolist() == [
        K,
        int(np.ceil(K * ratio[0] / (1 + ratio[0]))),
        3,
        0,
        int(np.ceil(K * ratio[1] / (1 + ratio[1]))),
        K,
        K,
    ]
