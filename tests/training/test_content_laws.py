"""Laws of tokens of any content: order of columns, units, and what is known of start and goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.diffusion.schedules import cosine_schedule
from dfplan.errors import ConfigError, DataError
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.partial_plan import partial_plan, read_plan_query
from dfplan.planning.planner import PlanArguments
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.single import ForcingPlanner
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.layout import Feature, TokenLayout, token_features, tokens_from_json
from dfplan.tokens.statistics import fit_statistics
from dfplan.tokens.windows import TokenWindows
from dfplan.training.loop import train
from dfplan.training.recipes.forcing import ForcingConfig, hide_unknown
from dfplan.training.settings import TrainSettings
from dfplan.types import Plan, Recording, Trajectories

ALL = ("position", "observation", "action", "reward")
SCHEDULE = cosine_schedule(10)


def with_rewards(recording: Recording) -> Recording:
    """The same recording with a reward of each step, which depends on the position."""
    return replace(recording, rewards=recording.observations[:, 0].astype(np.float64) ** 2)


def moved_columns(recording: Recording) -> Recording:
    """The same recording, whose position is in columns 3 and 4."""
    order = [2, 3, 4, 0, 1, *range(5, 29)]
    layout = ObservationLayout(29, (3, 4))
    return replace(recording, observations=recording.observations[:, order], layout=layout)


def recipe_for(data: Trajectories, names: Sequence[str]) -> ForcingConfig:
    return ForcingConfig(
        token_features(names, data.layout, data.actions.shape[1], stride=4),
        data.layout,
        tokens=6,
        stride=4,
        noise_levels=10,
        width=8,
        layers=1,
        heads=1,
    )


def plan_after_training(recording: Recording, names: Sequence[str], folder: Path) -> Plan:
    """A plan of a model that was trained for two steps, from row 20 of the data to row 50."""
    data = segmented(recording)
    settings = TrainSettings(steps=2, batch_size=8, warmup=1)
    train(recipe_for(data, names), data, folder, settings=settings, progress=False)
    planner = dfplan.load(folder)
    assert isinstance(planner, ForcingPlanner)
    quick = planner.with_settings(candidates=3, refine_steps=2, steps=3)
    goal = data.layout.positions(data.observations[50])
    return quick.plan(data.observations[20], goal, seed=0)


@pytest.mark.parametrize("names", [("position",), ALL])
def test_columns_may_be_anywhere_if_they_are_named(
    wide: Recording, names: tuple[str, ...], tmp_path: Path
) -> None:
    recording = with_rewards(wide)
    front = plan_after_training(recording, names, tmp_path / "front")
    moved = plan_after_training(moved_columns(recording), names, tmp_path / "moved")
    np.testing.assert_array_equal(moved.points, front.points)
    np.testing.assert_array_equal(moved.scores, front.scores)
    if front.states is not None:
        np.testing.assert_array_equal(moved.states, front.states)
        np.testing.assert_array_equal(moved.actions, front.actions)


def test_units_of_further_columns_do_not_change_plans(wide: Recording, tmp_path: Path) -> None:
    observations = wide.observations.copy()
    observations[:, 7] = 50 + 1000 * observations[:, 7]
    other = replace(wide, observations=observations)
    for names in (("position",), ("position", "observation")):
        folder = tmp_path / str(len(names))
        plan, changed = (
            plan_after_training(recording, names, folder / str(number))
            for number, recording in enumerate((wide, other))
        )
        exact = names == ("position",)
        np.testing.assert_allclose(changed.points, plan.points, atol=0 if exact else 1e-3)
        if plan.states is not None and changed.states is not None:
            np.testing.assert_allclose(changed.states[..., :7], plan.states[..., :7], atol=1e-2)
            expected = 50 + 1000 * plan.states[..., 7]
            np.testing.assert_allclose(changed.states[..., 7], expected, atol=10)


def test_the_order_in_which_features_are_named_does_not_matter() -> None:
    layout = ObservationLayout(7, (4, 5), (0, 2))
    names = ("position", "velocity", "observation", "action", "reward")
    made = {token_features(order, layout, actions=3, stride=2) for order in permutations(names)}
    assert len(made) == 1


@pytest.mark.parametrize("stack", [1, 2, 3])
@pytest.mark.parametrize("names", [("position",), ("position", "action"), ALL])
def test_windows_survive_tokens_normalization_and_json(
    wide: Recording, names: tuple[str, ...], stack: int
) -> None:
    data = segmented(with_rewards(wide))
    layout = replace(recipe_for(data, names), frame_stack=stack).layout
    stored = layout.to_json()
    again = TokenLayout(layout.tokens, stack, layout.stride, **tokens_from_json(stored))
    assert replace(again, observation=layout.observation) == layout

    statistics = fit_statistics(data, layout.features)
    frames, horizon = TokenWindows(data, layout).draw(8, torch.Generator().manual_seed(0))
    tokens = layout.to_tokens(statistics.normalizer.normalize(frames))
    model = SequenceModel(lambda x, level: x, layout, SCHEDULE, statistics)
    torch.testing.assert_close(model.states(tokens, horizon), frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "names", [("position",), ("position", "velocity", "action"), ("position", "observation"), ALL]
)
def test_what_training_shows_of_start_and_goal_is_what_planning_knows(
    wide: Recording, trajectories: Trajectories, names: tuple[str, ...]
) -> None:
    data = trajectories if "velocity" in names else segmented(with_rewards(wide))
    layout = recipe_for(data, names).layout
    statistics = fit_statistics(data, layout.features)
    frames, horizon = TokenWindows(data, layout).draw(8, torch.Generator().manual_seed(0))
    known = torch.ones(8, dtype=torch.bool)
    trained = layout.to_tokens(statistics.normalizer.normalize(frames))
    hide_unknown(trained, horizon, known, layout)

    observations = np.zeros((8, layout.observation.width), np.float32)
    observations[:, list(layout.observed)] = frames[:, 0, : len(layout.observed)]
    goals = frames[torch.arange(8), horizon * layout.frame_stack][:, layout.position].numpy()
    model = SequenceModel(lambda x, level: x, layout, SCHEDULE, statistics)
    query = read_plan_query(PlanArguments(observations, goals), model, PlannerSettings())
    planned = partial_plan(query, model, horizon[:, None], torch.Generator()).x
    row = torch.arange(8)
    assert torch.equal(planned[:, 0], trained[:, 0])
    assert torch.equal(planned[row, horizon], trained[row, horizon])


def test_actions_and_rewards_of_a_frame_led_to_it(wide: Recording) -> None:
    data = segmented(with_rewards(wide))
    layout = recipe_for(data, ALL).layout
    frames, _ = TokenWindows(data, layout).draw(8, torch.Generator().manual_seed(0))
    for window in frames.numpy():
        for frame in window[1:]:
            (row,) = np.flatnonzero(
                (data.observations[:, list(layout.observed)] == frame[: len(layout.observed)]).all(
                    1
                )
            )[:1]
            actions = frame[layout.columns("action")].reshape(layout.stride, -1)
            led_here = data.actions[row - layout.stride : row]
            np.testing.assert_array_equal(actions, led_here)
            assert data.rewards is not None
            reward = np.float32(data.rewards[row - 1])
            assert frame[layout.columns("reward")] == reward


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((Feature("reward", (0,), "rewards"),), "recorded"),
        ((Feature("action", (7, 8), "actions"),), "8 columns"),
    ],
)
def test_features_that_the_data_lacks_are_errors(
    wide: Recording, features: tuple[Feature, ...], message: str, tmp_path: Path
) -> None:
    data = segmented(wide)
    base = recipe_for(data, ("position",))
    recipe = replace(base, features=(*base.features, *features))
    with pytest.raises(DataError, match=message):
        train(recipe, data, tmp_path, settings=TrainSettings(steps=1), progress=False)


@pytest.mark.parametrize("layout", [PLANAR, ObservationLayout(29, (3, 4))])
def test_tokens_of_other_columns_than_those_of_the_data_are_errors(
    wide: Recording, layout: ObservationLayout, tmp_path: Path
) -> None:
    recipe = ForcingConfig((Feature("position", layout.position),), layout, width=8, layers=1)
    with pytest.raises(DataError, match="columns"):
        train(recipe, segmented(wide), tmp_path, settings=TrainSettings(steps=1), progress=False)


@pytest.mark.parametrize("wrong", [(0,), (0, 1, 2), (0, 29), (-1, 0), (1, 1), "01", (0.0, 1.0)])
def test_a_position_must_be_two_columns_of_the_data(wide: Recording, wrong: Any) -> None:
    with pytest.raises(ConfigError, match="position"):
        from_arrays(wide.observations, wide.actions, position=wrong)
