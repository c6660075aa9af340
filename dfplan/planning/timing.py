"""How fast a body can follow a plan.

Three times of a plan have three names. Its *steps* are the horizon that was planned. Its *times*
say when a body that moves as fast as it can is at each point. The *steps taken* are counted in an
episode.
"""

from __future__ import annotations

import numpy as np
import torch

from dfplan.tokens.motion import Motion

_SAMPLES = 20
"""Places on each part of a plan at which its arrival is looked for."""


def body_times(
    points: np.ndarray, motion: Motion, velocities: np.ndarray | None = None
) -> np.ndarray:
    """The steps after which a body is at each of ``points`` [B, P, 2], if it hurries; [B, P].

    The two axes are independent. So the length of a part of the line is the larger of its two
    extents. The body accelerates along the line until it has its top speed, which it keeps around
    corners, because a tracker rounds them.

    Args:
        points: of B plans.
        motion: the fitted point mass.
        velocities: at the start, in units of the data, [B, 2]; None for a body at rest.
    """
    parts = np.diff(points.astype(np.float64), axis=1)
    length = np.abs(parts).max(-1)
    along = np.concatenate([np.zeros((len(points), 1)), np.cumsum(length, 1)], 1)
    top = motion.max_step
    if not motion.has_inertia or motion.gain <= 0:
        return along / top
    gain, before = motion.dt * motion.gain, np.zeros((len(points), 1))
    if velocities is not None:
        moves = (length > 0).argmax(1)
        row = np.arange(len(points))
        way = parts[row, moves] / np.maximum(length[row, moves], 1e-12)[:, None]
        before = (motion.dt * velocities * way).sum(1, keepdims=True) / np.square(way).sum(
            1, keepdims=True
        ).clip(1.0)
        before = before.clip(0.0, top)
    ramp = (top**2 - before**2) / (2 * gain)
    rising = (np.sqrt(before**2 + 2 * gain * np.minimum(along, ramp)) - before) / gain
    return np.asarray(rising + np.maximum(along - ramp, 0.0) / top)


def within_speed(
    states: torch.Tensor, last: torch.Tensor, position: slice, longest: float
) -> torch.Tensor:
    """Move states along their lines, so that no part is longer than the body can move.

    Only states in and next to parts that are too long move. If the whole line is too long for its
    number of parts, it stays as it is.

    Args:
        states: float [S, P, W].
        last: index of the last state of each plan, int [S]; it and the first one stay.
        position: the columns of the position.
        longest: the largest extent of a part, in units of position.
    """
    parts = states[..., position].diff(dim=1).abs().amax(-1)
    parts = torch.where(torch.arange(parts.shape[1]) < last[:, None], parts, 0.0).double()
    possible = parts.sum(1) <= longest * last.double()
    if not ((parts > longest).any(1) & possible).any():
        return states
    along = torch.nn.functional.pad(parts.cumsum(1), (1, 0))
    index = torch.arange(along.shape[1], dtype=torch.float64)
    # No later than the body, and no earlier than it must be to arrive in time.
    soonest = (along - longest * index).cummin(1).values + longest * index
    latest = along[:, -1:] - longest * (last[:, None] - index)
    target = torch.where(index <= last[:, None], soonest.maximum(latest), along)
    changed = possible[:, None] & (target != along)
    after = torch.searchsorted(along, target, right=True).clamp(1, along.shape[1] - 1)
    low, high = along.gather(1, after - 1), along.gather(1, after)
    share = ((target - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)[..., None].float()
    row = torch.arange(len(states))[:, None]
    moved = (1 - share) * states[row, after - 1] + share * states[row, after]
    return torch.where(changed[..., None], moved, states)


def arrival_times(
    points: np.ndarray, times: np.ndarray, goals: np.ndarray, radius: float
) -> np.ndarray:
    """When plans first come within ``radius`` of their goals, or end; float [B].

    Args:
        points: of the plans, [B, P, 2].
        times: at each point, such as :attr:`dfplan.Plan.times`, [B, P].
        goals: positions, [B, 2].
        radius: distance from the goal, in units of position.
    """
    index = np.arange(points.shape[1])
    share = np.linspace(0, len(index) - 1, _SAMPLES * len(index))
    found = np.empty(len(points))
    for row, (line, steps, goal) in enumerate(zip(points, times, goals, strict=True)):
        dense = np.stack([np.interp(share, index, line[:, axis]) for axis in (0, 1)], 1)
        inside = np.linalg.norm(dense - goal, axis=1) <= radius
        first = share[inside.argmax()] if inside.any() else share[-1]
        found[row] = np.interp(first, index, steps)
    return found
