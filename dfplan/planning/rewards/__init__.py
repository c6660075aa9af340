"""Rewards of plans, in physical units; they compose with ``+`` and ``*``.

A reward takes states [B, P, W], those of each plan with the last one repeated after arrival, and
the environment step [P] at which each state is reached. It returns [B]. The position is in the
first two columns of a state, and for most models there are no others; see
:meth:`dfplan.tokens.layout.TokenLayout.columns`. Any differentiable function of this form can be
used as a reward and added to the rewards here; :class:`Custom` wraps one. One reward applies to all
plans of a call.

None of these rewards is positive, and 0 is the best value. The exception is :class:`LearnedValue`,
which is in units of the data's rewards.

Positions in a reward's arguments may be a tensor, an array or a list of numbers; they are kept as a
float32 tensor. Invalid arguments raise :class:`~dfplan.errors.ConfigError`.
"""

from dfplan.planning.rewards.base import (
    ComposableReward,
    Custom,
    PositionReward,
    check_reward,
)
from dfplan.planning.rewards.geometry import points_on_lines, squared_distance_to_line
from dfplan.planning.rewards.goals import Fast, Reach
from dfplan.planning.rewards.paths import PassThrough, Short
from dfplan.planning.rewards.regions import Box, Disc, KeepOut, Region, SlowIn
from dfplan.planning.rewards.support import LearnedValue, OnSupport
from dfplan.planning.rewards.times import TimeToGoal
from dfplan.registry import Registry

REWARDS: Registry[type[ComposableReward]] = Registry(
    "reward",
    {reward.__name__: reward for reward in (Fast, KeepOut, PassThrough, Reach, SlowIn)},
)
"""Rewards that the command line knows by name, ``--reward "100 * KeepOut([Disc([3, 3], 1)])"``."""

__all__ = [
    "REWARDS",
    "Box",
    "ComposableReward",
    "Custom",
    "Disc",
    "Fast",
    "KeepOut",
    "LearnedValue",
    "OnSupport",
    "PassThrough",
    "PositionReward",
    "Reach",
    "Region",
    "Short",
    "SlowIn",
    "TimeToGoal",
    "check_reward",
    "points_on_lines",
    "squared_distance_to_line",
]
