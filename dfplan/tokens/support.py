"""Where the data has been: the only map a planner ever has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F  # noqa: N812

from dfplan.boundary import as_tensor
from dfplan.record import Record

_LARGEST_SIDE = 2048
_BORDER = 8


@dataclass(frozen=True)
class Support(Record):
    """A grid of visited places, and the distance from any position to the nearest of them.

    Attributes:
        origin: position of the outer corner of cell (0, 0); float32 [2].
        resolution: side of a cell, in units of position.
        visited: whether the data was ever in each cell; bool [G0, G1].
    """

    origin: torch.Tensor
    resolution: float
    visited: torch.Tensor

    @cached_property
    def _distance(self) -> torch.Tensor:
        """Distance of each cell's centre to the nearest visited one; float [1, 1, G0, G1]."""
        distance = ndimage.distance_transform_edt(~self.visited.numpy())
        with torch.inference_mode(False):  # what is kept must serve gradients, too
            field = torch.from_numpy(distance.astype(np.float32)) * self.resolution
        return field[None, None]

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """How far each position [..., 2] is from where the data has been; [...] units.

        Measured to the nearest visited cell's centre, and bilinear between centres, so it is
        zero where a cell and its neighbors were visited and has a gradient that leads back.
        Beyond the grid the distance to the grid is added.
        """
        points = as_tensor(points)
        size = torch.tensor(self.visited.shape, dtype=points.dtype, device=points.device)
        cell = (points - self.origin) / self.resolution - 0.5
        inside = torch.minimum(cell.clamp_min(0.0), size - 1)
        grid = (2 * inside / (size - 1) - 1).flip(-1).reshape(1, -1, 1, 2)
        field = self._distance.to(grid.dtype)
        looked_up = F.grid_sample(field, grid, mode="bilinear", align_corners=True)
        beyond = (cell - inside).abs().sum(-1) * self.resolution
        return looked_up.reshape(points.shape[:-1]) + beyond


def fit_support(positions: Iterable[np.ndarray], resolution: float) -> Support:
    """Mark the cells of side ``resolution`` that positions lie in, given in blocks [N, 2], twice.

    The natural resolution is the farthest that one step can move: finer cells would show gaps
    between successive positions. Grids of more than 2048 cells a side are made coarser.
    """
    low = np.min([block.min(0) for block in positions], axis=0).astype(np.float64)
    high = np.max([block.max(0) for block in positions], axis=0).astype(np.float64)
    resolution = max(resolution, float((high - low).max()) / _LARGEST_SIDE) or 1.0
    origin = low - _BORDER * resolution
    shape = np.ceil((high - origin) / resolution).astype(int) + _BORDER
    visited = np.zeros(shape, dtype=bool)
    for block in positions:
        cell = ((block - origin) / resolution).astype(int)
        visited[cell[:, 0], cell[:, 1]] = True
    return Support(torch.tensor(origin, dtype=torch.float32), resolution, torch.from_numpy(visited))
