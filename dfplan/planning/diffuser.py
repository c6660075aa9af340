"""The planner of Diffuser (arXiv 2205.09991), a baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from dfplan.boundary import isolated
from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, require_numbers
from dfplan.planning.query import Problem, Vicinity, noise_source, read_problem
from dfplan.planning.trackers import TimedPD
from dfplan.record import Record
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.steps import ancestral
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import transition_limits
from dfplan.types import Denoiser, Plan, Reward


@dataclass(frozen=True)
class DiffuserPlanner(Record):
    """Plans a fixed number of steps with a network trained by full-sequence diffusion.

    A token is a transition: action, position, velocity. The first holds the observation, the
    last the goal at rest; both are clean tokens, their actions 0. The others are denoised together
    through every one of the K levels by DDPM's step, each clean estimate clipped to the limits of
    the data. One sample is the plan. Its own controller executes no actions; for those who do
    (:class:`~dfplan.planning.trackers.DiffusedActions`), the plan repeats the action of the second
    token at the first, which was not diffused, and so begins one step early with it.

    Attributes:
        denoiser: ``(x, level) -> clean estimate``, in units of the data's limits.
        horizon: H, transitions of a plan, one environment step apart.
        schedule: the noise schedule that the denoiser was trained with.
        statistics: what is kept of the data.
        vicinity: how far off the data starts and goals may lie.
        largest_batch: plans in one network call.
        maze: the maze as text; handed on to the plan for drawing, and not looked at.
    """

    denoiser: Denoiser
    horizon: int
    schedule: NoiseSchedule
    statistics: Statistics
    vicinity: Vicinity = field(default_factory=Vicinity)
    largest_batch: int = 64
    maze: str | None = None

    def __post_init__(self) -> None:
        require_numbers(vars(self), "horizon", whole=True, least=2)
        require_numbers(vars(self), "largest_batch", whole=True, least=1)

    def tracker(self) -> TimedPD:
        """Diffuser's controller: to the next planned state, both gains 1."""
        return TimedPD(1.0, 1.0)

    @isolated()
    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """Plan from each observation to be at its goal, at rest, after H - 1 steps.

        Args:
            observation: position and velocity, [4] or [B, 4], in units of the data.
            goal: position, [2] or [B, 2].
            reward: not supported; must be None.
            horizon: environment steps of the plan; None or H - 1.
            seed: of all noise; None draws afresh.

        Raises:
            ObservationError: wrong shapes, values that are not finite, or a start or goal off
                the data.
            ConfigError: no goal, a reward, or another horizon.
        """
        began = time.perf_counter()
        problem = read_problem(observation, goal)
        problem.require_known(self.statistics, self.vicinity)
        self._require_supported(problem, reward, horizon)
        generator = noise_source(seed)
        parts = [
            self._sample(problem.rows(slice(first, first + self.largest_batch)), generator)
            for first in range(0, len(problem), self.largest_batch)
        ]
        transitions = transition_limits(self.statistics).unnormalize(torch.cat(parts)).numpy()
        points, actions = transitions[..., 2:4].copy(), transitions[..., :2].copy()
        actions[:, 0] = actions[:, 1]
        batch, steps = points.shape[:2]
        return Plan(
            points=points,
            steps=np.full(batch, steps - 1),
            stride=1,
            level=np.zeros((batch, steps), dtype=np.int64),
            max_level=self.schedule.max_level,
            spread=np.zeros((batch, steps), dtype=np.float32),
            candidates=points[:, None],
            scores=np.zeros((batch, 1), dtype=np.float32),
            observation=problem.observation,
            goal=problem.goal,
            evaluations=self.schedule.max_level,
            seconds=time.perf_counter() - began,
            maze=self.maze,
            velocities=transitions[..., 4:].copy(),
            actions=actions,
        )

    def _require_supported(
        self, problem: Problem, reward: Reward | None, horizon: int | None
    ) -> None:
        if problem.goal is None or reward is not None:
            raise ConfigError(
                "Diffuser, as built here, plans to a goal and is not guided; pass a goal and no "
                "reward, or use a planner trained by Diffusion Forcing."
            )
        if horizon not in (None, self.horizon - 1):
            raise ConfigError(
                f"This Diffuser plans over {self.horizon - 1} environment steps and no other "
                f"number; got a horizon of {horizon}. Leave it out, or train another."
            )

    def _sample(self, problem: Problem, generator: torch.Generator) -> torch.Tensor:
        """Normalized transitions [B, H, 6] for all problems at once."""
        limits, max_level = transition_limits(self.statistics), self.schedule.max_level
        ends = torch.zeros(len(problem), 2, 6, dtype=torch.float32)
        ends[:, 0, 2:] = torch.from_numpy(problem.observation)
        ends[:, 1, 2:4] = torch.from_numpy(problem.goal)
        shape = len(problem), self.horizon, 6
        x = torch.randn(shape, generator=generator, dtype=torch.float32)
        x[:, [0, -1]] = limits.normalize(ends)
        x[:, [0, -1], :2] = 0.0
        matrix = scheduling_matrix("full_sequence", self.horizon, max_level, max_level)
        matrix[:, [0, -1]] = 0

        def clipped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return self.denoiser(x, level).clamp(-1.0, 1.0)

        return sample(clipped, x, matrix, step=ancestral(self.schedule), generator=generator)
