"""Distance to the visited region."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from dfplan.tokens.support import Support, fit_support


def centers(support: Support, visited: bool) -> torch.Tensor:
    """Centres of the cells that were, or were not, visited; float [N, 2]."""
    cells = (support.visited == visited).nonzero()
    return support.origin + (cells + 0.5) * support.resolution


def ring(count: int = 4000, seed: int = 0) -> np.ndarray:
    """Positions on a ring between 3 and 4 around (10, -5)."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(3, 4, count)
    return np.stack([10 + radius * np.cos(angle), -5 + radius * np.sin(angle)], 1)


@pytest.mark.parametrize("resolution", [0.1, 0.25, 1.0])
def test_each_position_lies_in_a_visited_cell_and_no_other_cell_is_visited(
    resolution: float,
) -> None:
    positions = ring()
    support = fit_support([positions], resolution)
    cell = np.floor((positions - support.origin.numpy()) / resolution).astype(int)
    inner = np.abs((positions - support.origin.numpy()) / resolution - cell - 0.5) < 0.499
    cell = cell[inner.all(1)]  # those on the edge may fall to either side in single precision
    assert support.visited[cell[:, 0], cell[:, 1]].all()
    near, _ = cKDTree(positions).query(centers(support, visited=True).numpy(), p=np.inf)
    assert near.max() <= resolution * 0.501


@pytest.mark.parametrize("resolution", [0.1, 0.25])
def test_distance_is_exact_at_the_centres_of_cells(resolution: float) -> None:
    support = fit_support([ring()], resolution)
    been = centers(support, visited=True)
    assert support.distance(been).abs().max() < 1e-4
    outside = centers(support, visited=False)
    exact, _ = cKDTree(been.numpy()).query(outside.numpy())
    np.testing.assert_allclose(support.distance(outside).numpy(), exact, rtol=0, atol=1e-3)


def test_distance_is_zero_inside_and_never_far_from_exact() -> None:
    support = fit_support([ring(200_000)], 0.1)
    rng = np.random.default_rng(1)
    inside = torch.from_numpy(ring(seed=2)).float()
    radius = (inside - torch.tensor([10.0, -5.0])).norm(dim=-1)
    assert support.distance(inside[(radius > 3.3) & (radius < 3.7)]).max() < 1e-4
    anywhere = rng.uniform([5.5, -9.5], [14.5, -0.5], (5000, 2))
    exact, _ = cKDTree(centers(support, visited=True).numpy()).query(anywhere)
    measured = support.distance(torch.from_numpy(anywhere).float()).numpy()
    assert np.abs(measured - exact).max() < 0.75 * support.resolution


def test_distance_from_one_place() -> None:
    support = fit_support([np.array([[2.05, 3.05]])], 0.1)
    place = centers(support, visited=True)
    assert place.shape == (1, 2)
    steps = torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, -0.7], [-0.3, 0.4], [0.6, 0.6]])
    measured = support.distance(place + steps)
    assert measured.tolist() == pytest.approx(steps.norm(dim=-1).tolist(), abs=1e-4)


def test_beyond_the_grid_the_distance_grows_on() -> None:
    support = fit_support([ring()], 0.25)
    near = support.distance(torch.tensor([[30.0, -5.0], [-30.0, -5.0], [10.0, 50.0]]))
    exact = torch.tensor([16.0, 36.0, 51.0])
    assert torch.allclose(near, exact, atol=0.5)
    way = torch.linspace(0, 200, 100)[:, None] * torch.tensor([0.6, -0.8]) + torch.tensor([10, -5])
    measured = support.distance(way)
    assert (measured[30:].diff() > 0).all()


@pytest.mark.parametrize(
    "start", [(10.1, -5.1), (12.0, -4.0), (17.0, 2.0), (40.0, 30.0), (10.0, -70.0)]
)
def test_the_gradient_leads_back(start: tuple[float, float]) -> None:
    support = fit_support([ring()], 0.1)
    point = torch.tensor(start)
    for _ in range(400):
        leaf = point.requires_grad_()
        distance = support.distance(leaf)
        (gradient,) = torch.autograd.grad(distance, leaf)
        if distance < 1e-4:
            break
        step = distance.detach().clamp(0.05, 2.0) / gradient.norm().clamp_min(0.1)
        point = (leaf - 0.5 * step * gradient).detach()
    radius = (point.detach() - torch.tensor([10.0, -5.0])).norm()
    assert 2.9 < radius < 4.1


def test_shapes_and_rows() -> None:
    support = fit_support([ring()], 0.2)
    points = torch.from_numpy(ring(60, seed=5)).float().view(3, 4, 5, 2) + 1
    together = support.distance(points)
    assert together.shape == (3, 4, 5)
    alone = torch.stack([support.distance(point) for point in points.view(-1, 2)])
    assert torch.equal(together.flatten(), alone)


def test_a_large_region_has_larger_cells() -> None:
    support = fit_support([np.array([[0.0, 0.0], [1e6, 5.0]])], 0.01)
    assert max(support.visited.shape) < 2100
    assert support.visited.sum() == 2
    assert support.distance(torch.tensor([1e6, 5.0])) < support.resolution


def test_a_line_and_a_point_have_support_too() -> None:
    line = np.stack([np.linspace(0, 5, 100), np.full(100, 2.0)], 1)
    support = fit_support([line], 0.1)
    assert support.distance(torch.tensor([2.5, 2.0])) < 0.1
    assert support.distance(torch.tensor([2.5, 3.0])) == pytest.approx(1.0, abs=0.1)
    still = fit_support([np.zeros((3, 2))], 0.0)
    assert torch.isfinite(still.distance(torch.ones(2)))


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
def test_the_unit_of_positions_is_that_of_the_distance(unit: float) -> None:
    base, scaled = fit_support([ring()], 0.1), fit_support([unit * ring()], 0.1 * unit)
    assert torch.equal(scaled.visited, base.visited)
    points = torch.from_numpy(ring(60, seed=5)).float() + 1
    assert torch.equal(scaled.distance(unit * points), unit * base.distance(points))


@pytest.mark.parametrize("resolution", [0.03, 0.06, 0.1])
@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_a_wall_of_one_square_is_an_island_at_any_resolution(
    resolution: float, unit: float
) -> None:
    rng = np.random.default_rng(0)
    square = rng.uniform(0, 3, (200_000, 2))
    around = square[np.abs(square - 1.5).max(1) > 0.5]
    # The data missed a place in a corridor.
    around = around[np.abs(around - (0.5, 1.5)).max(1) > 0.1]
    (island,) = fit_support([(unit * around).astype(np.float32)], unit * resolution).islands
    np.testing.assert_allclose(island / unit, [1.5, 1.5], atol=3 * resolution)
