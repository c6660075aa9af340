"""What a token and an observation hold: features, their columns, and the position among them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.observations import PLANAR, ObservationLayout, observation_layout
from dfplan.tokens.layout import POSITION, Feature, TokenLayout, token_features
from dfplan.training.recipes.forcing import ForcingConfig

ARM = ObservationLayout(7, (4, 5), (0, 2))
"""An observation of 7 numbers, neither its position nor its velocity in front."""

NAMES = [
    ("position",),
    ("position", "velocity"),
    ("position", "observation"),
    ("action", "position"),
    ("reward", "action", "observation", "velocity", "position"),
]


def layout(names: tuple[str, ...], **more: int) -> TokenLayout:
    features = token_features(names, ARM, 3, more.get("stride", 10))
    return TokenLayout(4, **more, features=features, observation=ARM)


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("stack", [1, 3])
def test_features_share_the_columns_of_a_frame(names: tuple[str, ...], stack: int) -> None:
    made = layout(names, frame_stack=stack)
    held = [made.columns(feature.name) for feature in made.features]
    columns = [column for part in held for column in range(made.width)[part]]
    assert columns == list(range(made.width)) and made.token_width == stack * made.width
    assert made.columns("position") == slice(0, 2)
    assert {feature.name for feature in made.features} == set(names)
    assert all(made.has(name) for name in names) and not made.has("force")
    with pytest.raises(ConfigError, match="force"):
        made.columns("force")


def test_the_rest_of_an_observation_is_what_no_other_feature_holds() -> None:
    assert layout(("position", "observation")).observed == (4, 5, 0, 1, 2, 3, 6)
    assert layout(("position", "velocity", "observation")).observed == (4, 5, 0, 2, 1, 3, 6)


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("stack", [1, 3])
def test_tokens_and_frames_of_any_features_are_inverse(names: tuple[str, ...], stack: int) -> None:
    made = layout(names, frame_stack=stack)
    frames = torch.arange(2.0 * (1 + 3 * stack) * made.width).view(2, -1, made.width)
    tokens = made.to_tokens(frames)
    assert tokens.shape == (2, 4, made.token_width)
    assert torch.equal(made.to_frames(tokens), frames)


@pytest.mark.parametrize("names", NAMES)
def test_what_is_unknown_of_a_frame_is_0(names: tuple[str, ...]) -> None:
    made = layout(names, frame_stack=3)
    goal = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    frames = made.goal_token(goal).view(2, 3, made.width)
    assert torch.equal(frames[..., :2], goal[:, None].expand(-1, 3, -1))
    assert not frames[..., 2:].any()
    observed = torch.ones(2, 5, len(made.observed))
    known = made.known_frames(observed)
    assert torch.equal(known[..., : len(made.observed)], observed)
    assert known.shape == (2, 5, made.width) and not known[..., len(made.observed) :].any()


def test_only_layouts_of_more_than_positions_are_stored() -> None:
    assert TokenLayout(4).to_json() is None
    for names in NAMES:
        stored = layout(names).to_json()
        assert stored is not None and json.loads(json.dumps(stored)) == stored


SPEED = Feature("velocity", (2, 3))
PUSH = Feature("action", (0, 1), "actions")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((), "first feature"),
        ((SPEED, POSITION), "first feature"),
        ((POSITION, POSITION), "twice"),
        ((POSITION, Feature("other", (1, 2))), "twice"),
        ((POSITION, PUSH, SPEED), "order"),
        ((POSITION, Feature("far", (4,))), "columns"),
    ],
)
def test_features_that_form_no_frame_are_errors(
    features: tuple[Feature, ...], message: str
) -> None:
    TokenLayout(4, features=(POSITION, SPEED, PUSH))
    with pytest.raises(ConfigError, match=message):
        TokenLayout(4, features=features)


@pytest.mark.parametrize("wrong", [None, 3, "position", ("position",), POSITION])
def test_what_is_no_tuple_of_features_is_an_error(wrong: Any) -> None:
    for make in (ForcingConfig, partial(TokenLayout, 4)):
        with pytest.raises(ConfigError, match="features"):
            make(features=wrong)
        with pytest.raises(ConfigError, match="observation"):
            make(observation=wrong)
        assert make(features=[POSITION]) == make()  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [(-1,), (0, -2), (), (0.5,), (1, 1), None, 3])
def test_columns_that_no_array_has_are_no_feature(columns: Any) -> None:
    with pytest.raises(ConfigError, match="'part'") as error:
        Feature("part", columns)
    assert "65536" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "observation", "message"),
    [
        (("position", "speed"), PLANAR, "speed"),
        (("velocity",), PLANAR, "position"),
        (("position", "action", "action"), PLANAR, "once"),
        (("position", "velocity"), ObservationLayout(3, (0, 1)), "velocity"),
        (("position", "velocity", "observation"), PLANAR, "observation"),
    ],
)
def test_features_that_the_data_lacks_are_errors(
    names: tuple[str, ...], observation: ObservationLayout, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        token_features(names, observation, actions=2, stride=1)


def test_positions_and_velocities_are_the_columns_that_the_layout_names() -> None:
    row = np.arange(7.0)
    for observations in (row, np.tile(row, (3, 2, 1))):
        assert (ARM.positions(observations) == [4, 5]).all()
        velocities = ARM.velocities(observations)
        assert velocities is not None and (velocities == [0, 2]).all()
    alone = np.zeros((3, 2))
    assert ARM.positions(alone) is alone and ARM.velocities(alone) is None
    assert len(set(ARM.names)) == ARM.width and ARM.names[5] == "position 2"


def test_the_position_is_known_only_of_observations_of_2_or_4_numbers() -> None:
    assert observation_layout(2, None, "data") == PLANAR
    assert observation_layout(4, None, "data") == observation_layout(4, (0, 1), "data") == PLANAR
    assert observation_layout(7, (4, 5), "data") == ObservationLayout(7, (4, 5))
    assert observation_layout(4, (2, 3), "data").velocity is None
    with pytest.raises(ConfigError, match="7 numbers"):
        observation_layout(7, None, "data")


@pytest.mark.parametrize("wrong", [(0,), (0, 1, 2), (0, 0), (0, 7), (-1, 0), (0.0, 1.0), "01", 3])
def test_columns_that_are_no_position_are_errors(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="position"):
        ObservationLayout(7, wrong)
    with pytest.raises(ConfigError, match="different"):
        ObservationLayout(7, (0, 1), (1, 2))
