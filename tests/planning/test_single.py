"""The planner of Diffusion Forcing, on a network trained in a corridor and on made-up ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.denoise import evaluations
from dfplan.planning.objective import PlanObjective, reward_gradient
from dfplan.planning.observation_history import ObservationHistory
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import Reach, Short
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.state_estimator import estimate_positions
from dfplan.planning.trackers import Pursuit
from dfplan.sampling.guidance import GuidanceSettings
from dfplan.sampling.matrices import MATRICES, full_sequence
from dfplan.sampling.steps import STEPS
from dfplan.tokens.normalizer import Normalizer
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.support import Support
from dfplan.types import DenoisingStep, Plan, Planner

ALONG = [(2.0, 38.0), (36.0, 4.0), (5.0, 25.0), (30.0, 33.0)]
"""Starts and goals along the corridor, whose corner is at 20."""

named = pytest.mark.parametrize("name", sorted(MATRICES))


@pytest.fixture
def planner(planner: ForcingPlanner) -> ForcingPlanner:
    """From pure noise, so that candidates, horizons and evaluations do not depend on the data."""
    return planner.with_settings(route_noise=math.inf)


@pytest.fixture(params=[5.0, math.inf], ids=["way", "noise"])
def either(planner: ForcingPlanner, request: pytest.FixtureRequest) -> ForcingPlanner:
    """From the expected way or from pure noise."""
    return planner.with_settings(route_noise=request.param)


@pytest.fixture
def states(corridor: Any) -> np.ndarray:
    starts = corridor.at(np.array([start for start, _ in ALONG]))
    return np.concatenate([starts, np.zeros((len(ALONG), 2))], 1)


@pytest.fixture
def goals(corridor: Any) -> np.ndarray:
    return np.asarray(corridor.at(np.array([goal for _, goal in ALONG])))


class Counting:
    """A denoiser that records the size of each batch."""

    def __init__(self, planner: ForcingPlanner) -> None:
        self._denoiser = planner.model.denoiser
        self.batches: list[int] = []

    def __call__(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        return self._denoiser(x, level)


def same(first: Plan, second: Plan) -> bool:
    return np.array_equal(first.points, second.points) and np.array_equal(
        first.candidates, second.candidates
    )


def test_plans_follow_the_data_around_the_corner(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    for seed in range(3):
        plan = either.plan(states, goals, seed=seed)
        np.testing.assert_allclose(plan.points[:, 0], states[:, :2], atol=1e-4)
        np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
        assert corridor.away(plan.points).max() < 4.5, "a straight line is up to 14 away"
        distance = either.model.statistics.support.distance(torch.from_numpy(plan.points))
        assert distance.max() < 1.5
    assert isinstance(either, Planner) and isinstance(either.tracker(), Pursuit)


def test_the_body_reaches_the_goal(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    policy = Policy(either, tolerance=6.0, seed=0)
    for _ in range(200):
        assert corridor.away(states[:, :2]).max() < 7
        states = corridor.advance(states, policy.act(states, goals))
    assert np.linalg.norm(states[:, :2] - goals, axis=1).max() < 1


@named
@pytest.mark.parametrize("mc_samples", [1, 3])
@pytest.mark.parametrize("goal", [True, False])
def test_the_fields_of_a_plan(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    name: str,
    mc_samples: int,
    goal: bool,
) -> None:
    small = planner.with_settings(matrix=name, mc_samples=mc_samples, candidates=3, steps=2)
    wanted = goals if goal else None
    reward = None if goal else Reach(torch.tensor([0.0, 50.0]))
    plan = small.plan(states, wanted, reward=reward, seed=0, trace=True)
    layout = small.model.layout
    batch, points = len(states), 1 + (layout.tokens - 1) * layout.frame_stack
    assert plan.points.shape == (batch, points, 2) and plan.points.dtype == np.float32
    assert plan.candidates.shape == (batch, 3, points, 2)
    assert plan.scores.shape == (batch, 3)
    assert plan.level.shape == plan.times.shape == (batch, points)
    assert plan.too_fast.shape == (batch, points - 1) and plan.spread is None
    assert plan.stride == layout.stride and plan.max_level == small.model.schedule.max_level
    assert np.isfinite(plan.points).all() and np.isfinite(plan.scores).all()
    np.testing.assert_array_equal(plan.observation, states.astype(np.float32))
    frame = np.arange(points)
    inside = frame * plan.stride <= plan.steps[:, None]
    assert (plan.level == 0).all(), "after its end a plan repeats its last point"
    assert (plan.steps % layout.token_steps == 0).all()
    for row in range(batch):
        assert (plan.points[row, ~inside[row]] == plan.points[row, inside[row]][-1]).all()
    assert (plan.goal is None) is not goal
    free = layout.tokens - (2 if goal else 1)
    rows = {"full_sequence": 2, "autoregressive": 2 * free, "pyramid": 1 + free}
    assert len(plan.trace) == {**rows, "trapezoid": 2 + (free - 1) // 2}[name]


def test_a_matrix_can_be_a_function(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    by_name = planner.with_settings(matrix="full_sequence").plan(states, goals, seed=0)
    by_function = planner.with_settings(matrix=lambda *args: full_sequence(*args[:3]))
    assert np.array_equal(by_function.plan(states, goals, seed=0).points, by_name.points)
    halfway = planner.with_settings(matrix=lambda *args: full_sequence(*args[:3])[:-1])
    with pytest.raises(ConfigError, match="reach level 0"):
        halfway.plan(states, goals)


@named
def test_levels_of_a_trace_never_increase_and_end_as_in_the_plan(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray, name: str
) -> None:
    for share in (0.5, 1.0):
        small = unguided.with_settings(matrix=name, stop_fraction=share)
        layout = small.model.layout
        plan = small.plan(states, goals, horizon=layout.longest_horizon, seed=0, trace=True)
        levels = np.stack([level for level, _ in plan.trace])
        assert (np.diff(levels, axis=0) <= 0).all()
        np.testing.assert_array_equal(levels[-1], plan.level)
        np.testing.assert_allclose(plan.trace[-1][1], plan.points, atol=1e-5)
        before_goal = plan.level[:, : -layout.frame_stack]
        if name == "trapezoid":
            free = plan.level[:, 1 : -layout.frame_stack]
            assert (free == free[:, ::-1]).all(), "both ends are certain first"
        else:
            assert (np.diff(before_goal, axis=1) >= 0).all(), "the near future is certain first"
        assert (before_goal.max() > 0) == (share < 1)
        assert (plan.level[:, [0, -1]] == 0).all()


def test_a_callback_gets_every_row_and_changes_nothing(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    planner = either.with_settings(matrix="pyramid", largest_batch=3)
    seen: list[DenoisingStep] = []
    observed = planner.plan(states, goals, seed=1, callback=seen.append, trace=True)
    assert [row.row for row in seen] == list(range(1, seen[-1].rows + 1))
    for row, (level, points) in zip(seen, observed.trace, strict=True):
        assert row.points.shape == observed.candidates.shape
        assert ((row.level >= 0) & (row.level <= observed.max_level)).all()
        chosen = (row.points == points[:, None]).all((2, 3)) & (row.level == level[:, None]).all(2)
        assert chosen.any(1).all()  # the chosen candidate is among them
    np.testing.assert_array_equal(seen[-1].points, observed.candidates)
    whole = planner.with_settings(largest_batch=512)
    assert same(whole.plan(states, goals, seed=1), observed)


def test_an_error_in_the_callback_ends_planning(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    rows: list[int] = []

    def leave(row: DenoisingStep) -> None:
        rows.append(row.row)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        planner.plan(states, goals, callback=leave)
    assert rows == [1]


def test_reward_gradient_is_the_gradient_of_the_guidance_reward(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    free = planner.with_settings(smoothness_weight=1.0, support_weight=0.0)
    points = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]])
    # Short is proportional to minus the sum of squared distances of neighbors.
    pull = reward_gradient(points, free.model, free.settings)
    assert pull.shape == points.shape and pull.dtype == np.float32
    assert pull[0, 0, 0] > 0 and abs(pull[0, 0, 1]) < 1e-6
    np.testing.assert_allclose(pull.sum(1), 0, atol=1e-6)
    corner = Reach(np.array([5.0, 5.0]))
    toward = reward_gradient(points, free.model, free.settings, corner) - pull
    assert np.abs(toward[0, :-1]).max() < 1e-6 < toward[0, -1].min()


@pytest.mark.parametrize(
    ("guidance", "mc_samples", "calls"),
    [
        (GuidanceSettings(0.3, method="denoiser"), 1, 5),
        (GuidanceSettings(0.3, method="denoiser"), 3, 15),
        (GuidanceSettings(0.3, 5, mc_sample_steps=4), 3, 5 * 13),
    ],
)
def test_every_kind_of_guidance_follows_the_data(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    corridor: Any,
    guidance: GuidanceSettings,
    mc_samples: int,
    calls: int,
) -> None:
    chosen = planner.with_settings(guidance=guidance, mc_samples=mc_samples, steps=5, candidates=4)
    plan = chosen.plan(states, goals, seed=0)
    assert corridor.away(plan.points).max() < 5
    assert plan.evaluations == 4 * calls


@pytest.mark.parametrize("step", sorted(STEPS))
def test_every_step_follows_the_data(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any, step: str
) -> None:
    plan = either.with_settings(step=step, steps=5).plan(states, goals, seed=0)
    assert corridor.away(plan.points).max() < 5
    again = either.with_settings(step=step, steps=5).plan(states, goals, seed=0)
    assert same(plan, again)


@pytest.mark.parametrize("mc_samples", [1, 3])
def test_a_seed_determines_the_plan(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray, mc_samples: int
) -> None:
    planner = either.with_settings(mc_samples=mc_samples)
    before = torch.get_rng_state()
    first, again, other = (planner.plan(states, goals, seed=seed) for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)
    assert not same(planner.plan(states, goals), planner.plan(states, goals))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mc_samples", [1, 2])
@pytest.mark.parametrize("row", [0, 2])
def test_rows_are_independent(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray, mc_samples: int, row: int
) -> None:
    planner = either.with_settings(mc_samples=mc_samples)
    other_states, other_goals = np.roll(states, 1, 0), np.roll(goals, 1, 0)
    other_states[row], other_goals[row] = states[row], goals[row]
    first = planner.plan(states, goals, seed=0)
    second = planner.plan(other_states, other_goals, seed=0)
    np.testing.assert_array_equal(first.points[row], second.points[row])
    np.testing.assert_array_equal(first.scores[row], second.scores[row])
    assert not np.array_equal(first.points, second.points)


def test_one_query_is_a_batch_of_one(
    either: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    single = either.plan(states[0], goals[0], seed=4)
    assert len(single) == 1
    assert same(single, either.plan(states[:1], goals[:1], seed=4))
    tiled = np.tile(goals[0], (4, 1))
    assert same(either.plan(states, goals[0], seed=4), either.plan(states, tiled, seed=4))


@pytest.mark.parametrize("horizon", [50, 51, np.int64(60), np.uint8(60), np.uint64(130), 130])
def test_horizons_are_rounded_up_to_whole_tokens(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray, horizon: int
) -> None:
    plan = unguided.plan(states, goals, horizon=horizon, seed=0)
    assert (plan.steps == -(-int(horizon) // 10) * 10).all()
    np.testing.assert_allclose(plan.points[:, plan.steps[0] // plan.stride], goals, atol=1e-4)


def test_a_plan_can_be_longer_than_a_window(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    few = planner.with_settings(candidates=2)
    plan = few.plan(states, goals, horizon=260, seed=0)
    assert planner.model.layout.longest_horizon == 130
    assert (plan.steps == 260).all() and plan.points.shape[1] == 1 + 260 // plan.stride
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
    assert corridor.away(plan.points).max() < 4.5
    assert plan.evaluations > few.plan(states, goals, horizon=130, seed=0).evaluations
    for planned, steps in ((plan, 260), (few.plan(states, goals, horizon=50, seed=0), 50)):
        length = 1 + -(-steps // few.model.layout.token_steps)
        count = evaluations(few.settings, few.model, length, known=2)
        assert planned.evaluations == few.settings.candidates * count


def test_a_plan_that_starts_from_the_expected_way_needs_few_evaluations(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    near = planner.with_settings(route_noise=5.0, route_candidates=1, steps=2)
    plan = near.plan(states, goals, seed=0)
    np.testing.assert_allclose(plan.points[:, -1], goals, atol=1e-4)
    assert plan.evaluations == 1 and corridor.away(plan.points).max() < 4.5


@pytest.mark.parametrize("horizon", [0, -5, 40.5, "far", 10**9])
def test_impossible_horizons_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, horizon: Any
) -> None:
    message = f"from 1 to .* environment steps; got.*{horizon}"
    with pytest.raises(ConfigError, match=message):
        planner.plan(states, goals, horizon=horizon)


def test_horizons_too_short_for_the_goal_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    far = int(np.abs(states[:, :2] - goals).max(1).argmax())
    with pytest.raises(
        ConfigError, match=rf"row {far} is .* at least [2-9]0 steps; the horizon is 9"
    ):
        planner.plan(states, goals, horizon=9)
    assert planner.plan(states[:1], states[:1, :2], horizon=1, seed=0).steps == 10


def test_horizons_start_at_the_shortest_that_can_reach_the_goal(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = unguided.with_settings(candidates=30).plan(states, goals, seed=0)
    direct = np.abs(states[:, :2] - goals).max(1) / unguided.model.statistics.motion.max_step
    assert (plan.steps >= direct).all() and (plan.steps <= 130).all()
    assert len(set(plan.steps.tolist())) > 1


def test_the_best_candidate_is_the_plan(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = unguided.plan(states, goals, seed=0)
    best = plan.scores.argmax(1)
    np.testing.assert_array_equal(plan.points, plan.candidates[np.arange(len(best)), best])


def test_the_score_worked_by_hand(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    """Candidates of one token are straight lines: two of them cut the corner, two do not."""
    motion = unguided.model.statistics.motion
    quick = replace(unguided.model.statistics, motion=replace(motion, dt=10 * motion.dt))
    one = replace(unguided, model=replace(unguided.model, statistics=quick))
    one = one.with_settings(candidates=1, support_margin=0.3)
    start, goal = corridor.at(np.array([5.0, 30.0])), corridor.at(np.array([15.0, 26.0]))
    at_rest = np.concatenate([start, np.zeros((2, 2))], 1)
    step = quick.motion.max_step
    plan = one.plan(at_rest, goal, horizon=10, seed=0)
    assert plan.scores[:, 0] == pytest.approx(-np.array([10, 4]) / step, rel=1e-3)
    across = np.concatenate([corridor.at(np.array([5.0])), np.zeros((1, 2))], 1)
    cut = one.plan(across, corridor.at(np.array([35.0])), horizon=10, seed=0)
    penalty = -cut.scores[0, 0] - 15 / step
    # The part of a line that is off the data is measured at four points.
    assert 0.2 < penalty / (15 / step * one.settings.support_penalty) < 0.95
    free = one.with_settings(support_penalty=0.0)
    cheap = free.plan(across, corridor.at(np.array([35.0])), horizon=10, seed=0)
    # What is left is the cost of the margin, at most half a step for each step.
    assert 15 / step < -cheap.scores[0, 0] <= 1.5 * 15 / step


def test_a_reward_is_added_to_the_score(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    def north(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return points[..., 1].sum(-1)

    without = unguided.plan(states, goals, seed=0)
    rewarded = unguided.plan(states, goals, reward=north, seed=0)
    np.testing.assert_array_equal(rewarded.candidates, without.candidates)  # scale 0: unguided
    added = north(torch.from_numpy(rewarded.candidates), torch.zeros(0)).numpy()
    np.testing.assert_allclose(rewarded.scores, without.scores + added, rtol=1e-5)


def test_scale_0_without_refinement_is_unguided(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    plan = unguided.plan(states, goals, seed=0)
    for change in ({"mc_samples": 5}, {"smoothness_weight": 9.0, "support_weight": 7.0}):
        assert same(unguided.with_settings(**change).plan(states, goals, seed=0), plan)


def test_rewards_shape_plans_without_a_goal(planner: ForcingPlanner, corridor: Any) -> None:
    state = np.concatenate([corridor.at(np.array([10.0])), np.zeros((1, 2))], 1)
    ends = {}
    for along in (2.0, 30.0):
        target = corridor.at(np.array(along))
        reward = 5.0 * Reach(torch.from_numpy(target).float())
        plan = planner.plan(state, reward=reward, seed=0)
        assert plan.goal is None
        ends[along] = np.linalg.norm(plan.points[0, -1] - target)
        assert corridor.away(plan.points).max() < 5
    assert max(ends.values()) < 3


def test_guidance_makes_plans_shorter(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    def length(plan: Plan) -> np.ndarray:
        return np.linalg.norm(np.diff(plan.points, axis=1), axis=-1).sum(1)

    unguided = planner.with_settings(guidance=GuidanceSettings(scale=0.0), refine_steps=0)
    guided = length(planner.plan(states, goals, seed=0))
    assert (guided < length(unguided.plan(states, goals, seed=0)) + 1e-3).all()


@named
@pytest.mark.parametrize("mc_samples", [1, 3])
@pytest.mark.parametrize("largest_batch", [1, 20, 1000])
def test_evaluations_are_counted_and_batches_bounded(
    planner: ForcingPlanner,
    states: np.ndarray,
    goals: np.ndarray,
    name: str,
    mc_samples: int,
    largest_batch: int,
) -> None:
    counting = Counting(planner)
    counted = replace(planner, model=replace(planner.model, denoiser=counting)).with_settings(
        matrix=name, mc_samples=mc_samples, candidates=4, steps=2, largest_batch=largest_batch
    )
    plan = counted.plan(states, goals, horizon=40, seed=0)
    assert sum(counting.batches) == plan.evaluations * len(states)
    assert max(counting.batches) <= max(largest_batch, 4 * mc_samples)


def test_goals_beyond_the_longest_plan_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    layout = replace(planner.model.layout, tokens=3)
    unmapped = replace(planner.model.statistics, roadmap=None)
    short = replace(planner, model=replace(planner.model, layout=layout, statistics=unmapped))
    assert short.plan(states[:1], states[:1, :2] + 2.0, seed=0).steps <= 20
    with pytest.raises(ConfigError, match=r"goal.* row 0 .*horizon is 20"):
        short.plan(states, goals)


def test_invalid_arguments_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match="needs a goal, a reward, or both"):
        planner.plan(states)
    with pytest.raises(ObservationError, match=r"observation.*row 1"):
        planner.plan(np.where(np.arange(4)[:, None] == 1, np.nan, states), goals)
    with pytest.raises(ObservationError, match=r"shape \[4\] or .*; got \[3\]"):
        planner.plan(states[0, :3], goals[0])
    with pytest.raises(ObservationError, match="one for each of 4 observations; got 3"):
        planner.plan(states, goals[:3])
    far = goals + np.where(np.arange(4)[:, None] == 2, 30.0, 0.0)
    with pytest.raises(ObservationError, match=r"goal must .*row 2"):
        planner.plan(states, far)
    with pytest.raises(ObservationError, match=r"start.*coordinates"):
        planner.plan(states[:1] * 10, goals[:1])
    fast = states + np.where(np.arange(4)[:, None] == 3, [0.0, 0.0, 0.0, 1e9], 0.0)
    with pytest.raises(ObservationError, match=r"faster than 4\.78.*row 3"):
        planner.plan(fast, goals)


def test_unknown_plans_of_a_batch_are_errors(
    unguided: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match="4 plans; got index 4"):
        unguided.plan(states, goals, seed=0).plot("plan.png", index=4)


@pytest.mark.parametrize("seed", ["x", 1.5, -1, 2**63])
def test_invalid_seeds_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, seed: Any
) -> None:
    with pytest.raises(ConfigError, match=f"got '?{seed}"):
        planner.plan(states, goals, seed=seed)
    with pytest.raises(ConfigError, match=f"got '?{seed}"):
        Policy(planner).reset(seed)


def _three(points: torch.Tensor, steps: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    return (points[:, -1] - goal).sum(-1)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (3, r"function.*got 3"),
        (lambda points: points[:, -1, 0], r"function.*<lambda>"),
        (_three, r"function.*_three"),
        (lambda points, steps: 1.0, r"one finite number.*got float"),
        (2 * (Short() + (lambda points, steps: points[:, 0])), r"reward <lambda> must.*shape \["),
        (lambda points, steps: points[:, -1], r"one finite number.*got shape"),
        (lambda points, steps: points[:, -1, 0].log(), r"not finite"),
        (lambda points, steps: points[:, -1, 0].detach(), r"got no gradient"),
        (lambda points, steps: (points[:, -1, 0] > 3).float(), r"got no gradient"),
        (lambda points, steps: (0 * points[:, 1]).norm(dim=1).sqrt(), r"gradient.*finite"),
    ],
)
def test_rewards_that_cannot_guide_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, reward: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        planner.plan(states, goals, reward=reward, seed=0)


def test_refinement_never_lowers_the_score(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray, corridor: Any
) -> None:
    """With a reward that pulls every point across the corner, off the data."""
    across = torch.from_numpy(corridor.at(np.array([5.0, 35.0])).mean(0)).float()

    def cut(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.05 * (points - across).square().sum((-1, -2))

    rough = planner.with_settings(refine_steps=0).plan(states, goals, reward=cut, seed=0)
    plan = planner.plan(states, goals, reward=cut, seed=0)
    np.testing.assert_array_equal(plan.candidates, rough.candidates)
    before, after = (
        PlanObjective(planner.settings, planner.model, cut)
        .score(torch.from_numpy(made.points))
        .numpy()
        for made in (rough, plan)
    )
    assert (after >= before).all() and (after > before).any()


def test_inference_mode_changes_nothing(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    history = ObservationHistory(states[:, None, :2], np.full((len(states), 1), 3))
    wanted = planner.plan(states, goals, seed=0)
    estimate = estimate_positions(history, planner.model, seed=0)
    known = planner.model.statistics
    unused = replace(known, support=replace(known.support))  # without cached distances
    fresh = replace(planner, model=replace(planner.model, statistics=unused))
    with torch.inference_mode():
        inside = fresh.plan(states, goals, seed=0)
        np.testing.assert_array_equal(estimate_positions(history, fresh.model, seed=0), estimate)
        assert torch.is_inference_mode_enabled()
    np.testing.assert_array_equal(inside.points, wanted.points)
    np.testing.assert_array_equal(fresh.plan(states, goals, seed=0).points, wanted.points)
    assert torch.is_grad_enabled()


def test_more_steps_than_levels_are_errors(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    with pytest.raises(ConfigError, match="from 1 to 20; got 21"):
        planner.with_settings(steps=21).plan(states, goals)


def test_plans_do_not_depend_on_the_unit_of_position(
    planner: ForcingPlanner, states: np.ndarray, goals: np.ndarray
) -> None:
    scale = 64.0  # a power of two, so that no rounding differs
    known = planner.model.statistics
    scaled = Statistics(
        Normalizer(scale * known.normalizer.mean, scale * known.normalizer.std),
        Support(
            scale * known.support.origin, scale * known.support.resolution, known.support.visited
        ),
        replace(
            known.motion,
            gain=scale * known.motion.gain,
            limit=scale * known.motion.limit,
        ),
    )
    plan = planner.plan(states, goals, seed=0)
    other = replace(planner, model=replace(planner.model, statistics=scaled))
    rescaled = other.plan(scale * states, scale * goals, seed=0)
    np.testing.assert_allclose(rescaled.points, scale * plan.points, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(rescaled.scores, plan.scores, rtol=1e-3)
