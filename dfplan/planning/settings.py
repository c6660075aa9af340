"""Settings of the Diffusion Forcing planner."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dfplan.errors import ConfigError, require_class, require_name, require_numbers
from dfplan.planning.query import MAX_GOAL_DISTANCE, MAX_START_DISTANCE
from dfplan.planning.time_to_goal import MAX_RISK_AVERSION, RISK_AVERSION
from dfplan.sampling.guidance import GuidanceSettings
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.sampling.steps import STEPS

_PLANS_AHEAD = 5
"""How often a policy replans while the body follows one plan of ``ahead`` steps."""

MUCH_NOISE = 200.0
"""A ``route_noise`` that hides the way, so that a plan is uncertain until it is denoised. Pictures
show plans on their way with it."""


@dataclass(frozen=True)
class PlannerSettings:
    """How a planner samples plans and chooses among them. Nothing here is trained.

    Lengths in *steps at top speed* are multiples of the distance that the body covers in one
    environment step at top speed.

    Attributes:
        sampling: the noise level of each token in each row of the sampling run.
        step: sampling step: ``ddim``, ``ddpm`` or ``second_order``.
        candidates: number of plans sampled for each query from pure noise. Their horizons are
            spread evenly over those in which the goal can be reached.
        route_noise: plans to a goal start from the expected way there
            (:mod:`dfplan.planning.route`), to which noise of this standard deviation is added, in
            steps at top speed. With ``math.inf`` they start from pure noise, as in arXiv
            2407.01392, and the way only says which plans must be longer than a window. On ways
            longer than a window the noise is at most 20. From pure noise start, too, plans
            with a reward of the caller, which may ask for another way (except
            :mod:`dfplan.planning.requirements`), plans of tokens that hold more than positions, and
            those of a checkpoint without a roadmap.
        route_candidates: number of plans sampled for each query from the expected way. Their
            horizons are spread evenly from 0.9 to 1.2 times the expected time to the goal.
        ahead: environment steps of a plan, if plans should not lead to the goal but to the place on
            the expected way that is ``pace * ahead`` steps at top speed away, or to the goal if
            that is nearer. It needs a checkpoint with a roadmap. A policy replans five times in
            these steps. A plan with a horizon of the caller leads to the goal.
        pace: see ``ahead``.
        risk_aversion: what a loss counts in the choice of the way; see
            :func:`~dfplan.planning.time_to_goal.goal_times`.
        mc_samples: number of samples of Monte Carlo guidance. 1 guides by the current clean
            estimate alone.
        guidance: strength of the guidance, in sampling and in refinement. The gradient is taken in
            units of position, and ``max_move`` is in steps at top speed here. So both are
            independent of the unit of position, if rewards are squared lengths.
        smoothness_weight: weight, in the guidance, of the reward for short lines
            (:class:`~dfplan.planning.rewards.Short`).
        support_weight: weight, in the guidance, of the reward for staying where the data has been
            (:class:`~dfplan.planning.rewards.OnSupport`).
        support_penalty: penalty in the score of a candidate, in environment steps, for each part of
            its line that is as long as a step at top speed and farther than ``support_margin`` from
            the data.
        support_margin: distance from the data at which the penalty begins, in steps at top speed.
        refine_steps: gradient steps on the best candidates after sampling; 0 for no refinement,
            which also leaves parts that are faster than the body.
        refine_top_k: how many of each query's candidates are refined; the best of them becomes the
            plan. More than 1 helps with steep rewards, which refinement may satisfy.
        max_start_distance: limit on the distance of the start from the data, in steps at top speed;
            a start beyond it is an error.
        max_goal_distance: limit on the distance of the goal from the data, in steps at top speed; a
            goal beyond it is an error.
        replans: how often each plan is made again with other noise, for its spread
            (:mod:`dfplan.planning.replans`). From the expected way 2 take about a fifth of the time
            of one plan, and 8 are more exact. 0 for plans without a spread.
        largest_batch: largest number of sequences in one network call.
    """

    sampling: SamplingSchedule = field(default_factory=SamplingSchedule)
    step: str = "ddim"
    candidates: int = 16
    route_noise: float = 5.0
    route_candidates: int = 4
    ahead: int | None = None
    pace: float = 0.9
    risk_aversion: float = RISK_AVERSION
    mc_samples: int = 1
    guidance: GuidanceSettings = field(
        default_factory=lambda: GuidanceSettings(scale=0.5, iterations=5, max_move=3.0)
    )
    smoothness_weight: float = 0.2
    support_weight: float = 6.0
    support_penalty: float = 20.0
    support_margin: float = 3.0
    refine_steps: int = 10
    refine_top_k: int = 1
    max_start_distance: float = MAX_START_DISTANCE
    max_goal_distance: float = MAX_GOAL_DISTANCE
    replans: int = 2
    largest_batch: int = 512

    def __post_init__(self) -> None:
        counts = ("candidates", "route_candidates", "mc_samples", "refine_top_k", "largest_batch")
        require_numbers(vars(self), *counts, integer=True, minimum=1)
        require_numbers(vars(self), "refine_steps", "replans", integer=True, minimum=0)
        weights = ("smoothness_weight", "support_weight", "support_penalty", "support_margin")
        require_numbers(vars(self), *weights, minimum=0)
        require_numbers(vars(self), "risk_aversion", minimum=0, maximum=MAX_RISK_AVERSION)
        require_numbers(vars(self), "route_noise", above=0, maximum=math.inf)
        distances = ("max_start_distance", "max_goal_distance")
        require_numbers(vars(self), *distances, minimum=0, maximum=math.inf)
        require_class(GuidanceSettings, guidance=self.guidance)
        require_class(SamplingSchedule, sampling=self.sampling)
        require_numbers(vars(self), "pace", above=0, maximum=1)
        if self.ahead is not None:
            require_numbers(vars(self), "ahead", integer=True, minimum=1)
        if not isinstance(self.step, str):
            raise ConfigError(f"step must be the name of a sampling step; got {self.step!r}.")
        require_name("sampling step", self.step, STEPS)

    @property
    def replan_every(self) -> int | None:
        """Environment steps after which a policy replans; None if only when needed."""
        return None if self.ahead is None else max(1, self.ahead // _PLANS_AHEAD)
