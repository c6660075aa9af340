"""Fast drives of the point mass through a known maze, by linear programs.

The force and damping act on each axis separately, so the motion without contact is linear. With the
line of each step in one convex part of the free region, a drive of N steps to the goal is the
solution of a linear program. From a drive that arrives, N is reduced step by step: the program
minimizes how far the lines leave their parts, each line is then assigned to the part that it leaves
least, and so on until nothing leaves. The result is a local optimum; it need not be the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from dfplan.envs.dynamics import MAX_SPEED, PointMass
from dfplan.evaluation.bounds import measure_force
from dfplan.mazes import Maze

_SECONDS = 0.01
_ROOMS = (0.09, 0.095, 0.1, 0.103, 0.106)
"""Distances from walls that are tried. The ball's radius is 0.1; it touches some walls a little
before, and a light touch changes a drive little."""

_SIDES = 24
"""Of the polygon inside the goal's disc."""

_ROUNDS = 8
"""Most assignments of steps to parts for one number of steps."""

_FAILURES = 4
"""The search ends after so many numbers of steps without a drive."""

_CHANGE = 1e-3
"""What a change of the part costs in the assignment, in units of position."""

Part = tuple[np.ndarray, np.ndarray]
"""A convex region: positions p with ``matrix @ p <= limit``."""


def fastest_steps(
    maze: Maze, start: np.ndarray, goal: np.ndarray, drive: np.ndarray, least: int
) -> int:
    """Steps to the goal of the fastest drive found, in the simulator; at most those of ``drive``.

    Args:
        maze: of D4RL.
        start: position and velocity, [4].
        goal: position, [2].
        drive: positions [M + 1, 2] of a drive that arrives; it determines the way.
        least: lower bound on the steps.
    """
    found = [len(drive) - 1]
    for room in _ROOMS:
        actions = _fastest(_parts(maze, room), maze, start, goal, drive, least)
        steps = None if actions is None else _play(maze, start, goal, actions)
        if steps is not None:
            found.append(steps)
    return min(found)


def _fastest(
    parts: Sequence[Part],
    maze: Maze,
    start: np.ndarray,
    goal: np.ndarray,
    drive: np.ndarray,
    least: int,
) -> np.ndarray | None:
    """Actions [N, 2] of the shortest drive found that stays in the parts, or None."""
    best, failures = None, 0
    for count in range(len(drive) - 1, least - 1, -1):
        solved = _drive_of(count, parts, start, goal, maze.suite.goal_radius, drive)
        if solved is None:
            failures += 1
            if failures == _FAILURES:
                break
        else:
            (best, drive), failures = solved, 0
    return best


def _play(maze: Maze, start: np.ndarray, goal: np.ndarray, actions: np.ndarray) -> int | None:
    """The first step of ``actions`` [N, 2] that ends at the goal in the simulator, or None."""
    ball = PointMass(maze)
    ball.set_state(start[:2], start[2:])
    for step, action in enumerate(actions.tolist(), 1):
        place = np.array(ball.advance(*action)[:2])
        if np.linalg.norm(place - goal) <= maze.suite.goal_radius:
            return step
    return None


