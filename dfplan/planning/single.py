"""The Diffusion Forcing planner."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dfplan.arrays import copy_array
from dfplan.boundary import isolated
from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, ObservationError, require_class, require_function
from dfplan.planning.denoise import Guide, RowCallback, denoise
from dfplan.planning.observation_history import ObservationHistory, read_history
from dfplan.planning.partial_plan import Candidates, Denoised, PartialPlan
from dfplan.planning.query import PlanQuery, noise_generator, read_query
from dfplan.planning.rewards import check_reward
from dfplan.planning.row_errors import first_then_others
from dfplan.planning.select import PlanObjective, Selected, select, spread
from dfplan.planning.settings import PlannerSettings
from dfplan.planning.state_estimator import estimate_history
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.record import Record
from dfplan.sampling.guidance import guided
from dfplan.sampling.matrices import FREE, Tokens, hold, scheduling_matrix
from dfplan.sampling.steps import sampling_step
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.windows import TokenLayout
from dfplan.types import Denoiser, DenoisingStep, Plan, PlanCallback, Reward


@dataclass(frozen=True)
class ForcingPlanner(Record):
    """Plans with a network trained by Diffusion Forcing.

    The start is a clean token, and the goal is a clean token at the end of each candidate.
    Candidates differ in their horizons; tokens after a candidate's horizon stay pure noise. The
    denoised candidates are compared by the score of :class:`~dfplan.planning.select.PlanObjective`,
    and the best of them is refined and becomes the plan.

    Attributes:
        denoiser: ``(x, level) -> clean estimate``, normalized.
        layout: how positions form tokens; ``layout.tokens`` limits the horizon.
        schedule: the noise schedule that the denoiser was trained with.
        statistics: of the data.
        settings: how to sample and choose.
        maze: the maze as text. It is copied to plans for drawing and not used otherwise.

    Raises:
        ConfigError: an attribute has the wrong type.
    """

    denoiser: Denoiser
    layout: TokenLayout
    schedule: NoiseSchedule
    statistics: Statistics
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    maze: str | None = None

    def __post_init__(self) -> None:
        require_function("denoiser", self.denoiser, "x", "level")
        require_class(TokenLayout, layout=self.layout)
        require_class(NoiseSchedule, schedule=self.schedule)
        require_class(Statistics, statistics=self.statistics)
        require_class(PlannerSettings, settings=self.settings)

    @property
    def longest_horizon(self) -> int:
        """Environment steps of the longest plan."""
        return (self.layout.tokens - 1) * self.layout.token_steps

    @isolated()
    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
        trace: bool = False,
        callback: PlanCallback | None = None,
        history: ObservationHistory | None = None,
    ) -> Plan:
        """Plan from each observation to its goal, or by reward alone.

        Args:
            observation: position and velocity, [4] or [B, 4], in units of the data; or the position
                alone, [2] or [B, 2].
            goal: position, [2] or [B, 2]; None to plan by ``reward`` alone.
            reward: added to the guidance and to the score.
            horizon: environment steps of the plan, rounded up to whole tokens; by default it is
                chosen for each query.
            seed: of all noise; None draws a random one.
            trace: whether the plan records the denoising of the chosen candidate.
            callback: called with all candidates after each row of the scheduling matrix. All
                candidates are then denoised in one batch, however many there are.
            history: the last positions, noisy or missing; its last one replaces the position of
                the observation. The plan starts from :meth:`estimate` of it. The history precedes
                the plan as clean tokens, so both together must fit in the model's window.

        Raises:
            ObservationError: wrong shapes, values that are not finite, or a goal, or a start
                without noise, that is too far from the data.
            ConfigError: a horizon or distance that is too long for the model, a horizon in which
                the goal cannot be reached, neither a goal nor a reward, a reward that does not
                return one finite number per plan or has no gradient, or an invalid callback.
        """
        began = time.perf_counter()
        if callback is not None:
            require_function("callback", callback, "step")
        query, objective = self.read_query(observation, goal, reward, history)
        generator = noise_generator(seed)
        estimates = 0
        if query.history is not None:
            estimate, estimates = self._estimate(query.history, generator)
            query = query.with_history(estimate)
        shortest, longest = self.horizons(query, horizon)
        share = torch.linspace(0.0, 1.0, self.settings.candidates, dtype=torch.float32)
        ends = (shortest[:, None] + share * (longest - shortest)[:, None]).round().long()
        partial = self.partial_plan(query, ends, generator)
        matrix = self.matrix(partial)

        def report(rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
            if callback is not None:
                level, points = self._candidate_points(*rows[-1], partial, ends)
                step = DenoisingStep(len(rows), len(matrix) - 1, level.numpy(), points.numpy())
                callback(step)

        denoised = self.denoise(
            partial, matrix, objective, generator, callback=None if callback is None else report
        )
        kept = slice(0 if trace else -1, None)
        rows = [
            self._candidate_points(level, clean, partial, ends)
            for level, clean in zip(denoised.level[kept], denoised.clean[kept], strict=True)
        ]
        level, points = rows[-1]
        score = objective.score(points.flatten(0, 1)).view(ends.shape)
        candidates = Candidates(points, ends, level, score)
        selected = self.select(query, candidates, objective)
        evaluations = estimates + ends.shape[1] * denoised.evaluations
        plan = self.to_plan(query, candidates, selected, evaluations, began)
        if not trace:
            return plan
        chosen = torch.arange(len(ends)), selected.index
        return replace(
            plan,
            trace=tuple((level[chosen].numpy(), points[chosen].numpy()) for level, points in rows),
        )

    @isolated()
    def estimate(self, history: ObservationHistory, *, seed: int | None = None) -> np.ndarray:
        """Estimate positions from a noisy history: their mean under the data, given the history.

        See :func:`~dfplan.planning.state_estimator.estimate_history`.

        Args:
            history: the last positions of each body, and their noise levels.
            seed: of the noise that stands for missing tokens; None draws a random one.

        Returns:
            Float32 [B, H, 2] in units of the data. Exact positions are returned unchanged.

        Raises:
            ObservationError: see :func:`~dfplan.planning.observation_history.read_history`.
            ConfigError: the history does not leave a token of the window.
        """
        read = read_history(history, self.layout, self.schedule.max_level)
        return self._estimate(read, noise_generator(seed))[0].positions

    def _estimate(
        self, history: ObservationHistory, generator: torch.Generator
    ) -> tuple[ObservationHistory, int]:
        return estimate_history(
            self.denoiser,
            history,
            self.layout,
            self.schedule,
            self.statistics,
            generator,
            self.settings.largest_batch,
        )

    def tracker(self) -> Pursuit:
        """Pure pursuit, with gains computed from the data's motion."""
        motion = self.statistics.motion
        return Pursuit(pursuit_gains(motion), motion.max_step)

    def objective(self, reward: Reward | None = None) -> PlanObjective:
        """What this planner optimizes, with the caller's reward."""
        return PlanObjective(self.settings, self.statistics, self.layout.stride, reward)

    def read_query(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None,
        reward: Reward | None,
        history: ObservationHistory | None = None,
    ) -> tuple[PlanQuery, PlanObjective]:
        """Check arguments of :meth:`plan`; raises the errors listed there."""
        query = read_query(observation, goal)
        if history is not None:
            read = read_history(history, self.layout, self.schedule.max_level, len(query))
            query = query.with_history(read)
        query.require_near_data(
            self.statistics, self.settings.max_start_distance, self.settings.max_goal_distance
        )
        if goal is None and reward is None:
            raise ConfigError("A plan needs a goal, a reward, or both; got neither.")
        return query, self.objective(None if reward is None else check_reward(reward))

    def horizons(self, query: PlanQuery, horizon: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The shortest and longest horizon of each query, in tokens after the present; int [B].

        Args:
            query: to plan for.
            horizon: environment steps, if the plan must have this length.

        Raises:
            ConfigError: the model cannot plan over this horizon, or it is too short.
        """
        token_steps = self.layout.token_steps
        before = 0 if query.history is None else query.history.tokens(self.layout) - 1
        limit = self.longest_horizon - before * token_steps
        given = limit if horizon is None else horizon
        # As Python's int: NumPy's unsigned integers have no negative numbers.
        steps = int(given) if isinstance(given, int | np.integer) else 0
        if not 1 <= steps <= limit:
            raise ConfigError(
                f"The horizon must be a whole number from 1 to {limit} environment steps; got "
                f"{horizon!r}. Plan to a nearer goal first, or train with more tokens."
            )
        longest = torch.full((len(query),), -(-steps // token_steps))
        if query.goal is None:
            return longest, longest
        # A horizon in which not even a straight line at top speed arrives needs no candidate.
        away = (torch.from_numpy(query.goal) - query.start).abs().amax(1)
        max_step = self.statistics.motion.max_step
        shortest = (away / (max_step * token_steps)).ceil().clamp_min(1).long()
        if (shortest > longest).any():
            row = int(shortest.argmax())
            raise ConfigError(
                f"The goal of row {row} is {float(away[row]):.3g} away, which takes at least "
                f"{int(shortest[row]) * token_steps} steps; got a horizon of {steps}, and the "
                f"model's longest is {limit}. Give a longer horizon, plan to a nearer goal first, "
                "or train with more tokens.",
                rows=first_then_others(row, (shortest > longest).numpy()),
            )
        return shortest if horizon is None else longest, longest

    def partial_plan(
        self, query: PlanQuery, ends: torch.Tensor, generator: torch.Generator
    ) -> PartialPlan:
        """Noise between each query's start and its goal at token ``ends`` [B, C]; S = B * C."""
        if query.history is None:
            known = query.start[:, None]
        else:
            known = torch.from_numpy(query.history.positions)
        context = self.layout.to_tokens(self.statistics.normalizer.normalize(known))
        tokens = context.shape[1]
        count, end = ends.shape[1], ends.flatten() + tokens - 1
        index = torch.arange(int(end.max()) + 1)
        shape = len(end), len(index), self.layout.features
        x = torch.randn(shape, generator=generator, dtype=torch.float32)
        held = torch.where(index <= end[:, None], FREE, self.schedule.max_level)
        x[:, :tokens], held[:, :tokens] = context.repeat_interleave(count, 0), 0
        if query.goal is not None:
            goal = self.token(torch.from_numpy(query.goal)).repeat_interleave(count, 0)
            row = torch.arange(len(end))
            x[row, end], held[row, end] = goal, 0
        return PartialPlan(x, held, end, known.shape[1] - 1)

    def denoise(
        self,
        partial: PartialPlan,
        matrix: torch.Tensor,
        objective: PlanObjective,
        generator: torch.Generator,
        callback: RowCallback | None = None,
    ) -> Denoised:
        """Denoise partial plans along ``matrix`` [M+1, S, T], guided by the objective.

        For ``callback`` see :func:`~dfplan.planning.denoise.denoise`.
        """
        return denoise(
            self.denoiser,
            partial,
            matrix,
            step=sampling_step(self.settings.step, self.schedule),
            guide=self._guide(objective, generator),
            generator=generator,
            largest_batch=max(1, self.settings.largest_batch // self.settings.mc_samples),
            callback=callback,
        )

    def _guide(self, objective: PlanObjective, generator: torch.Generator) -> Guide:
        """A function that adds the guidance of ``objective`` to a denoiser."""

        def guide(denoiser: Denoiser, partial: PartialPlan) -> Denoiser:
            def value(clean: torch.Tensor) -> torch.Tensor:
                end = partial.end.repeat(len(clean) // len(partial))
                return objective.guidance_reward(self.points(clean, end)[:, partial.before :])

            return guided(
                denoiser,
                value,
                self.schedule,
                objective.guidance,
                unit=self.statistics.normalizer.std.repeat(self.layout.frame_stack),
                weight=partial.guidance_weight,
                mc_samples=self.settings.mc_samples,
                generator=generator,
            )

        return guide

    def matrix(self, partial: PartialPlan) -> torch.Tensor:
        """The scheduling matrix of partial plans, int [M+1, S, T]."""
        free = (partial.held == FREE).sum(1).clamp_min(1)
        return hold(self._matrix_of_free_tokens(free), partial.held)

    def evaluations(self, tokens: int) -> int:
        """Network evaluations needed to denoise one sequence with ``tokens`` free tokens."""
        calls, guidance = self.settings.mc_samples, self.settings.guidance
        if guidance.scale == 0:
            calls = 1
        elif guidance.mc_sample_steps > 1:
            calls = 1 + calls * guidance.mc_sample_steps
        return calls * (len(self._matrix_of_free_tokens(tokens)) - 1)

    def _matrix_of_free_tokens(self, tokens: Tokens) -> torch.Tensor:
        """The levels of the free tokens in the rows that are run."""
        settings = self.settings
        matrix = scheduling_matrix(
            settings.matrix,
            tokens,
            self.schedule.max_level,
            settings.steps,
            settings.uncertainty_scale,
        )
        return matrix[: 1 + math.ceil(settings.stop_fraction * (len(matrix) - 1))]

    def token(self, positions: torch.Tensor) -> torch.Tensor:
        """Clean tokens [B, D], each filled with one position of [B, 2]."""
        return self.statistics.normalizer.normalize(positions).repeat(1, self.layout.frame_stack)

    def points(self, clean: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Positions [S, P, 2] of tokens [S, T, D] in units of the data.

        After token ``end`` [S] the last position is repeated.
        """
        frames = self.layout.to_frames(clean)
        frame = torch.arange(frames.shape[1])
        frame = torch.minimum(frame, end[:, None] * self.layout.frame_stack)
        frames = frames.gather(1, frame[..., None].expand(-1, -1, 2))
        return self.statistics.normalizer.unnormalize(frames)

    def _candidate_points(
        self, level: torch.Tensor, clean: torch.Tensor, partial: PartialPlan, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels [B, C, P] and positions [B, C, P, 2] of the points from the present on.

        Args:
            level: of each token, int [S, T].
            clean: clean estimates, [S, T, D].
            partial: what was denoised.
            ends: last token of each candidate, int [B, C].
        """
        stack = self.layout.frame_stack
        frame = torch.arange(1 + (level.shape[1] - 1) * stack)
        token = torch.minimum((frame + stack - 1) // stack, partial.end[:, None])
        level = level.gather(1, token)[:, partial.before :]
        points = self.points(clean, partial.end)[:, partial.before :]
        return level.reshape(*ends.shape, -1), points.reshape(*ends.shape, -1, 2)

    @isolated()
    def reward_gradient(self, points: np.ndarray, reward: Reward | None = None) -> np.ndarray:
        """The gradient of the guidance reward at each point of plans.

        Args:
            points: positions, ``layout.stride`` steps apart; float [B, P, 2].
            reward: as in :meth:`plan`; added to the planner's own terms.

        Returns:
            Reward per unit of position, float32 [B, P, 2]. Guidance moves a point by
            ``settings.guidance.scale`` times this, but by at most its ``max_move``.

        Raises:
            ObservationError: wrong shape, or numbers that are not finite.
        """
        positions = copy_array(points, np.float32)
        if positions.ndim != 3 or positions.shape[2] != 2 or not np.isfinite(positions).all():
            raise ObservationError(
                f"Points of plans must be finite numbers [B, P, 2]; got {points!r:.200}."
            )
        leaf = torch.from_numpy(positions).requires_grad_()
        objective = self.objective(None if reward is None else check_reward(reward))
        with torch.enable_grad():
            value = objective.guidance_reward(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return np.asarray(gradient)

    def select(
        self, query: PlanQuery, candidates: Candidates, objective: PlanObjective
    ) -> Selected:
        """Refine the best candidates of each query and select one."""
        # A last point that is the goal stays where it is.
        fixed = 0 if query.goal is None else 1
        last = candidates.end * self.layout.frame_stack - fixed
        return select(candidates, objective, self.settings.refine_top_k, last)

    def to_plan(
        self,
        query: PlanQuery,
        candidates: Candidates,
        selected: Selected,
        evaluations: int,
        began: float,
    ) -> Plan:
        """The plan of the selected candidates.

        Args:
            query: that was planned for.
            candidates: that were compared.
            selected: one of them for each query.
            evaluations: network evaluations for each query.
            began: ``time.perf_counter()`` at the start of planning.
        """
        chosen = torch.arange(len(query)), selected.index
        return Plan(
            points=selected.points.numpy(),
            steps=candidates.end[chosen].numpy() * self.layout.token_steps,
            stride=self.layout.stride,
            level=candidates.level[chosen].numpy(),
            max_level=self.schedule.max_level,
            spread=spread(selected.points, candidates.points).numpy(),
            candidates=candidates.points.numpy(),
            scores=candidates.scores.numpy(),
            observation=query.observation,
            goal=query.goal,
            evaluations=evaluations,
            seconds=time.perf_counter() - began,
            maze=self.maze,
            history=None if query.history is None else query.history.positions,
        )
