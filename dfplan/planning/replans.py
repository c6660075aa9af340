"""Plans that are made again with other noise, and how far a plan moves if it is made again.

This is what the word *plan spread* means everywhere in dfplan: how far a point of a plan would move
if the plan were made again with another seed.
"""

from __future__ import annotations

import numpy as np
import torch

from dfplan.planning.partial_plan import Candidates
from dfplan.planning.rewards import squared_distance_to_line

_NEARBY = (-1, 0, 1, 2)
"""Candidates near the best one whose horizons are used again, by their index."""


def ends_again(ends: torch.Tensor, best: torch.Tensor | None, count: int) -> torch.Tensor:
    """The last tokens of the candidates of plans that are made again, int [B, count * C'].

    Args:
        ends: of the plan's candidates, int [B, C], ascending.
        best: index of the best candidate of each query, int [B]. Only horizons near its own are
            used again, since the others would lose again. None for all horizons.
        count: how often the plans are made again.
    """
    if best is not None:
        near = best[:, None] + torch.tensor(_NEARBY)
        ends = ends.gather(1, near.clamp(0, ends.shape[1] - 1))
    return ends.repeat(1, count)


def best_of_each(candidates: Candidates, count: int) -> Candidates:
    """The best of each of ``count`` groups of candidates, [B, count]."""
    groups = candidates.scores.view(len(candidates.scores), count, -1)
    index = groups.argmax(-1) + torch.arange(count) * groups.shape[2]
    return candidates.at(index)


def same_route(points: np.ndarray, lines: np.ndarray, islands: np.ndarray) -> np.ndarray:
    """Which of ``lines`` [L, Q, 2] take the same route as ``points`` [P, 2], bool [L].

    A plan there and a line back form a closed curve. If it winds around an island, the two pass the
    island on different sides.

    Args:
        points: of a plan.
        lines: of others between the same ends.
        islands: a point of each region that the data goes around, [I, 2].
    """
    back = lines[:, ::-1]
    loop = np.concatenate([np.broadcast_to(points, (len(lines), *points.shape)), back], 1)
    rays = loop[:, None].astype(np.float64) - islands[None, :, None]
    following = np.roll(rays, -1, axis=2)
    cross = rays[..., 0] * following[..., 1] - rays[..., 1] * following[..., 0]
    winding = np.arctan2(cross, (rays * following).sum(-1)).sum(-1) / (2 * np.pi)
    return np.asarray((np.abs(winding) < 0.5).all(1))


def spread(points: np.ndarray, lines: np.ndarray, same: np.ndarray) -> np.ndarray:
    """The plan spread: how far each point moves if the plan is made again, float32 [B, P].

    It is the root mean square distance to the lines of the plans that were made again and take the
    same route. If none does, it is not known: NaN. It measures where these pass, not when.

    Args:
        points: of the plans, [B, P, 2].
        lines: of the plans that were made again, [B, L, Q, 2].
        same: whether these take the same route, bool [B, L].
    """
    squared = torch.stack(
        [
            squared_distance_to_line(torch.from_numpy(points), line)
            for line in torch.from_numpy(lines).unbind(1)
        ],
        1,
    ).numpy()
    total, count = np.where(same[..., None], squared, 0.0).sum(1), same.sum(1, keepdims=True)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.asarray(np.sqrt(mean), np.float32)