def _drive_of(
    count: int,
    parts: Sequence[Part],
    start: np.ndarray,
    goal: np.ndarray,
    radius: float,
    drive: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Actions and positions of a drive of ``count`` steps near ``drive``, or None."""
    old = np.arange(len(drive))
    when = np.linspace(0, len(drive) - 1, count + 1)
    positions = np.stack([np.interp(when, old, column) for column in drive.T], 1)
    seen = set()
    for _ in range(_ROUNDS):
        assigned = _assign(positions, parts)
        if assigned.tobytes() in seen:
            return None
        seen.add(assigned.tobytes())
        solved = _solve([parts[index] for index in assigned], start, goal, radius)
        if solved is None:
            return None
        outside, actions, positions = solved
        if outside < 1e-8:
            return actions, positions
    return None


def _solve(
    parts: Sequence[Part], start: np.ndarray, goal: np.ndarray, radius: float
) -> tuple[float, np.ndarray, np.ndarray] | None:
    """The drive whose lines leave their ``parts`` [N] least.

    Returns:
        (how far they leave them, actions [N, 2], positions [N + 1, 2]), or None.
    """
    count = len(parts)
    gain, keep = measure_force()
    size = 2 * (count + 1)
    total = 2 * size + 2 * count + 1  # positions, velocities, actions, how far lines leave
    unit = sparse.identity(total, format="csr")
    place, speed, action = unit[:size], unit[size : 2 * size], unit[2 * size : -1]
    motion = sparse.vstack(
        [
            place[:2],
            speed[:2],
            speed[2:] - keep * speed[:-2] - gain * action,
            place[2:] - place[:-2] - _SECONDS * speed[2:],
        ]
    )
    begin = np.concatenate([start, np.zeros(4 * count)])
    rows, limits = [], []
    for step, (matrix, limit) in enumerate(parts):
        for index in (step, step + 1)[0 if step else 1 :]:
            rows.append(sparse.csr_matrix(matrix) @ place[2 * index : 2 * index + 2])
            limits.append(limit)
    angle = 2 * np.pi / _SIDES * np.arange(_SIDES)
    sides = np.stack([np.cos(angle), np.sin(angle)], 1)
    rows.append(sparse.csr_matrix(sides) @ place[-2:])
    limits.append(sides @ goal + 0.999 * radius * np.cos(np.pi / _SIDES))
    inside = sparse.vstack(rows)
    inside = inside - sparse.csr_matrix(np.ones((inside.shape[0], 1))) @ unit[-1:]
    limited = [(None, None)] * 2 + [(-MAX_SPEED, MAX_SPEED)] * (size - 4) + [(None, None)] * 2
    bounds = [(None, None)] * size + limited + [(-1, 1)] * (2 * count) + [(0, None)]
    result = linprog(
        unit[-1].toarray()[0],
        A_ub=inside,
        b_ub=np.concatenate(limits),
        A_eq=motion,
        b_eq=begin,
        bounds=bounds,
        method="highs",
    )
    if result.x is None:
        return None
    actions = result.x[2 * size : -1].reshape(count, 2)
    return float(result.x[-1]), actions, result.x[:size].reshape(count + 1, 2)


def _assign(positions: np.ndarray, parts: Sequence[Part]) -> np.ndarray:
    """The part of each line of ``positions`` [N + 1, 2]: left least, with few changes; int [N]."""
    outside = np.stack(
        [(positions @ matrix.T - limit).max(1).clip(min=0) for matrix, limit in parts], 1
    )
    cost = 10 * np.maximum(outside[:-1], outside[1:])
    total, before = cost[0], []
    for row in cost[1:]:
        change = total.min() + _CHANGE
        before.append(np.where(total <= change, np.arange(len(parts)), total.argmin()))
        total = row + np.minimum(total, change)
    assigned = [int(total.argmin())]
    for source in reversed(before):
        assigned.append(int(source[assigned[-1]]))
    return np.array(assigned[::-1])


def _parts(maze: Maze, room: float) -> list[Part]:
    """Convex parts, which overlap, of the region at least ``room`` away from walls."""
    axes = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    def box(low: np.ndarray, high: np.ndarray) -> Part:
        return axes, np.array([high[0], -low[0], high[1], -low[1]])

    side = maze.suite.cell_size
    parts = []
    for first, last in _rectangles(~maze.walls):
        corners = maze.cell_to_xy(np.array([first, last]))
        margin = side / 2 - room
        parts.append(box(corners.min(0) - margin, corners.max(0) + margin))
    padded = np.pad(maze.walls, 1, constant_values=True)
    for i, j in np.argwhere(maze.walls):
        for di, dj in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            around = padded[i + 1 + di, j + 1], padded[i + 1, j + 1 + dj]
            if any(around) or padded[i + 1 + di, j + 1 + dj]:
                continue
            center, along, across = maze.cell_to_xy(np.array([(i, j), (i + di, j), (i, j + dj)]))
            corner = (along + across) / 2
            matrix, limit = box(corner - side + room, corner + side - room)
            for angle in np.pi / 8 * np.arange(1, 4):  # beyond a tangent of the round corner
                normal = np.cos(angle) * (along - center) + np.sin(angle) * (across - center)
                normal = normal / side
                parts.append(
                    (np.vstack([matrix, -normal]), np.append(limit, -normal @ corner - room))
                )
    return parts


def _rectangles(free: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Largest rectangles of free cells, as their first and last cells."""
    found = []
    for i, j in np.argwhere(free):
        last = free.shape[1]
        for k in range(i, free.shape[0]):
            blocked = np.flatnonzero(~free[k, j:last])
            last = j + int(blocked[0]) if len(blocked) else last
            if last == j:
                break
            found.append(((int(i), int(j)), (k, last - 1)))
    return [
        (first, last)
        for first, last in found
        if not any(
            (first, last) != (low, high)
            and low[0] <= first[0]
            and low[1] <= first[1]
            and last[0] <= high[0]
            and last[1] <= high[1]
            for low, high in found
        )
    ]
