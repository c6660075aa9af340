"""The support of the data: the region that was visited. It is the only map of a planner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from dfplan.boundary import as_tensor
from dfplan.record import Record
from dfplan.types import Floor

_MAX_CELLS = 2048  # along a side of the grid
_BORDER = 8  # cells around the visited ones

_CORRIDOR = 0.9
"""Share of the visited cells that are no farther from the edge than half a corridor is wide."""


@dataclass(frozen=True)
class Support(Record):
    """A grid of visited cells, and the distance from any position to the nearest of them.

    Attributes:
        origin: position of the outer corner of cell (0, 0); float32 [2].
        resolution: side of a cell, in units of position.
        visited: whether the data has a position in the cell; bool [G0, G1].
    """

    origin: torch.Tensor
    resolution: float
    visited: torch.Tensor

    @cached_property
    def floor(self) -> Floor:
        """The visited cells, with small gaps closed: places that the data happened to miss."""
        from scipy import ndimage  # here, since reading a checkpoint does not need it

        visited = self.visited.numpy()
        visited = visited | ndimage.binary_closing(visited, np.ones((3, 3)))
        return Floor(self.origin.numpy().astype(np.float64), self.resolution, visited)

    @cached_property
    def islands(self) -> np.ndarray:
        """A point of each region that the data goes around, float64 [I, 2].

        A region is an island if it is as large as a square across a corridor. The data happened to
        miss smaller ones.
        """
        from scipy import ndimage  # here, since reading a checkpoint does not need it

        visited = self.floor.visited
        label, count = ndimage.label(~visited)
        sizes = ndimage.sum_labels(~visited, label, np.arange(1, count + 1))
        edge = np.unique(np.concatenate([label[[0, -1]].ravel(), label[:, [0, -1]].ravel()]))
        half = np.quantile(ndimage.distance_transform_edt(visited)[visited], _CORRIDOR)
        inner = np.setdiff1d(np.arange(1, count + 1)[sizes >= (2 * half) ** 2], edge)
        depth = ndimage.distance_transform_edt(~visited)
        cells = np.array(ndimage.maximum_position(depth, label, inner)).reshape(-1, 2)
        return np.asarray(self.origin.numpy() + (cells + 0.5) * self.resolution, np.float64)

    @cached_property
    def _distance(self) -> torch.Tensor:
        """Distance from each cell's center to the nearest visited center; [1, 1, G0, G1]."""
        from scipy import ndimage  # here, since reading a checkpoint does not need it

        distance = ndimage.distance_transform_edt(~self.visited.numpy())
        with torch.inference_mode(False):  # the cached tensor is used with gradients, too
            field = torch.from_numpy(distance.astype(np.float32)) * self.resolution
        return field[None, None]

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Distance from positions [..., 2] to the visited region; [...], in units of position.

        It is the distance between cell centers, interpolated bilinearly. It is therefore 0 where a
        cell and its neighbors were visited, and elsewhere its negative gradient points to the
        visited region. Outside the grid, the distance to the grid is added.
        """
        points = as_tensor(points)
        cell = (points - self.origin) / self.resolution - 0.5
        distance, outside = interpolate(self._distance, cell)
        return distance + outside * self.resolution


def interpolate(field: torch.Tensor, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpolate a field bilinearly, with gradients.

    Args:
        field: values at the places (0, 0) to (G0 - 1, G1 - 1), float [1, 1, G0, G1].
        place: where to interpolate, [..., 2]. Outside the field, the nearest place counts.

    Returns:
        (values [...]; distance along both axes to the nearest place of the field, [...]).
    """
    size = torch.tensor(field.shape[2:], dtype=place.dtype, device=place.device)
    inside = torch.minimum(place.clamp_min(0.0), size - 1)
    grid = (2 * inside / (size - 1) - 1).flip(-1).reshape(1, -1, 1, 2)
    values = F.grid_sample(field.to(grid.dtype), grid, mode="bilinear", align_corners=True)
    return values.reshape(place.shape[:-1]), (place - inside).abs().sum(-1)


def fit_support(positions: Iterable[np.ndarray], resolution: float) -> Support:
    """Mark the cells that contain positions.

    Args:
        positions: blocks of positions [N, 2]; they are iterated more than once.
        resolution: side of a cell, in units of position. The length of the longest step is a good
            value: smaller cells leave gaps between successive positions. It is increased if the
            grid would have more than 2048 cells along a side.
    """
    low = np.min([block.min(0) for block in positions], axis=0).astype(np.float64)
    high = np.max([block.max(0) for block in positions], axis=0).astype(np.float64)
    resolution = max(resolution, float((high - low).max()) / _MAX_CELLS) or 1.0
    origin = low - _BORDER * resolution
    shape = np.ceil((high - origin) / resolution).astype(int) + _BORDER
    visited = np.zeros(shape, dtype=bool)
    for block in positions:
        cell = ((block - origin) / resolution).astype(int)
        visited[cell[:, 0], cell[:, 1]] = True
    return Support(torch.tensor(origin, dtype=torch.float32), resolution, torch.from_numpy(visited))
