"""How likely a body that follows a plan reaches the goal in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dfplan.errors import ConfigError, require_class, require_numbers
from dfplan.planning.disturbance import Disturbance
from dfplan.planning.simulation import SimulatedEpisodes, simulate
from dfplan.planning.trackers import Tracker
from dfplan.record import Record
from dfplan.sampling.model import SequenceModel
from dfplan.tokens.statistics import Statistics
from dfplan.types import Plan


@dataclass(frozen=True)
class Calibration(Record):
    """What separates simulated episodes from real ones, measured on validation problems.

    Attributes:
        stretch: factor on the radius of a tracking region.
        tracking: added to it, in units of position.
        slope: factor on the log odds of simulated success.
        shift: added to them.
    """

    stretch: float = 1.0
    tracking: float = 0.0
    slope: float = 1.0
    shift: float = 0.0

    def probability(self, share: np.ndarray, episodes: int) -> np.ndarray:
        """The probability of success, from the share of simulated episodes that succeed."""
        odds = self.slope * log_odds(share, episodes) + self.shift
        return np.asarray(1 / (1 + np.exp(-odds)))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON; :meth:`from_json` is the inverse."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Calibration:
        """Inverse of :meth:`to_json`.

        Raises:
            TypeError: a number is missing or of another name.
            ValueError: a value is not a number.
        """
        return cls(**{name: float(value) for name, value in stored.items()})


def log_odds(share: np.ndarray, episodes: int) -> np.ndarray:
    """Log odds of a share of episodes, as if one more had half succeeded, so that it is finite."""
    smooth = (share * episodes + 0.5) / (episodes + 1)
    return np.asarray(np.log(smooth / (1 - smooth)))


@dataclass(frozen=True)
class SuccessTest:
    """When following a plan counts as a success, and how likely it must be.

    Attributes:
        goal_radius: distance from the goal, in units of position.
        max_steps: environment steps in which the goal must be reached.
        disturbance: pushes and noise.
        episodes: simulated episodes of each plan.
        least: least probability; a policy refuses plans below it.

    Raises:
        ConfigError: a value is out of range.
    """

    goal_radius: float
    max_steps: int
    disturbance: Disturbance = field(default_factory=Disturbance)
    episodes: int = 64
    least: float = 0.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "goal_radius", above=0, maximum=math.inf)
        require_numbers(vars(self), "max_steps", "episodes", integer=True, minimum=1)
        require_numbers(vars(self), "least", minimum=0, maximum=1)
        require_class(Disturbance, disturbance=self.disturbance)


class CalibratedPlanner(Protocol):
    """A planner with a model and a calibration, such as a ForcingPlanner."""

    @property
    def model(self) -> SequenceModel: ...
    @property
    def calibration(self) -> Calibration: ...
    def tracker(self) -> Tracker: ...


def success_probability(
    planner: CalibratedPlanner, plan: Plan, test: SuccessTest, *, seed: int | None = None
) -> np.ndarray:
    """The probability that a body reaches the goal by following each plan; float [B].

    It is that of simulated episodes, calibrated, times that of :attr:`~dfplan.types.Plan.arrival`
    in spite of recorded jumps.

    Args:
        planner: made the plan; its model, tracker and calibration are used.
        plan: to a goal.
        test: what counts as a success.
        seed: of the simulated episodes; None draws a random one.

    Raises:
        ConfigError: the plan has no goal, the data's actions do not move the body, or the planner
            has a low-level policy, which is not simulated.
    """
    share = simulated_share(plan, test, planner.model.statistics, planner.tracker(), seed=seed)
    chance = 1.0 if plan.arrival is None else plan.arrival
    return np.asarray(chance * planner.calibration.probability(share, test.episodes))


def simulated_share(
    plan: Plan,
    test: SuccessTest,
    statistics: Statistics,
    tracker: Tracker,
    *,
    seed: int | None = None,
) -> np.ndarray:
    """The share of simulated episodes in which a body that follows a plan succeeds; float [B].

    Args:
        plan: to a goal.
        test: what counts as a success.
        statistics: of the data.
        tracker: follows the plans. Plans are assigned to it.
        seed: of the episodes; None draws a random one.

    Raises:
        ConfigError: the plan has no goal.
    """
    if plan.goal is None:
        raise ConfigError(
            "A probability of success needs a plan to a goal; this plan has none. Plan with a goal."
        )
    episodes = simulate(
        plan,
        statistics,
        tracker,
        steps=test.max_steps,
        episodes=test.episodes,
        disturbance=test.disturbance,
        seed=seed,
    )
    reached = episodes.steps_to(plan.goal, test.goal_radius) <= test.max_steps
    return np.asarray(reached.mean(1))


def tracking_regions(
    plan: Plan, episodes: SimulatedEpisodes, calibration: Calibration, coverage: float = 0.9
) -> np.ndarray:
    """The tracking spread: radii around points that the body's path crosses, float [B, P].

    Args:
        plan: that was simulated.
        episodes: of it.
        calibration: of the checkpoint.
        coverage: probability that a path comes within the radius of a point.
    """
    radius = np.quantile(episodes.passing_distances(plan), coverage, axis=1)
    return np.asarray(calibration.stretch * radius + calibration.tracking)
