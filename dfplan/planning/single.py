"""The Diffusion Forcing planner."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from dfplan.errors import require_class, require_name, require_numbers
from dfplan.observations import ObservationLayout
from dfplan.planning.denoise import denoise
from dfplan.planning.partial_plan import (
    Candidates,
    PartialPlan,
    horizons,
    partial_plan,
    read_plan_query,
)
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import PlanQuery, noise_generator
from dfplan.planning.risk import with_risk
from dfplan.planning.route import Route, find_routes
from dfplan.planning.select import PlanObjective, select, to_plan
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.state_estimator import estimate_history
from dfplan.planning.trackers import Pursuit, pursuit
from dfplan.record import Record
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.sampling.model import SequenceModel
from dfplan.types import DenoisingStep, Plan

_STEEPNESS = 30.0
"""Factor of :meth:`ForcingPlanner.for_rewards` on the planner's own weights in guidance."""


@dataclass(frozen=True)
class ForcingPlanner(Record, BasePlanner):
    """Plans with a network trained by Diffusion Forcing.

    The start is a clean token, and the goal is a clean token at the end of each candidate.
    Candidates differ in their horizons; tokens after a candidate's horizon stay pure noise. The
    denoised candidates are compared by the score of :class:`~dfplan.planning.select.PlanObjective`,
    and the best of them is refined and becomes the plan.

    Attributes:
        model: the trained network, what its tokens hold, and the statistics of the data.
        settings: how to sample and choose.
        maze: the maze as text. It is copied to plans for drawing and not used otherwise.

    Raises:
        ConfigError: an attribute has the wrong type.
    """

    model: SequenceModel
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    maze: str | None = None

    def __post_init__(self) -> None:
        require_class(SequenceModel, model=self.model)
        require_class(PlannerSettings, settings=self.settings)

    @property
    def observation_layout(self) -> ObservationLayout:
        return self.model.layout.observation

    def with_settings(self, **changes: Any) -> ForcingPlanner:
        """The same planner with some settings changed.

        Args:
            changes: fields of :class:`~dfplan.planning.settings.PlannerSettings`, or of its
                ``sampling``, such as ``steps``.

        Raises:
            ConfigError: no such setting, or an invalid value.
        """
        sampling, settings = vars(self.settings.sampling), vars(self.settings)
        for name in changes:
            require_name("setting", name, {**settings, **sampling})
        inner = {name: changes.pop(name) for name in sampling if name in changes}
        if inner:
            base = changes.get("sampling", self.settings.sampling)
            require_class(SamplingSchedule, sampling=base)
            changes["sampling"] = replace(base, **inner)
        return replace(self, settings=replace(self.settings, **changes))

    def for_rewards(self, unit: float = 1.0) -> ForcingPlanner:
        """The same planner with settings for steep rewards, such as via-points and zones.

        A requirement must outweigh a detour of hundreds of steps in the score, so its gradient is
        steep. The planner's own terms get larger weights, guidance takes smaller steps, and more
        candidates are refined.

        Args:
            unit: a length, such as the side of a cell, in units of position. Rewards are taken as
                squared lengths of this order.

        Raises:
            ConfigError: ``unit`` is not a positive number.
        """
        require_numbers({"unit": unit}, above=0)
        settings, factor = self.settings, _STEEPNESS / unit**2
        return self.with_settings(
            guidance=replace(settings.guidance, scale=3 * settings.guidance.scale / factor),
            smoothness_weight=settings.smoothness_weight * factor,
            support_weight=settings.support_weight * factor,
            support_penalty=200.0,
            refine_steps=60,
            route_noise=math.inf,
            refine_top_k=min(4, settings.candidates),
        )

    def tracker(self) -> Pursuit:
        """Pure pursuit, with gains computed from the data's motion."""
        return pursuit(self.model.statistics.motion)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :meth:`~dfplan.planning.planner.BasePlanner.plan`."""
        began = time.perf_counter()
        model, settings = self.model, self.settings
        query = read_plan_query(arguments, model, settings)
        objective = PlanObjective(settings, model, arguments.reward)
        generator = noise_generator(arguments.seed)
        estimates = 0
        if query.history is not None:
            history, estimates = estimate_history(
                query.history, model, generator, settings.largest_batch
            )
            query = query.with_history(history, model.layout.observed)
        goal, routes = query.goal, self._routes(query)
        if routes is not None:
            # A way can end before the goal, where a jump is likely.
            ends_of_ways = np.stack([route.points[-1] for route in routes])
            query = replace(query, goal=ends_of_ways.astype(np.float32))
        shortest, longest = horizons(query, model, arguments.horizon, routes, joined=True)
        share = torch.linspace(0.0, 1.0, settings.candidates, dtype=torch.float32)
        ends = (shortest[:, None] + share * (longest - shortest)[:, None]).round().long()
        noise = settings.route_noise * model.statistics.motion.max_step
        partial = partial_plan(query, model, ends, generator, routes, noise)

        def report(rows: Sequence[tuple[torch.Tensor, torch.Tensor]], count: int) -> None:
            level, states = self._candidates(*rows[-1], partial, ends)
            points = states[..., model.layout.position].numpy()
            step = DenoisingStep(len(rows), count, level.numpy(), points)
            arguments.callback(step)  # type: ignore[misc]

        callback = None if arguments.callback is None else report
        denoised = denoise(partial, model, objective, generator, callback)
        level, states = self._candidates(denoised.level[-1], denoised.clean[-1], partial, ends)
        score = objective.score(states.flatten(0, 1)).view(ends.shape)
        candidates = Candidates(states, ends, level, score)
        selected = select(query, candidates, objective, model.layout)
        plan = to_plan(
            query,
            model,
            candidates,
            selected,
            evaluations=estimates + ends.shape[1] * denoised.evaluations,
            began=began,
            maze=self.maze,
        )
        if routes is not None:
            plan = with_risk(replace(plan, goal=goal), routes, model.statistics)
        if not arguments.trace:
            return plan
        chosen = torch.arange(len(ends)), selected.index
        rows = [
            self._candidates(level, clean, partial, ends)
            for level, clean in zip(denoised.level, denoised.clean, strict=True)
        ]
        position = model.layout.position
        trace = (
            (level[chosen].numpy(), states[chosen][..., position].numpy()) for level, states in rows
        )
        return replace(plan, trace=tuple(trace))

    def _routes(self, query: PlanQuery) -> list[Route] | None:
        """The expected way of each query; None if plans start from pure noise."""
        model, settings = self.model, self.settings
        if query.goal is None or math.isinf(settings.route_noise):
            return None
        starts = query.start.numpy().astype(np.float64)
        return find_routes(model.statistics, starts, query.goal, settings.risk_aversion)

    def _candidates(
        self, level: torch.Tensor, clean: torch.Tensor, partial: PartialPlan, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels [B, C, P] and states [B, C, P, W] from the present on.

        Args:
            level: level of each token, int [S, T].
            clean: clean estimates, [S, T, D].
            partial: what was denoised.
            ends: last token of each candidate, int [B, C].
        """
        stack = self.model.layout.frame_stack
        frame = torch.arange(1 + (level.shape[1] - 1) * stack)
        token = torch.minimum((frame + stack - 1) // stack, partial.end[:, None])
        level = level.gather(1, token)[:, partial.before :]
        states = self.model.states(clean, partial.end)[:, partial.before :]
        return level.reshape(*ends.shape, -1), states.reshape(*ends.shape, *states.shape[1:])
