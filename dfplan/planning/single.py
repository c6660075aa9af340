"""The Diffusion Forcing planner."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from dfplan.errors import (
    ObservationError,
    require_class,
    require_name,
    require_numbers,
)
from dfplan.observations import ObservationLayout
from dfplan.planning.denoise import RowCallback, denoise
from dfplan.planning.expected_ways import ExpectedWays, expected_ways
from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import (
    LATEST,
    Candidates,
    Denoised,
    Guess,
    PartialPlan,
    candidate_states,
    horizons,
    partial_plan,
    read_plan_query,
)
from dfplan.planning.planner import BasePlanner, PlanArguments, Progress
from dfplan.planning.query import PlanQuery, noise_generator, spawned
from dfplan.planning.replans import best_of_each, ends_again
from dfplan.planning.requirements import asks_for_times
from dfplan.planning.risk import with_risk
from dfplan.planning.route import Route, TimedLine, find_routes, find_ways
from dfplan.planning.select import Selected, select, to_plan
from dfplan.planning.settings import MUCH_NOISE, PlannerSettings
from dfplan.planning.state_estimator import estimate_history
from dfplan.planning.success import Calibration
from dfplan.planning.trackers import (
    LowLevel,
    LowLevelPolicy,
    PlannedActions,
    Tracker,
    pursuit,
)
from dfplan.planning.warm_start import rests
from dfplan.record import Record
from dfplan.regions import RegionTable, RegionTables
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.sampling.model import SequenceModel
from dfplan.types import DenoisingStep, Plan, Reward

_MOST_NOISE_OF_LONG_PLANS = 20.0
"""Most noise on an expected way that is longer than a window, in steps at top speed. With more, the
windows of a plan do not know which parts of the way are theirs."""

_TARGET_STEPS = 6.0
"""Distance to the target of a low-level policy, in steps at top speed."""

_ROUNDING = 1 - 1e-5
"""Keeps a place that is as far ahead as a body can get within its reach, as float32."""

_STEEPNESS = 30.0
"""Factor of :meth:`ForcingPlanner.for_rewards` on the planner's own weights in guidance."""


