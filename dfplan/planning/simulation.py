"""Simulated episodes of the fitted body, and what they say about a plan.

*Tracking spread* means, everywhere in dfplan, how far the body passes from a plan that it follows.
The *probability of success* of a plan is that of reaching its goal in time by following it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfplan.errors import ConfigError, require_numbers
from dfplan.planning.disturbance import Disturbance, Disturber
from dfplan.planning.trackers import LowLevel, Tracker
from dfplan.record import Record
from dfplan.tokens.free_region import Clearance, free_region
from dfplan.tokens.statistics import Statistics
from dfplan.types import Plan

_UNDISTURBED = Disturbance()

_SLACK = 1.0
"""A body may be this far outside the visited region, in steps at top speed."""


@dataclass(frozen=True)
class SimulatedEpisodes(Record):
    """N episodes of each of B plans.

    Attributes:
        positions: before the first step and after each of S steps, float32 [B, N, S + 1, 2].
    """

    positions: np.ndarray

    def passing_distances(self, plan: Plan) -> np.ndarray:
        """How closely each episode passes each point of its plan, float32 [B, N, P]."""
        distance = np.empty((*self.positions.shape[:2], plan.points.shape[1]), np.float32)
        for row, points in enumerate(plan.points):
            distance[row] = passing_distances(points, self.positions[row])
        return distance

    def steps_to(self, goals: np.ndarray, radius: float) -> np.ndarray:
        """First step that ends within ``radius`` of ``goals`` [B, 2]; S + 1 if none; int [B, N]."""
        away = np.linalg.norm(self.positions[:, :, 1:] - goals[:, None, None], axis=-1)
        inside = away <= radius
        first = np.where(inside.any(2), inside.argmax(2), inside.shape[2])
        return np.asarray(first + 1)


def passing_distances(points: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """How closely ``paths`` [N, S, 2] pass each of ``points`` [P, 2], float [N, P]."""
    squared = np.full((len(paths), len(points)), np.inf, np.float32)
    for first in range(0, paths.shape[1], 64):  # in parts, for memory
        part = paths[:, first : first + 64, None] - points[None, None]
        squared = np.minimum(squared, np.square(part).sum(-1).min(1))
    return np.asarray(np.sqrt(squared))


def simulate(
    plan: Plan,
    statistics: Statistics,
    tracker: Tracker,
    *,
    steps: int,
    episodes: int = 32,
    disturbance: Disturbance = _UNDISTURBED,
    seed: int | None = None,
) -> SimulatedEpisodes:
    """Let the fitted body follow plans, without making new ones.

    The body moves as :class:`~dfplan.tokens.motion.Motion` says, and slides along the edge of
    the visited region. Recorded jumps do not happen; a plan knows them as
    its :attr:`~dfplan.types.Plan.futures`.

    Args:
        plan: for B queries; it begins with the velocities of its observations.
        statistics: of the data.
        tracker: follows the plans. Plans are assigned to it.
        steps: S, environment steps of each episode.
        episodes: N, of each plan.
        disturbance: pushes and noise.
        seed: of them; None draws a random one.

    Raises:
        ConfigError: ``steps`` or ``episodes`` is not a positive number, or the tracker is a
            low-level policy: the fitted body has no joints.
    """
    if isinstance(tracker, LowLevel):
        raise ConfigError(
            "Only a body that a force or a displacement moves is simulated; this one is moved by a "
            "low-level policy. Run episodes in its environment: dfplan evaluate."
        )
    require_numbers({"steps": steps, "episodes": episodes}, integer=True, minimum=1)
    count, motion = len(plan), statistics.motion
    region = _VisitedRegion(statistics)
    layout, rows = plan.layout, np.arange(count)
    for episode in range(episodes):
        tracker.assign(rows + episode * count, plan)
    states = np.tile(plan.observation.astype(np.float64), (episodes, 1))
    position = np.tile(plan.points[:, 0].astype(np.float64), (episodes, 1))
    velocity = layout.velocities(states)
    velocity = np.zeros_like(position) if velocity is None else velocity.copy()
    disturber = Disturber(disturbance, np.random.default_rng(seed))
    path = np.empty((steps + 1, len(position), 2), np.float32)
    path[0] = position
    for step in range(1, steps + 1):
        states[:, list(layout.position)] = position
        if layout.velocity is not None:
            states[:, list(layout.velocity)] = velocity
        action = disturber.acted(tracker.act(disturber.observed(states, layout)))
        position, velocity = region.slide(*motion.advance(position, velocity, action))
        path[step] = position
    paths = path.reshape(steps + 1, episodes, count, 2)
    return SimulatedEpisodes(np.ascontiguousarray(paths.transpose(2, 1, 0, 3)))


class _VisitedRegion:
    """The visited region, at whose edge a body slides along.

    The edge is smooth: on single cells a body would get stuck.
    """

    def __init__(self, statistics: Statistics) -> None:
        none = np.zeros((0, 2))
        region = free_region(statistics.support, none, none, Clearance(0.0, 0.0))
        self._origin = region.origin.numpy().astype(np.float64)
        self._resolution = region.resolution
        field = region.field.numpy().astype(np.float64)
        self._fields = np.stack([field, *(each / region.resolution for each in np.gradient(field))])

    def slide(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bodies back at the edge if they have left the region, and their velocities; [B, 2]."""
        distance, *normal = self._at(positions)
        out = np.stack(normal, 1)
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
        beyond = (distance - _SLACK * self._resolution).clip(0.0)[:, None]
        speed = np.where(beyond > 0, (velocities * out).sum(1, keepdims=True).clip(0.0), 0.0)
        return positions - beyond * out, velocities - speed * out

    def _at(self, positions: np.ndarray) -> np.ndarray:
        """The distance from the region and its gradient, interpolated; [3, B]."""
        place = (positions - self._origin) / self._resolution - 0.5
        place = place.clip(0.0, np.array(self._fields.shape[1:]) - 1.001)
        low = place.astype(int)
        (s, t), (i, j) = (place - low).T, low.T
        f = self._fields
        return np.asarray(
            (1 - s) * (1 - t) * f[:, i, j]
            + s * (1 - t) * f[:, i + 1, j]
            + (1 - s) * t * f[:, i, j + 1]
            + s * t * f[:, i + 1, j + 1]
        )
