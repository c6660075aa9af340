"""The planner of Diffuser (arXiv 2205.09991), a baseline."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from dfplan.blocks import blocks
from dfplan.diffusion.schedules import NoiseSchedule
from dfplan.errors import ConfigError, require_class, require_function, require_numbers
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import (
    MAX_GOAL_DISTANCE,
    MAX_START_DISTANCE,
    PlanQuery,
    noise_generator,
    read_query,
)
from dfplan.planning.trackers import TimedPD
from dfplan.record import Record
from dfplan.sampling.loop import sample
from dfplan.sampling.matrices import scheduling_matrix
from dfplan.sampling.steps import ancestral
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.transitions import (
    ACTION,
    POSITION,
    STATE,
    VELOCITY,
    WIDTH,
    transition_limits,
)
from dfplan.types import Denoiser, Plan


@dataclass(frozen=True)
class DiffuserPlanner(Record, BasePlanner):
    """Plans a fixed number of steps with a network trained by full-sequence diffusion.

    A token is a transition: action, position, velocity. The first token holds the observation and
    the last one the goal at rest; both are clean, with action 0. The others are denoised together
    through all K levels by DDPM's step, and each clean estimate is clipped to the limits of the
    data. The plan is one sample. The default tracker does not execute the planned actions. For
    trackers that do (:class:`~dfplan.planning.trackers.PlannedActions`), the first action, which is
    not sampled, is a copy of the second.

    Attributes:
        denoiser: ``(x, level) -> clean estimate``, in units of the data's limits.
        horizon: H, transitions of a plan, one environment step apart.
        schedule: the noise schedule that the denoiser was trained with.
        statistics: statistics of the data.
        max_start_distance: largest distance of a start from the data, in lengths of one step at
            top speed.
        max_goal_distance: largest distance of a goal from the data, in the same unit.
        largest_batch: most plans in one network call.
        maze: the maze as text. It is copied to plans for drawing and not used otherwise.
    """

    supports = frozenset()

    denoiser: Denoiser
    horizon: int
    schedule: NoiseSchedule
    statistics: Statistics
    max_start_distance: float = MAX_START_DISTANCE
    max_goal_distance: float = MAX_GOAL_DISTANCE
    largest_batch: int = 64
    maze: str | None = None

    def __post_init__(self) -> None:
        require_function("denoiser", self.denoiser, "x", "level")
        require_class(NoiseSchedule, schedule=self.schedule)
        require_class(Statistics, statistics=self.statistics)
        require_numbers(vars(self), "horizon", integer=True, minimum=2)
        require_numbers(vars(self), "largest_batch", integer=True, minimum=1)
        distances = ("max_start_distance", "max_goal_distance")
        require_numbers(vars(self), *distances, minimum=0, maximum=math.inf)

    def tracker(self) -> TimedPD:
        """Diffuser's controller: toward the next planned state, with gains 1 and 1."""
        return TimedPD(1.0, 1.0)

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """Plan paths of H transitions, the horizon of the model, that end at rest at the goals.

        The horizon must be None or H - 1.

        Raises:
            ObservationError: wrong shapes, values that are not finite, or a start or goal that is
                too far from the data.
            ConfigError: no goal, or another horizon.
        """
        began = time.perf_counter()
        query = read_query(arguments.observation, arguments.goal)
        query.require_near_data(self.statistics, self.max_start_distance, self.max_goal_distance)
        self._require_supported(arguments)
        generator = noise_generator(arguments.seed)
        parts = [
            self._sample(query.part(rows), generator)
            for rows in blocks(len(query), self.largest_batch)
        ]
        transitions = transition_limits(self.statistics).unnormalize(torch.cat(parts)).numpy()
        points, actions = transitions[..., POSITION].copy(), transitions[..., ACTION].copy()
        actions[:, 0] = actions[:, 1]
        batch, steps = points.shape[:2]
        return Plan(
            points=points,
            steps=np.full(batch, steps - 1),
            stride=1,
            level=np.zeros((batch, steps), dtype=np.int64),
            max_level=self.schedule.max_level,
            candidates=points[:, None],
            scores=np.zeros((batch, 1), dtype=np.float32),
            observation=query.observation,
            goal=query.goal,
            evaluations=self.schedule.max_level,
            seconds=time.perf_counter() - began,
            max_step=self.statistics.motion.max_step,
            maze=self.maze,
            velocities=transitions[..., VELOCITY].copy(),
            actions=actions[:, :-1],
        )

    def _require_supported(self, arguments: PlanArguments) -> None:
        if arguments.goal is None:
            raise ConfigError(
                "This implementation of Diffuser needs a goal. Pass one, or use a planner trained "
                "by Diffusion Forcing."
            )
        if arguments.horizon not in (None, self.horizon - 1):
            raise ConfigError(
                f"This Diffuser plans over exactly {self.horizon - 1} environment steps; got a "
                f"horizon of {arguments.horizon}. Leave the horizon out, or train for another."
            )

    def _sample(self, query: PlanQuery, generator: torch.Generator) -> torch.Tensor:
        """Sample normalized transitions [B, H, 6] for all queries at once."""
        limits, max_level = transition_limits(self.statistics), self.schedule.max_level
        ends = torch.zeros(len(query), 2, WIDTH, dtype=torch.float32)
        ends[:, 0, STATE] = torch.from_numpy(query.observation)
        ends[:, 1, POSITION] = torch.from_numpy(query.goal)
        shape = len(query), self.horizon, WIDTH
        x = torch.randn(shape, generator=generator, dtype=torch.float32)
        x[:, [0, -1]] = limits.normalize(ends)
        x[:, [0, -1], ACTION] = 0.0
        matrix = scheduling_matrix("full_sequence", self.horizon, max_level, max_level)
        matrix[:, [0, -1]] = 0

        def clipped(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return self.denoiser(x, level).clamp(-1.0, 1.0)

        return sample(clipped, x, matrix, step=ancestral(self.schedule), generator=generator)
