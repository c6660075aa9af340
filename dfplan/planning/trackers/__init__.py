"""Trackers: from plans to actions."""

from dfplan.planning.trackers.base import Tracker, require_tracker
from dfplan.planning.trackers.inverse_dynamics import InverseDynamics, inverse_inputs
from dfplan.planning.trackers.low_level import LowLevel, LowLevelPolicy
from dfplan.planning.trackers.planned_actions import PlannedActions
from dfplan.planning.trackers.pursuit import (
    Pursuit,
    PursuitGains,
    pursuit,
    pursuit_gains,
    resample,
)
from dfplan.planning.trackers.timed import TimedPD, timed_gains

__all__ = [
    "InverseDynamics",
    "LowLevel",
    "LowLevelPolicy",
    "PlannedActions",
    "Pursuit",
    "PursuitGains",
    "TimedPD",
    "Tracker",
    "inverse_inputs",
    "pursuit",
    "pursuit_gains",
    "require_tracker",
    "resample",
    "timed_gains",
]
