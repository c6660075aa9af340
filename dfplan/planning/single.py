"""The Diffusion Forcing planner."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.arrays import copy_array
from dfplan.boundary import isolated
from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, ObservationError, require_numbers, unknown_name
from dfplan.planning.observation_history import Past, read_past, stand_in
from dfplan.planning.partial_plan import Candidates, Draft, Rows
from dfplan.planning.query import (
    Problem,
    Vicinity,
    named_first,
    noise_source,
    read_problem,
)
from dfplan.planning.rewards import (
    OnSupport,
    Short,
    checked,
    on_lines,
    squared_distance_to_line,
)
from dfplan.planning.trackers import Pursuit, pursuit_gains
from dfplan.record import Record
from dfplan.sampling.guidance import GuidanceSettings, Value, climb, guided
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import FREE, OwnMatrix, Tokens, hold, scheduling_matrix
from dfplan.sampling.steps import STEPS, sampling_step
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.windows import TokenLayout
from dfplan.types import Denoiser, Moment, Plan, Reward, Watch

Trace = tuple[tuple[np.ndarray, np.ndarray], ...]
"""The denoising of plans, as :class:`~dfplan.types.Plan` keeps it."""

Show = Callable[[Sequence[tuple[torch.Tensor, torch.Tensor]]], None]
"""Called with the rows of a sampling run so far, each (level [S, T], clean [S, T, D])."""


@dataclass(frozen=True)
class PlannerSettings:
    """How a planner samples and chooses; nothing here is trained.

    Attributes:
        matrix: scheduling matrix: ``full_sequence``, ``pyramid``, ``trapezoid``,
            ``autoregressive``, or a function that makes one
            (:data:`~dfplan.sampling.matrices.OwnMatrix`).
        uncertainty_scale: of a pyramid and a trapezoid: rows that a token is later than the one
            before.
        step: ``ddim``, ``ddpm`` or ``second_order``.
        steps: sampling steps from noise to clean, a token.
        rows: share of the matrix's rows that are run; below 1 the plan keeps noise where the
            matrix is not through, in a pyramid the far future.
        candidates: C, plans sampled a problem, spread over the horizons that can be reached.
        futures: N of Monte Carlo guidance; 1 is guidance by the sample itself.
        guidance: how hard rewards pull on the clean estimates, and on the chosen plan in polish.
            The scale is along the gradient in units of position, and ``max_move`` here in lengths
            of one step at top speed, so neither depends on the unit, as long as rewards are
            squares of lengths.
        tautness: weight of :class:`~dfplan.planning.rewards.Short` in the guidance.
        caution: weight of :class:`~dfplan.planning.rewards.OnSupport` in the guidance.
        off_support_cost: steps that a candidate is charged for each step's length of its line
            that lies farther than ``margin`` from where the data has been.
        margin: in lengths of one step at top speed.
        polish: gradient steps after sampling.
        finalists: best candidates of a problem that are polished, to choose the plan from; a
            steep reward can be nearer for a candidate that has it not yet.
        vicinity: how far off the data starts and goals may lie.
        largest_batch: sequences in one network call.
    """

    matrix: str | OwnMatrix = "full_sequence"
    uncertainty_scale: float = 1.0
    step: str = "ddim"
    steps: int = 3
    rows: float = 1.0
    candidates: int = 16
    futures: int = 1
    guidance: GuidanceSettings = field(
        default_factory=lambda: GuidanceSettings(scale=0.5, iterations=5, max_move=3.0)
    )
    tautness: float = 0.2
    caution: float = 6.0
    off_support_cost: float = 20.0
    margin: float = 3.0
    polish: int = 30
    finalists: int = 1
    vicinity: Vicinity = field(default_factory=Vicinity)
    largest_batch: int = 512

    def __post_init__(self) -> None:
        counts = ("steps", "candidates", "futures", "finalists", "largest_batch")
        require_numbers(vars(self), *counts, whole=True, least=1)
        require_numbers(vars(self), "polish", whole=True, least=0)
        require_numbers(vars(self), "rows", above=0, most=1)
        weights = ("uncertainty_scale", "tautness", "caution", "off_support_cost", "margin")
        require_numbers(vars(self), *weights, least=0)
        kinds = (self.guidance, GuidanceSettings), (self.vicinity, Vicinity), (self.step, str)
        for value, kind in kinds:
            if not isinstance(value, kind):
                raise ConfigError(f"A planner's settings need a {kind.__name__}; got {value!r}.")
        if not (isinstance(self.matrix, str) or callable(self.matrix)):
            raise ConfigError(
                "matrix must be the name of a scheduling matrix or a function that makes one, "
                f"(tokens, max_level, steps, uncertainty_scale) -> int [M+1, tokens]; got "
                f"{type(self.matrix).__name__}."
            )
        if isinstance(self.matrix, str):  # a function is looked at when it has made one
            scheduling_matrix(self.matrix, 1, self.steps, self.steps, self.uncertainty_scale)
        if self.step not in STEPS:
            raise unknown_name("sampling step", self.step, STEPS)


@dataclass(frozen=True)
class ForcingPlanner(Record):
    """Plans with a network trained by Diffusion Forcing.

    The start is a clean token, the goal a clean token at the end of each candidate; candidates
    have different horizons, and tokens past a horizon stay pure noise. The denoised candidates
    are compared by a score and the best is the plan:

        score = -(travel time in steps) - off_support_cost * (steps' lengths off the data) + reward

    Travel time is the sum over the plan's lines of the larger axis' distance, over the farthest
    that the body moves in a step. What the data never visited is all the planner knows of walls.

    Attributes:
        denoiser: ``(x, level) -> clean estimate``, in normalized units.
        layout: how positions become tokens; ``layout.tokens`` bounds the horizon.
        schedule: the noise schedule that the denoiser was trained with.
        statistics: what is kept of the data.
        settings: how to sample and choose.
        maze: the maze as text; handed on to the plan for drawing, and not looked at.
    """

    denoiser: Denoiser
    layout: TokenLayout
    schedule: NoiseSchedule
    statistics: Statistics
    settings: PlannerSettings = field(default_factory=PlannerSettings)
    maze: str | None = None

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
        watch: Watch | None = None,
        past: Past | None = None,
    ) -> Plan:
        """Plan from each observation to its goal, or by reward alone.

        Args:
            observation: position and velocity, [4] or [B, 4], in units of the data; or the position
                alone, [2] or [B, 2].
            goal: position, [2] or [B, 2]; or None for a plan that ``reward`` alone shapes.
            reward: added to the guidance and to the score.
            horizon: environment steps of the plan, rounded up to whole tokens; by default chosen
                for each problem.
            seed: of all noise; None draws afresh.
            trace: keep the denoising of the chosen candidate.
            watch: called with all candidates after each row of the scheduling matrix. They are
                then denoised in one batch, however many there are.
            past: the last positions, with noise or lost; its last one takes the place of the
                observation's. The plan starts from :meth:`estimate` of it, which goes into the
                plan's sequence as clean tokens, so the model's tokens limit past and plan.

        Raises:
            ObservationError: wrong shapes, values that are not finite, or an exact start or a
                goal off the data.
            ConfigError: a horizon or distance beyond what the model knows, a horizon in which
                the goal cannot be reached, neither goal nor reward, or a reward that does not
                give one finite number a plan or has no gradient.
        """
        began = time.perf_counter()
        problem, reward = self.read(observation, goal, reward, past)
        generator = noise_source(seed)
        calls = 0
        if problem.past is not None:
            past, calls = self._estimate(problem.past, generator)
            problem = problem.after(past)
        shortest, longest = self.horizons(problem, horizon)
        share = torch.linspace(0.0, 1.0, self.settings.candidates, dtype=torch.float32)
        ends = (shortest[:, None] + share * (longest - shortest)[:, None]).round().long()
        draft = self.draft(problem, ends, generator)
        matrix = self.matrix(draft)

        def seen(level: torch.Tensor, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Level [B, C, P] and points [B, C, P, 2] of all candidates."""
            level = self._of_points(level, draft.end)[:, draft.before :]
            points = self.points(clean, draft.end)[:, draft.before :]
            return level.reshape(*ends.shape, -1), points.reshape(*ends.shape, -1, 2)

        def show(rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
            if watch is not None:
                level, points = seen(*rows[-1])
                watch(Moment(len(rows), len(matrix) - 1, level.numpy(), points.numpy()))

        rows = self.denoise(draft, matrix, reward, generator, show=watch and show)
        level, points = seen(rows.level[-1], rows.clean[-1])
        score = self.score(points.flatten(0, 1), reward).view(ends.shape)
        candidates = Candidates(points, ends, level, score)

        def denoising(chosen: torch.Tensor) -> Trace:
            problems = torch.arange(len(ends))
            every = (seen(*row) for row in zip(rows.level, rows.clean, strict=True))
            return tuple(
                (level[problems, chosen].numpy(), points[problems, chosen].numpy())
                for level, points in every
            )

        return self.settle(
            problem,
            candidates,
            reward,
            evaluations=calls + ends.shape[1] * rows.evaluations,
            began=began,
            trace=denoising if trace else None,
        )

    @isolated()
    def estimate(self, past: Past, *, seed: int | None = None) -> np.ndarray:
        """Where the bodies were and are: the mean of the data given a noisy past.

        A position with Gaussian noise, scaled by ``alpha``, is a diffused token (arXiv 2407.01392,
        section 3.1: noise as partial masking), so one call of the network, which sees the whole
        past, gives that mean. A token is told at the highest level of its positions: trusted less
        than one of them deserves, rather than more. For a lost position the last one of its token
        that is not lost stands in, as noisy as far as the body may have gone from there. The first
        token holds one position ``frame_stack`` times, so its noise weighs by the root of that
        more. Goals are not shown: at a horizon that is only tried they would draw the past along.
        What comes after the present is told as lost up to the end of the window, as in training; a
        sequence that ended here would be taken for a walk that does.

        Args:
            past: see :class:`~dfplan.planning.observation_history.Past`.
            seed: of the noise in place of lost tokens; None draws afresh.

        Returns:
            Float32 [B, H, 2] in units of the data; exact positions as they came.

        Raises:
            ObservationError: see :func:`~dfplan.planning.observation_history.read_past`.
            ConfigError: more context than the window.
        """
        read = read_past(past, self.layout, self.schedule.max_level)
        return self._estimate(read, noise_source(seed))[0].positions

    def _estimate(self, past: Past, generator: torch.Generator) -> tuple[Past, int]:
        """The same past, estimated and taken for exact; the network evaluations that each took."""
        stack, normalizer = self.layout.frame_stack, self.statistics.normalizer
        known = torch.from_numpy(past.level)
        if not known.any():
            return past, 0
        told = stand_in(past, self.layout, self.statistics, self.schedule)
        first = self.schedule.level_of(self.schedule.noise_of(known[:, :1]) * stack**0.5)
        later = torch.from_numpy(told.level[:, 1:]).reshape(len(known), -1, stack).amax(2)
        level = torch.cat([first, later], 1)
        seen = self.layout.to_tokens(normalizer.normalize(torch.from_numpy(told.positions)))
        tokens = level.shape[1]
        ahead = self.layout.tokens - tokens
        level = F.pad(level, (0, ahead), value=self.schedule.max_level)
        seen = F.pad(seen, (0, 0, 0, ahead))
        noise = torch.randn(seen.shape, generator=generator, dtype=seen.dtype)
        lost = (level == self.schedule.max_level)[..., None]
        x = torch.where(lost, noise, self.schedule.alpha[level][..., None] * seen)
        size = self.settings.largest_batch
        parts = zip(torch.split(x, size), torch.split(level, size), strict=True)
        clean = torch.cat([self.denoiser(few, own) for few, own in parts])
        estimate = normalizer.unnormalize(self.layout.to_frames(clean[:, :tokens])).numpy()
        exact = past.level[..., None] == 0
        return Past(np.where(exact, past.positions, estimate), np.zeros_like(past.level)), 1

    def tracker(self) -> Pursuit:
        """Pure pursuit with gains that follow from the data's motion."""
        return Pursuit(pursuit_gains(self.statistics.motion), self._max_step)

    @property
    def _max_step(self) -> float:
        return self.statistics.motion.max_step

    def read(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None,
        reward: Reward | None,
        past: Past | None = None,
    ) -> tuple[Problem, Reward | None]:
        """The checked problem and reward; raises what :meth:`plan` says of them."""
        problem = read_problem(observation, goal)
        if past is not None:
            read = read_past(past, self.layout, self.schedule.max_level, len(problem))
            problem = problem.after(read)
        problem.require_known(self.statistics, self.settings.vicinity)
        if goal is None and reward is None:
            raise ConfigError("A plan needs a goal, a reward, or both; got neither.")
        return problem, None if reward is None else checked(reward)

    def horizons(self, problem: Problem, horizon: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens after the present of each problem's shortest and longest plan, int [B] each.

        Args:
            problem: what is asked.
            horizon: environment steps, for plans of just that length.

        Raises:
            ConfigError: a horizon that the model cannot plan over, or that is too short.
        """
        token_steps = self.layout.token_steps
        before = 0 if problem.past is None else problem.past.tokens(self.layout) - 1
        limit = self.longest_horizon - before * token_steps
        steps = limit if horizon is None else horizon
        if not (isinstance(steps, int | np.integer) and 1 <= steps <= limit):
            raise ConfigError(
                f"This model plans over 1 to {limit} environment steps, a whole "
                f"number; got a horizon of {horizon!r}. Replan on the way, or train with more "
                "tokens."
            )
        longest = torch.full((len(problem),), -(-steps // token_steps))
        if problem.goal is None:
            return longest, longest
        # Horizons in which not even a straight line at top speed arrives are not worth a sample.
        away = (torch.from_numpy(problem.goal) - problem.start).abs().amax(1)
        shortest = (away / (self._max_step * token_steps)).ceil().clamp_min(1).long()
        if (shortest > longest).any():
            row = int(shortest.argmax())
            raise ConfigError(
                f"The goal of row {row} is {away[row]:.3g} away, which takes at least "
                f"{int(shortest[row]) * token_steps} steps; got a horizon of {steps}, and this "
                f"model's longest is {limit}. Give a longer horizon, plan to a "
                "nearer goal first, or train with more tokens.",
                rows=named_first((shortest > longest).numpy(), row),
            )
        return shortest if horizon is None else longest, longest

    def draft(self, problem: Problem, ends: torch.Tensor, generator: torch.Generator) -> Draft:
        """Noise between each problem's start and its goal at ``ends``, int [B, C]; S = B * C."""
        if problem.past is None:
            known = problem.start[:, None]
        else:
            known = torch.from_numpy(problem.past.positions)
        context = self.layout.to_tokens(self.statistics.normalizer.normalize(known))
        tokens = context.shape[1]
        count, end = ends.shape[1], ends.flatten() + tokens - 1
        index = torch.arange(int(end.max()) + 1)
        shape = len(end), len(index), self.layout.features
        x = torch.randn(shape, generator=generator, dtype=torch.float32)
        held = torch.where(index <= end[:, None], FREE, self.schedule.max_level)
        x[:, :tokens], held[:, :tokens] = context.repeat_interleave(count, 0), 0
        if problem.goal is not None:
            goal = self.token(torch.from_numpy(problem.goal)).repeat_interleave(count, 0)
            row = torch.arange(len(end))
            x[row, end], held[row, end] = goal, 0
        return Draft(x, held, end, known.shape[1] - 1)

    def denoise(
        self,
        draft: Draft,
        matrix: torch.Tensor,
        reward: Reward | None,
        generator: torch.Generator,
        weight: torch.Tensor | None = None,
        show: Show | None = None,
    ) -> Rows:
        """Denoise drafts along ``matrix`` [M+1, S, T], as many at a time as the batch allows.

        Args:
            draft: what is known, and noise.
            matrix: scheduling matrix.
            reward: added to the guidance.
            generator: draws the noise of steps and futures.
            weight: of the guidance of each, float [S]; by default 1.
            show: called after each row with (level [S, T], clean [S, T, D]) of all rows so far;
                all S are then one batch.
        """
        size = max(1, self.settings.largest_batch // self.settings.futures)
        if show is not None:
            size = len(draft.end)
        parts = []
        for first in range(0, len(draft.end), size):
            part = slice(first, first + size)
            few = Draft(draft.x[part], draft.held[part], draft.end[part], draft.before)
            own = None if weight is None else weight[part]
            parts.append(self._denoise(few, matrix[:, part], reward, generator, own, show))
        return Rows(
            level=torch.cat([part.level for part in parts], 1),
            clean=torch.cat([part.clean for part in parts], 1),
            evaluations=parts[0].evaluations,
        )

    def _denoise(
        self,
        draft: Draft,
        matrix: torch.Tensor,
        reward: Reward | None,
        generator: torch.Generator,
        weight: torch.Tensor | None,
        show: Show | None,
    ) -> Rows:
        settings = self.settings
        rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        calls: list[int] = []

        def counted(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return self.denoiser(x, level)

        denoiser = guided(
            counted,
            self._value(draft, reward),
            self.schedule,
            self._guidance,
            unit=self.statistics.normalizer.std.repeat(self.layout.frame_stack),
            weight=weight,
            futures=settings.futures,
            generator=generator,
        )

        def keep(x: torch.Tensor, clean: torch.Tensor, level: torch.Tensor) -> None:
            # A token that has arrived is what the step made of it; others, what they seem to be.
            rows.append((level, torch.where((level == 0)[..., None], x, clean)))
            if show is not None:
                show(rows)

        step = sampling_step(settings.step, self.schedule)
        sample(denoiser, draft.x, matrix, step=step, generator=generator, callback=keep)
        return Rows(
            level=torch.stack([level for level, _ in rows]),
            clean=torch.stack([clean for _, clean in rows]),
            evaluations=sum(calls) // len(draft.end),
        )

    def matrix(self, draft: Draft) -> torch.Tensor:
        """The scheduling matrix of a draft by the settings, int [M+1, S, T]."""
        return hold(self._inner_matrix((draft.held == FREE).sum(1).clamp_min(1)), draft.held)

    def cost(self, tokens: int) -> int:
        """Network evaluations that denoising one sequence of ``tokens`` free tokens takes."""
        futures, guidance = self.settings.futures, self.settings.guidance
        if guidance.scale == 0:
            futures = 1
        elif guidance.future_steps > 1:
            futures = 1 + futures * guidance.future_steps
        return futures * (len(self._inner_matrix(tokens)) - 1)

    def _inner_matrix(self, free: Tokens) -> torch.Tensor:
        """Levels of the free tokens alone, the rows that are run."""
        settings = self.settings
        inner = scheduling_matrix(
            settings.matrix,
            free,
            self.schedule.max_level,
            settings.steps,
            settings.uncertainty_scale,
        )
        return inner[: 1 + math.ceil(settings.rows * (len(inner) - 1))]

    def token(self, positions: torch.Tensor) -> torch.Tensor:
        """Clean tokens [B, D] that hold one position [B, 2] each."""
        return self.statistics.normalizer.normalize(positions).repeat(1, self.layout.frame_stack)

    def _of_points(self, tokens: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """What each point's token has of ``tokens`` [S, T], ``end`` after it; [S, P]."""
        stack, frames = self.layout.frame_stack, 1 + (tokens.shape[1] - 1) * self.layout.frame_stack
        token = torch.minimum((torch.arange(frames) + stack - 1) // stack, end[:, None])
        return tokens.gather(1, token)

    def points(self, clean: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """Positions [S, P, 2] in physical units, the last repeated after ``end``."""
        frames = self.layout.to_frames(clean)
        frame = torch.arange(frames.shape[1])
        frame = torch.minimum(frame, end[:, None] * self.layout.frame_stack)
        frames = frames.gather(1, frame[..., None].expand(-1, -1, 2))
        return self.statistics.normalizer.unnormalize(frames)

    def _steps(self, points: torch.Tensor) -> torch.Tensor:
        """The environment step of each of ``points`` [S, P, 2]; float [P]."""
        return torch.arange(points.shape[1], dtype=points.dtype) * float(self.layout.stride)

    @isolated()
    def pull(self, points: np.ndarray, reward: Reward | None = None) -> np.ndarray:
        """Where guidance pulls each point of plans: the gradient of what it climbs.

        Args:
            points: positions, ``layout.stride`` steps apart; float [B, P, 2].
            reward: as of :meth:`plan`, added to the planner's own.

        Raises:
            ObservationError: no such points, or numbers that are not finite.

        Returns:
            Float32 [B, P, 2]: reward a unit of position. Guidance moves a point by
            ``settings.guidance.scale`` times this, and by no more than its ``max_move``.
        """
        places = copy_array(points, np.float32)
        if places.ndim != 3 or places.shape[2] != 2 or not np.isfinite(places).all():
            raise ObservationError(
                f"Points of plans must be finite numbers [B, P, 2]; got {points!r:.200}."
            )
        leaf = torch.from_numpy(places).requires_grad_()
        with torch.enable_grad():
            earned = self._climbed(None if reward is None else checked(reward))(
                leaf, self._steps(leaf)
            )
            (gradient,) = torch.autograd.grad(earned.sum(), leaf)
        return np.asarray(gradient)

    def _climbed(self, reward: Reward | None) -> Reward:
        """What guidance climbs: taut, on the data, and the caller's reward."""
        settings = self.settings
        own = settings.tautness * Short() + settings.caution * OnSupport(self.statistics.support)
        return own if reward is None else own + reward

    @property
    def _guidance(self) -> GuidanceSettings:
        """The guidance, its ``max_move`` in units of position."""
        guidance = self.settings.guidance
        return replace(guidance, max_move=guidance.max_move * self._max_step)

    def _value(self, draft: Draft, reward: Reward | None) -> Value:
        climbed = self._climbed(reward)

        def value(clean: torch.Tensor) -> torch.Tensor:
            end = draft.end.repeat(len(clean) // len(draft.end))
            points = self.points(clean, end)[:, draft.before :]
            return climbed(points, self._steps(points))

        return value

    def settle(
        self,
        problem: Problem,
        candidates: Candidates,
        reward: Reward | None,
        *,
        evaluations: int,
        began: float,
        trace: Callable[[torch.Tensor], Trace] | None = None,
    ) -> Plan:
        """The plan: each problem's best candidate, polished.

        Of several finalists it is the one that is best when all are polished.

        Args:
            problem: what was asked.
            candidates: to choose from.
            reward: that was asked for.
            evaluations: network evaluations a problem.
            began: ``time.perf_counter()`` when planning began.
            trace: from the index of each problem's chosen candidate, int [B], to the trace of
                :class:`~dfplan.types.Plan`.
        """
        order = candidates.scores.argsort(dim=1, descending=True, stable=True)
        finalists = order[:, : self.settings.finalists]
        row = torch.arange(len(problem))[:, None]
        # The last point is given only where there is a goal.
        inner = candidates.end[row, finalists] * self.layout.frame_stack - (
            0 if problem.goal is None else 1
        )
        points, rough = candidates.points[row, finalists], candidates.scores[row, finalists]
        polished = self._polish(points.flatten(0, 1), inner.flatten(), reward)
        fine = self.score(polished, reward).view(rough.shape)
        # A strong reward may pull a line off the data.
        points = torch.where((fine >= rough)[..., None, None], polished.view(points.shape), points)
        row, winner = row[:, 0], torch.maximum(fine, rough).argmax(1)
        best, chosen = finalists[row, winner], points[row, winner]
        end = candidates.end[row, best]
        return Plan(
            points=chosen.numpy(),
            steps=end.numpy() * self.layout.token_steps,
            stride=self.layout.stride,
            level=candidates.level[row, best].numpy(),
            max_level=self.schedule.max_level,
            spread=_spread(chosen, candidates.points).numpy(),
            candidates=candidates.points.numpy(),
            scores=candidates.scores.numpy(),
            observation=problem.observation,
            goal=problem.goal,
            evaluations=evaluations,
            seconds=time.perf_counter() - began,
            trace=() if trace is None else trace(best),
            maze=self.maze,
            past=None if problem.past is None else problem.past.positions,
        )

    def _polish(
        self, points: torch.Tensor, last: torch.Tensor, reward: Reward | None
    ) -> torch.Tensor:
        """Climb the same reward a little longer with the points 1 to ``last`` [B] of each plan."""
        guidance = self._guidance
        frame = torch.arange(points.shape[1])
        free = ((frame > 0) & (frame <= last[:, None]))[..., None].float() * guidance.scale
        climbed, steps = self._climbed(reward), self._steps(points)

        def value(points: torch.Tensor) -> torch.Tensor:
            return climbed(points, steps)

        # A caller's reward may be steep; the planner's own terms are not.
        settling = reward is not None
        iterations, max_move = self.settings.polish, guidance.max_move
        return climb(value, points, free, iterations, max_move, settling=settling)

    def off_support(self, points: torch.Tensor) -> torch.Tensor:
        """Share of each line of ``points`` [S, P, 2] farther than the margin from the data.

        Float [S, P - 1].
        """
        between = 4
        distance = self.statistics.support.distance(on_lines(points, between))
        off = (distance > self.settings.margin * self._max_step).float()
        return off.view(*points.diff(dim=1).shape[:-1], between).mean(-1)

    def score(self, points: torch.Tensor, reward: Reward | None) -> torch.Tensor:
        """The score in the class's docstring, of points [S, P, 2]; [S]."""
        line = points.diff(dim=1).abs().amax(-1) / self._max_step
        off_length = (self.off_support(points) * line).sum(-1)
        score = -line.sum(-1) - self.settings.off_support_cost * off_length
        return score if reward is None else score + reward(points, self._steps(points))


def _spread(points: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """How far candidates [B, C, P, 2] pass from each of ``points`` [B, P, 2]; [B, P].

    The root mean square over candidates of the distance to the candidate's line: where it passes
    counts, and not when.
    """
    squared = [squared_distance_to_line(points, line) for line in candidates.unbind(1)]
    return torch.stack(squared).mean(0).sqrt()
