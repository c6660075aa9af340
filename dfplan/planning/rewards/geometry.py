"""Distances to lines and points on them, for rewards."""

from __future__ import annotations

import torch


def points_on_lines(points: torch.Tensor, per_line: int) -> torch.Tensor:
    """Evenly spaced points on the lines between successive points.

    Args:
        points: positions [B, P, 2].
        per_line: number of points on each line. The last one is the end of the line; the start of
            the line is left out.

    Returns:
        Positions [B, (P - 1) * per_line, 2].
    """
    share = torch.arange(1, per_line + 1, dtype=points.dtype, device=points.device) / per_line
    start, line = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    return (start + share[:, None] * line).flatten(1, 2)


def steps_on_lines(steps: torch.Tensor, per_line: int) -> torch.Tensor:
    """The environment steps [(P - 1) * per_line] of :func:`points_on_lines`."""
    share = torch.arange(1, per_line + 1, dtype=steps.dtype, device=steps.device) / per_line
    return (steps[:-1, None] + share * steps.diff()[:, None]).flatten()


def squared_distance(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared distance [...] of positions [..., 2] from ``target``, which is broadcast."""
    return (points - target).square().sum(-1)


def squared_distance_to_line(points: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """Squared distance of each point from the nearest position on a line.

    Args:
        points: positions [..., P, 2].
        line: the corners of the line, [..., Q, 2].

    Returns:
        Float [..., P].
    """
    start, way = line[..., None, :-1, :], line.diff(dim=-2)[..., None, :, :]
    along = ((points[..., None, :] - start) * way).sum(-1)
    squared = way.square().sum(-1)
    along = (along / torch.maximum(squared, _negligible(squared))).clamp(0.0, 1.0)
    return squared_distance(points[..., None, :], start + along[..., None] * way).amin(-1)


def length(squared: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
    """Square root with a finite gradient at 0.

    Args:
        squared: squared lengths.
        scale: squared lengths; a number that is negligible compared to the largest of them is
            added under the root. By default ``squared``.
    """
    return (squared + _negligible(squared if scale is None else scale)).sqrt()


def _negligible(squared: torch.Tensor) -> torch.Tensor:
    """The square of a length that is negligible compared to the longest of ``squared``; []."""
    longest = squared.detach().amax() if squared.numel() else squared.new_tensor(0.0)
    return (1e-8 * longest).clamp(torch.finfo(squared.dtype).tiny, 1e-12)
