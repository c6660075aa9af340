"""A planner that joins windows from both ends, without a roadmap.

Two trees grow, one from the start and one from the goal. A node is a place and the line to it. In
each round, windows are sampled from places of both trees: forward with a clean first token,
backward with a clean last one. A line is dropped from where it leaves the data. Its places become
nodes where the tree has none nearby. When a place of one tree is close to one of the other, and the
line between them does not leave the data, the two lines are joined.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dfplan.planning.denoise import denoise
from dfplan.planning.objective import PlanObjective
from dfplan.planning.partial_plan import PartialPlan
from dfplan.planning.planner import BasePlanner, PlanArguments
from dfplan.planning.query import noise_generator
from dfplan.planning.route import TimedLine
from dfplan.planning.single import ForcingPlanner
from dfplan.sampling.matrices import FREE
from dfplan.sampling.model import SequenceModel
from dfplan.types import Plan

_ROUNDS = 40
_WINDOWS = 32
"""Windows that are sampled from each tree in a round."""
_STEPS = 8
"""Network calls for each window."""
_APART = 7.0
"""Distance between places of a tree, in steps at top speed."""
_MEET = 12.0
"""Distance at which two places can be joined, in steps at top speed."""


@dataclass
class _Tree:
    """Places, each with the line from the root to it."""

    places: list[np.ndarray]
    lines: list[np.ndarray]
    tries: list[int] = field(default_factory=lambda: [0])

    def choose(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Indices of the places that were tried least, with repetitions if there are few."""
        order = np.lexsort((rng.random(len(self.places)), self.tries))
        chosen: np.ndarray = np.resize(order[:count], count)
        for index in chosen:
            self.tries[index] += 1
        return chosen


@dataclass(frozen=True)
class BothEnds(BasePlanner):
    """Plans one query along a line that is found by windows from both ends."""

    planner: ForcingPlanner

    def make_plan(self, arguments: PlanArguments) -> Plan:
        """See :class:`BasePlanner`."""
        began = time.perf_counter()
        model = self.planner.model
        model = replace(model, statistics=replace(model.statistics, roadmap=None))
        inner = replace(self.planner, model=model)
        assert arguments.goal is not None
        start = model.layout.observation.positions(np.asarray(arguments.observation))[0]
        line, evaluations = _search(inner, start, arguments.goal[0], arguments.seed)
        plan = replace(arguments, warm_start=[line]).plan_with(inner)
        return replace(
            plan,
            evaluations=plan.evaluations + evaluations,
            seconds=time.perf_counter() - began,
        )


def _sampling(planner: ForcingPlanner) -> ForcingPlanner:
    """The planner with settings for windows that spread over the data."""
    return planner.with_settings(steps=_STEPS, step="ddpm", smoothness_weight=0.0)


def _search(
    planner: ForcingPlanner, start: np.ndarray, goal: np.ndarray, seed: int | None
) -> tuple[TimedLine, int]:
    """A line from ``start`` [2] to ``goal`` [2], and the network evaluations that it took."""
    model = planner.model
    objective = PlanObjective(_sampling(planner).settings, model)
    step = model.statistics.motion.max_step
    generator, rng = noise_generator(seed), np.random.default_rng(seed)
    trees = [_Tree([root], [root[None]]) for root in np.float32([start, goal])]
    evaluations = 0
    for _ in range(_ROUNDS):
        line = _meeting(trees, objective, step)
        if line is not None:
            return _timed(line, step), evaluations
        for tree, backward in zip(trees, (False, True), strict=True):
            chosen = tree.choose(_WINDOWS, rng)
            roots = np.stack([tree.places[index] for index in chosen])
            lines = _windows(model, objective, roots, backward, generator)
            evaluations += _STEPS * len(chosen)
            off = objective.off_support(torch.from_numpy(lines.copy())).numpy() > 0
            lengths = 1 + np.where(off.any(1), off.argmax(1), off.shape[1])
            for index, window, length in zip(chosen, lines, lengths, strict=True):
                _grow(tree, int(index), window[:length], _APART * step)
    line = np.concatenate([trees[0].lines[-1], trees[1].lines[-1][::-1]])  # leaves the data
    return _timed(line, step), evaluations


def _timed(line: np.ndarray, step: float) -> TimedLine:
    """``line`` [P, 2], walked a little slower than at top speed."""
    points = line.astype(np.float64)
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    return TimedLine(points, 1.2 * length / step)


def _windows(
    model: SequenceModel,
    objective: PlanObjective,
    roots: np.ndarray,
    backward: bool,
    generator: torch.Generator,
) -> np.ndarray:
    """Lines [R, P, 2] of windows, from ``roots`` [R, 2] on; backward in time if ``backward``."""
    layout = model.layout
    normalizer = model.statistics.normalizer.first(2)
    shape = len(roots), layout.tokens
    x = torch.randn(*shape, layout.token_width, generator=generator)
    held = torch.full(shape, FREE)
    root = -1 if backward else 0
    x[:, root] = layout.goal_token(normalizer.normalize(torch.from_numpy(roots)))
    held[:, root] = 0
    if backward:
        held[:, 0] = model.schedule.max_level  # the first token is special: it repeats its frame
    partial = PartialPlan(x, held, torch.full((len(roots),), layout.tokens - 1))
    clean = denoise(partial, model, objective, generator).clean[-1]
    lines = model.states(clean, partial.end)[..., layout.position].numpy()
    return lines[:, :0:-1] if backward else lines


def _grow(tree: _Tree, parent: int, window: np.ndarray, apart: float) -> None:
    """Add the places of ``window`` [P, 2], which leads away from ``parent``, that are new."""
    for last in range(1, len(window)):
        place = window[last]
        if np.abs(np.stack(tree.places) - place).max(1).min() > apart:
            tree.places.append(place)
            tree.lines.append(np.concatenate([tree.lines[parent], window[1 : last + 1]]))
            tree.tries.append(0)


def _meeting(trees: list[_Tree], objective: PlanObjective, step: float) -> np.ndarray | None:
    """The shortest line [P, 2] through two places that can be joined."""
    forward, backward = (np.stack(tree.places) for tree in trees)
    away = np.abs(forward[:, None] - backward).max(-1)
    best: np.ndarray | None = None
    for one, other in np.argwhere(away < _MEET * step):
        between = np.stack([forward[one], backward[other]])
        if objective.off_support(torch.from_numpy(between[None])).sum() > 0:
            continue
        line = np.concatenate([trees[0].lines[one], trees[1].lines[other][::-1]])
        if best is None or _length(line) < _length(best):
            best = line
    return best


def _length(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