@dataclass(frozen=True)
class ForcingPlanner(Record, BasePlanner):
    """Plans with a network trained by Diffusion Forcing.

    The start is a clean token, and the goal is a clean token at the end of each candidate. The
    tokens between them start from pure noise, or from the expected way with noise. A plan can be
    longer than the model's window (:func:`~dfplan.sampling.joint.join_windows`). Candidates differ
    in their horizons; tokens after a candidate's horizon stay pure noise. The denoised candidates
    are compared by the score of :class:`~dfplan.planning.objective.PlanObjective`, and the best of
    them is refined and becomes the plan.

    Attributes:
        model: the trained network, what its tokens hold, and the statistics of the data.
        settings: how to sample and choose.
        maze: the maze as text. It is copied to plans for drawing and not used otherwise.
        regions: where noisy tokens end up, measured with this model (``dfplan calibrate``); None if
            it was not measured.
        calibration: how simulated episodes of its plans differ from real ones.
        low_level: acts on a body whose actions are no forces in the plane; None for pure pursuit.

    Raises:
        ConfigError: an attribute has the wrong type.
    """

    supports = BasePlanner.supports | {"warm_start"}

    model: SequenceModel
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    maze: str | None = None
    regions: RegionTables | None = None
    calibration: Calibration = field(default_factory=Calibration)
    low_level: LowLevelPolicy | None = None

    def __post_init__(self) -> None:
        require_class(SequenceModel, model=self.model)
        require_class(PlannerSettings, settings=self.settings)
        require_class(Calibration, calibration=self.calibration)

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
            ConfigError: ``unit`` is not a number from 1e-9 to 1e9.
        """
        require_numbers({"unit": unit}, minimum=1e-9, maximum=1e9)
        settings, factor = self.settings, _STEEPNESS / unit**2
        return self.with_settings(
            guidance=replace(settings.guidance, scale=3 * settings.guidance.scale / factor),
            smoothness_weight=settings.smoothness_weight * factor,
            support_weight=settings.support_weight * factor,
            support_penalty=200.0,
            refine_steps=60,
            refine_top_k=min(4, settings.candidates),
        )

    def tracker(self) -> Tracker:
        """The low-level policy, or the planned actions, or pure pursuit.

        Actions are executed if they are planned :attr:`~PlannerSettings.ahead`. The gains of
        pursuit are computed from the data's motion.
        """
        motion = self.model.statistics.motion
        if self.settings.ahead is not None and self.model.layout.has("action"):
            return PlannedActions()
        if self.low_level is None:
            return pursuit(motion)
        return LowLevel(self.low_level, _TARGET_STEPS * motion.max_step, motion.max_step)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :meth:`~dfplan.planning.planner.BasePlanner.plan`."""
        began = time.perf_counter()
        model, settings = self.model, self.settings
        query = read_plan_query(arguments, model, settings)
        objective = PlanObjective(settings, model, arguments.reward)
        generator = noise_generator(arguments.seed)
        query, estimates = self._with_estimates(query, generator)
        ways = expected_ways(query, model, objective, arguments.reward, arguments.horizon)
        if settings.ahead is not None and query.goal is not None and arguments.horizon is None:
            reach = settings.pace * settings.ahead * model.statistics.motion.max_step
            ways = ways.first_parts(_ROUNDING * reach)
            arguments = replace(arguments, horizon=settings.ahead)
        guess = self._guess(query, ways.followed, arguments)
        near = ways.query_to_ends(query)
        ends = self._ends(near, guess, ways, arguments.horizon)
        count, sets = settings.replans, [ends]
        if count and guess is not None:
            sets.append(ends_again(ends, None, count))
        sampled, *others = self._sample(near, sets, guess, objective, generator, arguments.callback)
        if count and guess is None:
            # Only now the best horizon is known.
            best = sampled.candidates.scores.argmax(1)
            sets.append(ends_again(ends, best, count))
            others = self._sample(near, sets[1:], None, objective, spawned(generator))
        again = [best_of_each(other.candidates, count) for other in others]
        selected = select(near, sampled.candidates, objective, model.layout, *again)
        plan = to_plan(
            near,
            model,
            sampled.candidates,
            selected,
            evaluations=estimates + sum(each.evaluations for each in [sampled, *others]),
            began=began,
            maze=self.maze,
            timed=asks_for_times(arguments.horizon, arguments.reward),
        )
        if ways.routes is not None and ways.to_goals and arguments.reward is None:
            plan = with_risk(plan, ways.routes, model.statistics)
        trace = sampled.trace(selected, model) if arguments.trace else ()
        regions = self._regions(guess, objective.reward)
        return replace(plan, goal=query.goal, trace=trace, regions=regions)

    def _sample(
        self,
        query: PlanQuery,
        sets: Sequence[torch.Tensor],
        guess: Guess | None,
        objective: PlanObjective,
        generator: torch.Generator,
        callback: Progress | None = None,
    ) -> list[_Sampled]:
        """Sample sets of candidates, all in one batch, which takes less time than several.

        Args:
            query: to plan for.
            sets: the last token of each candidate, int [B, C] for each set.
            guess: where denoising starts; None for pure noise.
            objective: guides and scores.
            generator: draws the noise. That of the first set does not depend on the others.
            callback: shown the rows of the first set.
        """
        model, noises = self.model, [generator, *(spawned(generator) for _ in sets[1:])]
        partials = [
            partial_plan(query, model, ends, noise, guess)
            for ends, noise in zip(sets, noises, strict=True)
        ]
        regions = self._regions(guess, objective.reward)
        report = callback and _reporting(callback, partials[0], model, sets[0].shape[1], regions)
        together = functools.reduce(PartialPlan.followed_by, partials)
        denoised = denoise(together, model, objective, generator, report)
        bounds = np.cumsum([0, *map(len, partials)]).tolist()
        sampled = []
        for ends, partial, first, end in zip(sets, partials, bounds[:-1], bounds[1:], strict=True):
            part = denoised.part(slice(first, end))
            level, states = candidate_states(
                part.level[-1], part.clean[-1], partial=partial, model=model, count=ends.shape[1]
            )
            score = objective.score(states.flatten(0, 1)).view(ends.shape)
            sampled.append(_Sampled(Candidates(states, ends, level, score), part, partial))
        return sampled

    def _with_estimates(
        self, query: PlanQuery, generator: torch.Generator
    ) -> tuple[PlanQuery, int]:
        """The query with estimated positions of its history, and the evaluations for each query."""
        if query.history is None:
            return query, 0
        history, count = estimate_history(
            query.history, self.model, generator, self.settings.largest_batch
        )
        return query.with_history(history, self.model.layout.observed), count

    def _guess(
        self, query: PlanQuery, routes: list[Route | None] | None, arguments: PlanArguments
    ) -> Guess | None:
        """Where denoising starts; None for pure noise."""
        max_step = self.model.statistics.motion.max_step
        # What other features were planned together with the rest of a line is not known.
        alone = self.model.layout.holds_positions_alone
        warm_start = arguments.warm_start if alone else None
        noise = np.full((len(query), 2), self.settings.route_noise * max_step)
        if routes is not None:
            long = [
                route is not None and self._exceeds_window(route.duration, arguments.horizon)
                for route in routes
            ]
            noise[long] = noise[long].clip(max=_MOST_NOISE_OF_LONG_PLANS * max_step)
        if warm_start is None:
            return None if routes is None else Guess(routes, noise)
        left = rests(warm_start, query.start.numpy().astype(np.float64), max_step)
        if query.goal is not None:
            ends = [
                goal if route is None else route.points[-1]
                for goal, route in zip(query.goal, routes or left, strict=True)
            ]
            away = self.settings.max_goal_distance * max_step
            left = [
                line and _leading_to(end, line, away) for line, end in zip(left, ends, strict=True)
            ]
        noise[[line is not None for line in left], 0] = 0.0
        lines = [line or route for line, route in zip(left, routes or left, strict=True)]
        return Guess(lines, noise) if any(lines) else None

    def _regions(self, guess: Guess | None, reward: Reward | None) -> RegionTable | None:
        """The regions of plans from a guess, or if any starts from pure noise, of those.

        They are larger. None for plans such as none were measured of: by another matrix than the
        pyramid, with a reward, after a warm start, or with another amount of noise on the
        expected way.
        """
        settings = self.settings
        if self.regions is None or reward is not None or settings.sampling.matrix != "pyramid":
            return None
        if guess is not None and not guess.noise[:, 0].all():  # a warm start, without noise there
            return None
        if guess is None or None in guess.lines or not np.isfinite(guess.noise).all():
            return self.regions.noise
        return self.regions.way if settings.route_noise == MUCH_NOISE else None

    def _exceeds_window(self, duration: float, horizon: int | None = None) -> bool:
        """Whether a plan along a way of this duration may be longer than a window."""
        steps = LATEST * duration if horizon is None else horizon
        return steps > self.model.layout.longest_horizon

    def _direct_routes(self, query: PlanQuery) -> list[Route]:
        """The expected ways to the goals; none if the data does not know a way for each query."""
        statistics = self.model.statistics
        if query.goal is None or statistics.roadmap is None:
            return []
        with contextlib.suppress(ObservationError):
            ways = find_ways(statistics, query.goal, self.settings.risk_aversion)
            return find_routes(ways, query.start.numpy())
        return []

    def _ends(
        self,
        query: PlanQuery,
        guess: Guess | None,
        ways: ExpectedWays,
        horizon: int | None,
    ) -> torch.Tensor:
        """The last token of each candidate, int [B, C].

        Raises:
            ConfigError: as :func:`~dfplan.planning.partial_plan.horizons`, or a body at top speed
                needs more steps than the horizon.
        """
        # From pure noise, the way only says which plans must be longer than a window.
        routes = ways.routes or (self._direct_routes(query) if guess is None else [])
        times = [route.duration for route in routes]
        expected = [time if self._exceeds_window(time) else None for time in times] or None
        if guess is not None:
            others = expected or [None] * len(query)
            expected = [
                other if line is None else line.duration
                for line, other in zip(guess.lines, others, strict=True)
            ]
        shortest, longest = horizons(query, self.model, horizon, expected, joined=True)
        ways.require_time(horizon, self.model.statistics.motion.max_step)
        settings = self.settings
        count = settings.route_candidates
        if guess is None or None in guess.lines:
            count = settings.candidates
        share = torch.linspace(0.0, 1.0, count, dtype=torch.float32)
        spread = share * (longest - shortest)[:, None]
        return (shortest[:, None] + spread).round().long()


