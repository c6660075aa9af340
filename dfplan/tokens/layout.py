"""What a token holds: frames of named features, some of which are the position.

A frame holds the features of one environment step: the position, and any other columns of the
observation, action or reward. A token holds ``frame_stack`` frames that are ``stride`` environment
steps apart. Token 0 holds the window's first frame ``frame_stack`` times. Token i > 0 holds the
frames ``(i - 1) * frame_stack + 1`` to ``i * frame_stack``, where frame f is ``f * stride`` steps
after the first. The start of a plan is therefore one clean token. A known goal is one clean token
too: its position, repeated.

Actions and rewards are those of the step that led to the frame's observation. They are unknown for
the present and for a goal, where their normalized value is 0, in training as in planning; so are
all features of a goal other than the position.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from dfplan.errors import ConfigError, DataError, require_class, require_name, require_numbers
from dfplan.observations import PLANAR, ObservationLayout, require_columns, select_columns
from dfplan.record import Record
from dfplan.types import Trajectories

MAX_LENGTH = 65_536
"""Largest number of tokens in a window, of frames in a token, and of steps between frames. A limit
is needed because no tensor of a checkpoint has these sizes: a typing error would show only when
memory runs out."""

SOURCES = ("observations", "actions", "rewards")
"""The recorded arrays that features are taken from, in the order of their columns in a frame."""

NORMALIZATIONS = ("standardize", "none")
"""How a feature is scaled: to mean 0 and variance 1, or not at all."""


@dataclass(frozen=True)
class Feature(Record):
    """Columns of a recorded array that tokens hold.

    Attributes:
        name: such as ``position`` or ``action``.
        columns: which columns of the array.
        source: the array, one of :data:`SOURCES`.
        normalize: one of :data:`NORMALIZATIONS`.
        steps: a frame holds the feature of the last so many environment steps, the first one first.
    """

    name: str
    columns: tuple[int, ...]
    source: str = "observations"
    normalize: str = "standardize"
    steps: int = 1

    def __post_init__(self) -> None:
        require_name("source of a feature", self.source, SOURCES)
        require_name("normalization", self.normalize, NORMALIZATIONS)
        columns = require_columns(f"feature {self.name!r}", self.columns, MAX_LENGTH)
        object.__setattr__(self, "columns", columns)
        require_numbers(vars(self), "steps", integer=True, minimum=1, maximum=MAX_LENGTH)

    @property
    def width(self) -> int:
        """The number of columns of a frame that hold the feature."""
        return len(self.columns) * self.steps

    def of(self, trajectories: Trajectories) -> np.ndarray:
        """The feature's columns of all rows of its array, [N, C].

        Raises:
            DataError: the data has no such array, or the array fewer columns.
        """
        array = getattr(trajectories, self.source)
        width = 0 if array is None else 1 if array.ndim == 1 else array.shape[1]
        if width <= max(self.columns):
            raise DataError(
                f"{trajectories.source}: the feature {self.name!r} needs columns "
                f"{list(self.columns)} of the {self.source}, which have {width or 'not been'} "
                f"{'columns' if width else 'recorded'}. Use data that has them, or leave the "
                "feature out."
            )
        return select_columns(array.reshape(len(array), -1), self.columns)


POSITION = Feature("position", (0, 1))


@dataclass(frozen=True)
class TokenLayout(Record):
    """How frames form tokens, and what a frame holds.

    Attributes:
        tokens: T, length of the longest window, including its first token.
        frame_stack: frames in a token.
        stride: environment steps between two frames.
        features: features of a frame, in the order of their columns: the position first, then other
            columns of observations, then of actions, then of rewards.
        observation: the layout of the observations that features are taken from.

    Raises:
        ConfigError: features or an observation of another type, a feature or a column twice,
            another order, no position, or a column that the observation does not have.
    """

    tokens: int
    frame_stack: int = 2
    stride: int = 10
    features: tuple[Feature, ...] = (POSITION,)
    observation: ObservationLayout = PLANAR

    def __post_init__(self) -> None:
        require_numbers(vars(self), "tokens", integer=True, minimum=2, maximum=MAX_LENGTH)
        require_numbers(
            vars(self), "frame_stack", "stride", integer=True, minimum=1, maximum=MAX_LENGTH
        )
        require_class(ObservationLayout, observation=self.observation)
        features = self.features
        if not isinstance(features, tuple | list) or not all(
            isinstance(feature, Feature) for feature in features
        ):
            raise ConfigError(
                "features must be a tuple of dfplan.Feature, as dfplan.token_features returns; got "
                f"{features!r:.200}."
            )
        object.__setattr__(self, "features", tuple(features))
        if not features or features[0] != Feature("position", self.observation.position):
            raise ConfigError(
                "The first feature of a token must be the position, columns "
                f"{list(self.observation.position)} of the observation; got {features[:1]}."
            )
        columns = [f"{each.source} {column}" for each in features for column in each.columns]
        names = [feature.name for feature in features]
        for what, items in (("feature", names), ("column", columns)):
            for item in items:
                if items.count(item) > 1:
                    raise ConfigError(f"A token holds each {what} once; got {item} twice.")
        order = [SOURCES.index(feature.source) for feature in features]
        if order != sorted(order):
            raise ConfigError(f"Features must be in the order {', '.join(SOURCES)}; got {names}.")
        for feature in features:
            if feature.source == "observations":
                require_columns(
                    f"feature {feature.name!r}", feature.columns, self.observation.width
                )

    @property
    def width(self) -> int:
        """W, the number of columns of a frame."""
        return sum(feature.width for feature in self.features)

    @property
    def observed(self) -> tuple[int, ...]:
        """The columns of the observation that the first columns of a frame hold."""
        return tuple(
            column
            for feature in self.features
            if feature.source == "observations"
            for column in feature.columns
        )

    @property
    def position(self) -> slice:
        """The columns of a frame that hold the position."""
        return slice(0, len(self.observation.position))

    @property
    def holds_positions_alone(self) -> bool:
        """Whether the position is the only feature."""
        return len(self.features) == 1

    @property
    def token_width(self) -> int:
        """D, the number of columns of a token."""
        return self.width * self.frame_stack

    @property
    def token_steps(self) -> int:
        """Environment steps that a token spans."""
        return self.frame_stack * self.stride

    @property
    def longest_horizon(self) -> int:
        """Environment steps of the longest plan."""
        return (self.tokens - 1) * self.token_steps

    def columns(self, name: str) -> slice:
        """The columns of a frame, and of the states that a reward receives, that hold a feature.

        Raises:
            ConfigError: tokens do not hold this feature.
        """
        first = 0
        for feature in self.features:
            if feature.name == name:
                return slice(first, first + feature.width)
            first += feature.width
        held = ", ".join(feature.name for feature in self.features)
        raise ConfigError(
            f"A plan of this model has no {name!r}; it has {held}. If the data has it, train a "
            "model whose tokens hold it: dfplan train FILE --features "
            f"{held.replace(' ', '')},{name}"
        )

    def has(self, name: str) -> bool:
        """Whether tokens hold the feature ``name``."""
        return any(feature.name == name for feature in self.features)

    def to_tokens(self, frames: torch.Tensor) -> torch.Tensor:
        """Convert frames [B, 1 + (T-1) * frame_stack, W] to tokens [B, T, D]."""
        first = frames[:, :1].repeat(1, self.frame_stack, 1)
        return torch.cat([first, frames[:, 1:]], 1).reshape(len(frames), -1, self.token_width)

    def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`."""
        frames = tokens.reshape(len(tokens), -1, self.width)
        return frames[:, self.frame_stack - 1 :]

    def known_frames(self, observed: torch.Tensor) -> torch.Tensor:
        """Frames [..., W] from normalized observed columns [..., O]; the other columns are 0.

        Args:
            observed: the first O columns of frames.
        """
        missing = self.width - observed.shape[-1]
        if not missing:
            return observed
        return torch.cat([observed, observed.new_zeros(*observed.shape[:-1], missing)], -1)

    def goal_token(self, position: torch.Tensor) -> torch.Tensor:
        """Clean tokens [B, D] of normalized goals [B, 2]."""
        return self.known_frames(position).repeat(1, self.frame_stack)

    def to_json(self) -> dict[str, Any] | None:
        """What a checkpoint stores about the content of tokens; None for positions alone."""
        if self.features == (POSITION,) and self.observation == PLANAR:
            return None
        content = {
            "observation": asdict(self.observation),
            "features": [asdict(feature) for feature in self.features],
        }
        return dict(json.loads(json.dumps(content)))  # lists in place of tuples, as in a file


