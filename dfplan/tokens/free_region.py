"""Where plans may pass: the visited region, with clearance from recorded contacts and jumps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfplan.boundary import as_tensor
from dfplan.errors import require_numbers
from dfplan.record import Record
from dfplan.tokens.support import Support, interpolate

_DANGER = 3.0
"""Plans stay so far from places where jumps began, in cells of the support."""


@dataclass(frozen=True)
class Clearance:
    """How far plans stay from what may be a wall, in environment steps at top speed.

    Attributes:
        edge: from the edge of the visited region; negative if plans may leave it a little.
        contact: from places where an obstacle stopped the body in the data.

    Raises:
        ConfigError: a value is not a number, or ``contact`` is negative.
    """

    edge: float = 0.0
    contact: float = 5.0

    def __post_init__(self) -> None:
        require_numbers(vars(self), "edge")
        require_numbers(vars(self), "contact", minimum=0)


@dataclass(frozen=True)
class FreeRegion(Record):
    """A region of the plane, as a smooth signed distance to its edge on a grid.

    Attributes:
        origin: position of the outer corner of cell (0, 0); float32 [2].
        resolution: side of a cell, in units of position.
        field: signed distance at the centers of cells, negative inside; float32 [G0, G1].
    """

    origin: torch.Tensor
    resolution: float
    field: torch.Tensor

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Distance from positions [..., 2] to the region; [...], in units of position.

        Its negative gradient points to the region. Outside the grid, the distance to the grid is
        added.
        """
        points = as_tensor(points)
        cell = (points - self.origin) / self.resolution - 0.5
        signed, outside = interpolate(self.field[None, None], cell)
        return signed.clamp_min(0.0) + outside * self.resolution


def free_region(
    support: Support, contacts: np.ndarray, departures: np.ndarray, clearance: Clearance
) -> FreeRegion:
    """The region that keeps the clearance.

    Small gaps of the visited region are closed, and its edge is smoothed over a cell.

    Args:
        support: the visited region, with cells of a step at top speed.
        contacts: positions at which an obstacle stopped the body, float [Q, 2].
        departures: positions at which jumps began, float [J, 2].
        clearance: from the edge of the visited region, and from contacts.
    """
    from scipy import ndimage  # here, since reading a checkpoint does not need it

    visited = support.floor.visited
    outside = ndimage.distance_transform_edt(~visited) - 0.5
    inside = ndimage.distance_transform_edt(visited) - 0.5
    smooth = ndimage.gaussian_filter(np.where(visited, -inside, outside), 1.0)
    # A line of single cells stays inside.
    field = np.where(visited, np.minimum(smooth, 0.0), smooth) + clearance.edge
    origin = support.origin.numpy()
    for points, distance in ((contacts, clearance.contact), (departures, _DANGER)):
        if len(points) and distance:
            away = _distance_to((points - origin) / support.resolution - 0.5, field.shape, distance)
            field = np.maximum(field, distance - away)
    with torch.inference_mode(False):  # the tensor is used with gradients, too
        values = torch.from_numpy((field * support.resolution).astype(np.float32))
    return FreeRegion(support.origin, support.resolution, values)


def _distance_to(places: np.ndarray, shape: tuple[int, ...], reach: float) -> np.ndarray:
    """Distance from each place of a grid to the nearest of ``places`` [Q, 2]; [G0, G1].

    It is infinite where it exceeds ``reach`` by more than 2.
    """
    from scipy.spatial import cKDTree

    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    away = cKDTree(places).query(grid.reshape(-1, 2), distance_upper_bound=reach + 2)[0]
    return np.asarray(away.reshape(shape))