def _leading_to(goal: np.ndarray, line: TimedLine, away: float) -> TimedLine | None:
    """``line``, if it ends no farther than ``away`` from ``goal`` [2]."""
    return line if np.abs(line.points[-1] - goal).max() <= away else None


def _reporting(
    callback: Progress,
    partial: PartialPlan,
    model: SequenceModel,
    count: int,
    regions: RegionTable | None,
) -> RowCallback:
    """A callback of the sampling loop that shows each row of the first sequences to ``callback``.

    Args:
        callback: of the caller.
        partial: the sequences that are shown.
        model: denoises them.
        count: C, candidates of each query.
        regions: of the tokens.
    """

    def report(rows: Sequence[tuple[torch.Tensor, torch.Tensor]], number: int) -> None:
        level, clean = (each[: len(partial)] for each in rows[-1])
        level, states = candidate_states(level, clean, partial=partial, model=model, count=count)
        points = states[..., model.layout.position].numpy()
        callback(DenoisingStep(len(rows), number, level.numpy(), points, regions))

    return report


@dataclass(frozen=True)
class _Sampled(Record):
    """Candidates, and how they were denoised from partial plans."""

    candidates: Candidates
    denoised: Denoised
    partial: PartialPlan

    @property
    def evaluations(self) -> int:
        """Network evaluations for each query."""
        return self.candidates.end.shape[1] * self.denoised.evaluations

    def trace(
        self, selected: Selected, model: SequenceModel
    ) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """The denoising of the selected candidates: levels [B, P] and points [B, P, 2], by row."""
        chosen = torch.arange(len(selected.index)), selected.index
        count = self.candidates.end.shape[1]
        rows = (
            candidate_states(level, clean, partial=self.partial, model=model, count=count)
            for level, clean in zip(self.denoised.level, self.denoised.clean, strict=True)
        )
        return tuple(
            (level[chosen].numpy(), states[chosen][..., model.layout.position].numpy())
            for level, states in rows
        )