def tokens_from_json(stored: dict[str, Any] | None) -> dict[str, Any]:
    """Inverse of :meth:`TokenLayout.to_json`: ``features`` and ``observation``."""
    if stored is None:
        return {}
    return {
        "features": tuple(Feature(**feature) for feature in stored["features"]),
        "observation": ObservationLayout(**stored["observation"]),
    }


def token_features(
    names: Sequence[str], observation: ObservationLayout, actions: int, stride: int
) -> tuple[Feature, ...]:
    """The features with these names.

    Args:
        names: ``position``, ``velocity``, ``observation`` (all columns of the observation other
            than the position, and than the velocity if that is named), ``action``, ``reward``.
        observation: layout of the observations.
        actions: columns of the actions.
        stride: environment steps between two frames; a frame holds the actions of all of them.

    Raises:
        ConfigError: another name, a name twice, no position, or a feature that the data lacks.
    """
    velocity = observation.velocity or ()
    taken = {*observation.position, *(velocity if "velocity" in names else ())}
    rest = tuple(column for column in range(observation.width) if column not in taken)
    offered = [
        Feature("position", observation.position),
        *([Feature("velocity", velocity)] if velocity else []),
        *([Feature("observation", rest)] if rest else []),
        Feature("action", tuple(range(actions)), "actions", "none", steps=stride),
        Feature("reward", (0,), "rewards"),
    ]
    for name in names:
        require_name("feature of this data", name, [feature.name for feature in offered])
    if "position" not in names or len(set(names)) < len(names):
        raise ConfigError(
            f"Tokens hold the position, and each feature once; got {', '.join(names)}."
        )
    return tuple(feature for feature in offered if feature.name in names)
