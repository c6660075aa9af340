"""Models of positions, of transitions and of wide observations go through the same code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.data import segmented
from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.rewards import Reach
from dfplan.planning.route import find_routes, find_ways
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.tokens.layout import token_features
from dfplan.training.checkpoint import Checkpoint, read_tensors
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Plan, Recording, Trajectories

CONTENTS = {
    "positions": ("position",),
    "transitions": ("position", "velocity", "action"),
    "wide": ("position", "observation", "action"),
}
SETTINGS = TrainSettings(steps=15, batch_size=16, learning_rate=5e-3, warmup=3, ema_decay=0.9)


@dataclass(frozen=True)
class Made:
    """A trained model: its data, the folder of its training, and a planner of few candidates."""

    name: str
    data: Trajectories
    folder: Path
    planner: ForcingPlanner

    @property
    def observations(self) -> np.ndarray:
        """Two observations of the data, far enough from the ends of their segments."""
        rows: np.ndarray = self.data.observations[self.data.segments[:2, 0] + 20]
        return rows

    @property
    def goals(self) -> np.ndarray:
        """Positions that the body reached 40 steps later."""
        rows = self.data.observations[self.data.segments[:2, 0] + 60]
        goals: np.ndarray = self.data.layout.positions(rows)
        return goals

    def plan(self, **more: Any) -> Plan:
        return self.planner.plan(self.observations, self.goals, seed=0, **more)


@pytest.fixture(scope="module")
def make(
    trajectories: Trajectories, wide: Recording, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Made]:
    """Trains a model, and loads it."""

    @cache
    def made(name: str) -> Made:
        data = segmented(wide) if name == "wide" else trajectories
        stride = 4 if name == "wide" else 10
        features = token_features(CONTENTS[name], data.layout, data.actions.shape[1], stride)
        recipe = ForcingConfig(
            features,
            data.layout,
            tokens=8,
            stride=stride,
            noise_levels=10,
            width=16,
            layers=1,
            heads=1,
        )
        folder = tmp_path_factory.mktemp(name)
        train(recipe, data, folder, settings=SETTINGS, progress=False)
        loaded = dfplan.load(folder)
        assert isinstance(loaded, ForcingPlanner) and loaded.model.layout == recipe.layout
        loaded = loaded.with_settings(replans=0)
        planner = loaded.with_settings(candidates=4, refine_steps=2, steps=4)
        return Made(name, data, folder, planner)

    return made


@pytest.fixture(scope="module", params=CONTENTS)
def made(request: pytest.FixtureRequest, make: Callable[[str], Made]) -> Made:
    return make(request.param)


@pytest.fixture(scope="module")
def wide_made(make: Callable[[str], Made]) -> Made:
    return make("wide")


def test_a_checkpoint_names_the_content_of_tokens_only_if_it_is_more_than_positions(
    made: Made, tmp_path: Path
) -> None:
    path = made.folder / "checkpoint.safetensors"
    tensors, header = read_tensors(path)
    assert ("tokens" in header) == (made.name != "positions")
    width = made.planner.model.layout.width
    assert tensors["statistics.mean"].shape == tensors["statistics.std"].shape == (width,)
    again = Checkpoint.load(path).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_a_plan_has_the_columns_of_its_tokens(made: Made) -> None:
    plan, layout = made.plan(), made.planner.model.layout
    rows, points = plan.points.shape[:2]
    assert plan.points.shape == (rows, points, 2) and plan.layout == made.data.layout
    if made.name == "positions":
        assert plan.states is plan.velocities is plan.actions is None
        return
    assert plan.states is not None and plan.states.shape == (rows, points, layout.width)
    np.testing.assert_array_equal(plan.states[..., layout.position], plan.points)
    assert (plan.velocities is not None) == layout.has("velocity")
    if plan.velocities is not None:
        velocities = plan.states[..., layout.columns("velocity")]
        np.testing.assert_array_equal(plan.velocities, velocities)
    assert plan.actions is not None
    size = made.data.actions.shape[1]
    assert plan.actions.shape == (rows, (points - 1) * plan.stride, size)
    actions = plan.states[:, 1:, layout.columns("action")]
    np.testing.assert_array_equal(plan.actions, actions.reshape(rows, -1, size))


def test_a_plan_leads_from_the_whole_observation_to_the_goal(made: Made) -> None:
    plan, layout = made.plan(), made.planner.model.layout
    np.testing.assert_allclose(plan.points[:, -1], made.goals, atol=1e-4)
    states = plan.points if plan.states is None else plan.states
    observed = list(layout.observed)
    known = states[:, 0, : len(observed)]
    np.testing.assert_allclose(known, made.observations[:, observed], atol=1e-4)
    np.testing.assert_array_equal(plan.observation, made.observations.astype(np.float32))


def test_states_are_in_the_units_of_the_data(made: Made) -> None:
    """A plan stays among the values of the data, column by column."""
    plan, layout = made.plan(), made.planner.model.layout
    normalizer = made.planner.model.statistics.normalizer
    states = torch.from_numpy(plan.points if plan.states is None else plan.states)
    assert ((states - normalizer.mean).abs() < 8 * normalizer.std).all()
    for feature in layout.features:
        columns, recorded = layout.columns(feature.name), feature.of(made.data)
        mean, std = recorded.mean(0), recorded.std(0)
        if feature.normalize == "none":
            mean, std = np.zeros_like(mean), np.ones_like(std)
        held = np.tile(mean, feature.steps), np.tile(std, feature.steps)
        np.testing.assert_allclose(normalizer.mean[columns], held[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(normalizer.std[columns], held[1], rtol=1e-3)


def test_rewards_receive_the_states_of_the_plan(made: Made) -> None:
    seen: list[torch.Tensor] = []
    layout, goal = made.planner.model.layout, torch.from_numpy(made.goals[0])

    def reward(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        assert states.shape[1:] == (len(steps), layout.width)
        assert steps.tolist() == [layout.stride * point for point in range(len(steps))]
        seen.append(states.detach().clone())
        return -(states[..., layout.position] - goal).square().mean((1, 2))

    for aim in (None, made.goals):
        seen.clear()
        plan = made.planner.plan(made.observations, aim, reward=reward, seed=0)
        states = torch.from_numpy(plan.points if plan.states is None else plan.states)
        for state in states:
            same = [(other == state).all((1, 2)).any() for other in seen]
            assert any(same)


def test_a_reward_of_another_column_changes_the_plan(wide_made: Made) -> None:
    columns = wide_made.planner.model.layout.columns("action")

    def least(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -1e3 * (states[..., columns] - 0.5).square().sum((1, 2))

    def far(plan: Plan) -> float:
        assert plan.actions is not None
        return float(np.square(plan.actions - 0.5).mean())

    assert far(wide_made.plan(reward=least)) < far(wide_made.plan())


def test_search_trace_and_callback_show_positions(made: Made) -> None:
    progress: list[Any] = []
    plan = made.plan(trace=True, callback=progress.append)
    assert len(progress) == len(plan.trace) == progress[-1].row
    for step, (level, points) in zip(progress, plan.trace, strict=True):
        assert step.points.shape == plan.candidates.shape
        assert points.shape == plan.points.shape and level.shape == plan.level.shape
    spread = made.planner.with_settings(replans=1).plan(made.observations, made.goals).spread
    assert spread is not None and np.isfinite(spread).all()

    tree = TreePlanner(made.planner, TreeSettings(evaluations=24))
    found = tree.plan(made.observations, made.goals, seed=0, trace=True, callback=progress.append)
    assert found.tree is not None and found.tree.points.shape[2:] == found.points.shape[1:]
    assert (found.states is None) == (plan.states is None)
    np.testing.assert_allclose(found.points[:, -1], made.goals, atol=1e-4)
    if found.states is not None:
        assert found.states.shape[2] == made.planner.model.layout.width


def test_a_policy_takes_the_whole_observation_and_sends_planned_actions(made: Made) -> None:
    policy = dfplan.Policy(made.planner, dfplan.PlannedActions(), seed=0)
    if made.name == "positions":
        with pytest.raises(ConfigError, match="actions"):
            policy.act(made.observations, made.goals)
        return
    for step in range(2 * made.planner.model.layout.stride):
        action = policy.act(made.observations, made.goals)
        assert action.shape == (2, made.data.actions.shape[1])
        assert policy.plan is not None and policy.plan.actions is not None
        np.testing.assert_array_equal(action, policy.plan.actions[:, step])
    policy.reset(seed=0)
    one = policy.act({"observation": made.observations[0], "desired_goal": made.goals[0]})
    assert one.shape == action.shape[1:]


def test_trackers_find_the_position_where_the_plan_says(wide_made: Made) -> None:
    tracker = dfplan.PlannedActions()
    tracker.assign(np.arange(2), wide_made.plan())
    assert (tracker.deviation(wide_made.observations) < 1e-3).all()
    moved = 100.0 * (np.arange(29) == 0)
    assert (tracker.deviation(wide_made.observations + moved) > 50).all()
    with pytest.raises(ObservationError, match="velocities"):
        pursuit = dfplan.Pursuit(dfplan.planning.trackers.PursuitGains(1.0, 1.0, 1.0), 0.1)
        pursuit.assign(np.arange(2), wide_made.plan())
        pursuit.act(wide_made.observations)


def test_the_default_tracker_is_for_actions_of_two_numbers(made: Made) -> None:
    if made.name == "wide":
        with pytest.raises(ConfigError, match="PlannedActions"):
            dfplan.Policy(made.planner)
    else:
        policy = dfplan.Policy(made.planner, seed=0)
        assert policy.act(made.observations, made.goals).shape == (2, 2)


def test_the_position_alone_is_enough_only_where_tokens_hold_no_more(made: Made) -> None:
    positions = made.data.layout.positions(made.observations)
    policy = dfplan.Policy(made.planner, dfplan.PlannedActions())
    if made.name == "positions":
        assert len(made.planner.plan(positions, made.goals, seed=0)) == 2
        return
    for use in (made.planner.plan, policy.act):
        with pytest.raises(ObservationError, match=rf"\[{made.data.layout.width}\]"):
            use(positions, made.goals)


@pytest.mark.parametrize("columns", [3, 28, 30])
def test_an_observation_of_another_width_is_refused(made: Made, columns: int) -> None:
    observations = np.zeros((2, columns))
    policy = dfplan.Policy(made.planner, dfplan.PlannedActions())
    for use in (made.planner.plan, policy.act):
        with pytest.raises(ObservationError, match="shape"):
            use(observations, made.goals)


def test_a_reward_of_a_column_that_the_plan_lacks_is_an_error(made: Made) -> None:
    layout = made.planner.model.layout
    with pytest.raises(ConfigError, match="features"):
        layout.columns("reward")

    def beyond(states: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return states[..., layout.width].sum(1)

    with pytest.raises(ConfigError, match=f"{layout.width} columns"):
        made.plan(reward=beyond)
    assert len(made.plan(reward=Reach(made.goals[0]))) == 2


def test_noisy_positions_are_estimated_for_any_body(made: Made) -> None:
    settings = dfplan.StateEstimatorSettings(noise=0.1, tokens=2)
    policy = dfplan.Policy(made.planner, dfplan.PlannedActions(), state_estimator=settings, seed=0)
    if made.name == "positions":
        policy = dfplan.Policy(made.planner, state_estimator=settings, seed=0)
    rng, layout = np.random.default_rng(0), made.data.layout
    true = made.observations.copy()
    if layout.velocity is not None:
        true[:, list(layout.velocity)] = 0.0
    position = list(layout.position)
    for step in range(60):
        observed = true.copy()
        observed[:, position] += 0.1 * rng.standard_normal((2, 2))
        observed[rng.random(2) < 0.3] = np.nan
        action = policy.act(observed if step else true, goal=made.goals)
        assert np.isfinite(action).all()
    assert policy.states is not None and policy.states.shape == true.shape
    error = policy.states - true
    assert np.sqrt(np.square(error[:, position]).mean()) < 0.06, "better than an observation"
    others = [c for c in range(layout.width) if c not in (*position, *(layout.velocity or ()))]
    np.testing.assert_array_equal(error[:, others], 0.0)


def test_the_recipe_of_a_checkpoint_is_the_recipe_that_was_trained(made: Made) -> None:
    checkpoint = Checkpoint.load(made.folder / "checkpoint.safetensors")
    recipe = dfplan.training.registry.recipe_of(checkpoint)
    assert isinstance(recipe, ForcingConfig) and recipe.layout == made.planner.model.layout
    other = replace(recipe, stride=recipe.stride + 1)
    assert other.stored_tokens == recipe.stored_tokens == checkpoint.tokens


@pytest.mark.parametrize("steps", [10, 20, 40])
def test_a_plan_of_the_near_future_ends_ahead_on_the_way(made: Made, steps: int) -> None:
    motion, layout = made.planner.model.statistics.motion, made.planner.model.layout
    made.planner.with_settings(ahead=steps, pace=1.0).plan(made.observations, made.goals, seed=0)
    near = made.planner.with_settings(ahead=steps, pace=0.5)
    plan = near.plan(made.observations, made.goals, seed=0)
    assert (plan.steps == layout.token_steps * -(-steps // layout.token_steps)).all()
    np.testing.assert_array_equal(plan.goal, made.goals.astype(np.float32))
    moved = np.abs(plan.points[:, -1] - plan.points[:, 0]).max(1)
    assert (moved <= 0.5 * steps * motion.max_step + 1e-4).all(), "no farther than the pace"
    routes = find_routes(find_ways(made.planner.model.statistics, made.goals), plan.points[:, 0])
    for route, end in zip(routes, plan.points[:, -1], strict=True):
        line = route.at(np.linspace(0, route.duration, 4000))
        assert np.linalg.norm(line - end, axis=1).min() < 0.02, "on the way"


def test_a_plan_of_the_near_future_ends_at_a_goal_that_is_nearer(made: Made) -> None:
    plan = made.planner.with_settings(ahead=70, pace=1.0).plan(
        made.observations, made.observations[:, :2] + 0.05, seed=0
    )
    np.testing.assert_allclose(plan.points[:, -1], made.observations[:, :2] + 0.05, atol=1e-3)


def test_near_futures_need_a_roadmap_or_a_horizon(made: Made) -> None:
    model = made.planner.model
    lost = replace(model, statistics=replace(model.statistics, roadmap=None))
    near = replace(made.planner, model=lost).with_settings(ahead=20)
    with pytest.raises(ConfigError, match="roadmap"):
        near.plan(made.observations, made.goals, seed=0)
    horizon = 3 * model.layout.token_steps
    plan = near.plan(made.observations, made.goals, horizon=horizon, seed=0)
    np.testing.assert_allclose(plan.points[:, -1], made.goals, atol=1e-4)


def test_a_policy_replans_before_the_near_future_is_over(make: Callable[[str], Made]) -> None:
    made = make("transitions")
    near = made.planner.with_settings(ahead=40)
    policy = dfplan.Policy(near, seed=0)
    plans = []
    for _ in range(17):
        action = policy.act(made.observations, goal=made.goals)
        plans.append(policy.plan)
        assert policy.plan is not None and policy.plan.actions is not None
    assert len({id(plan) for plan in plans}) == 3, "every 8 of 40 steps"
    policy.reset(seed=0)
    first = policy.act(made.observations, goal=made.goals)
    np.testing.assert_allclose(first, plans[0].actions[:, 0])
    assert action.shape == (2, 2)
