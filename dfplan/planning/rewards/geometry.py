"""Distances to lines and points on them, for rewards."""

from __future__ import annotations

import torch


def points_on_lines(points: torch.Tensor, per_line: int) -> torch.Tensor:
    """``per_line`` evenly spaced points on each line between points [B, P, 2].

    The end of a line is one of them and its start is not: [B, (P - 1) * per_line, 2].
    """
    share = torch.arange(1, per_line + 1, dtype=points.dtype, device=points.device) / per_line
    start, line = points[:, :-1, None], points.diff(dim=1)[:, :, None]
    return (start + share[:, None] * line).flatten(1, 2)


def steps_on_lines(steps: torch.Tensor, per_line: int) -> torch.Tensor:
    """The environment steps [(P - 1) * per_line] of :func:`points_on_lines`."""
    share = torch.arange(1, per_line + 1, dtype=steps.dtype, device=steps.device) / per_line
    return (steps[:-1, None] + share * steps.diff()[:, None]).flatten()


def squared_distance(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """From positions [..., 2] to ``target``, broadcast; [...]."""
    return (points - target).square().sum(-1)


def squared_distance_to_line(points: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """From ``points`` [..., P, 2] to the nearest positions on ``line`` [..., Q, 2]; [..., P]."""
    start, way = line[..., None, :-1, :], line.diff(dim=-2)[..., None, :, :]
    along = ((points[..., None, :] - start) * way).sum(-1)
    squared = way.square().sum(-1)
    along = (along / torch.maximum(squared, _negligible(squared))).clamp(0.0, 1.0)
    return squared_distance(points[..., None, :], start + along[..., None] * way).amin(-1)


def length(squared: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
    """Square root with a finite gradient at 0.

    Args:
        squared: squared lengths.
        scale: squared lengths of the order of magnitude that matters; by default ``squared``.
    """
    return (squared + _negligible(squared if scale is None else scale)).sqrt()


def _negligible(squared: torch.Tensor) -> torch.Tensor:
    """The square of a length that is negligible compared to the longest of ``squared``; []."""
    longest = squared.detach().amax() if squared.numel() else squared.new_tensor(0.0)
    return (1e-8 * longest).clamp(torch.finfo(squared.dtype).tiny, 1e-12)
