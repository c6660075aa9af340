"""Plans that are made again: their routes and the plan spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.planning.partial_plan import Candidates
from dfplan.planning.replans import best_of_each, ends_again, same_route, spread

ISLAND = np.array([[2.0, 0.0]])


def way(*corners: tuple[float, float], count: int = 40) -> np.ndarray:
    """Evenly spaced points along a line, float32 [count, 2]."""
    line = np.array(corners)
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1)))
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, x) for x in line.T], 1).astype(np.float32)


ABOVE = way((0, 0), (2, 1), (4, 0))
HIGHER = way((0, 0), (2, 1.5), (4, 0))
BELOW = way((0, 0), (2, -1), (4, 0))


def test_ways_on_different_sides_of_an_island_are_different_routes() -> None:
    lines = np.stack([ABOVE, HIGHER, BELOW])
    assert same_route(ABOVE, lines, ISLAND).tolist() == [True, True, False]
    assert same_route(BELOW, lines, ISLAND).tolist() == [False, False, True]


def test_all_ways_are_one_route_where_there_is_no_island_between_them() -> None:
    lines = np.stack([HIGHER, BELOW])
    for islands in (np.zeros((0, 2)), np.array([[2.0, 3.0], [-1.0, 0.0]])):
        assert same_route(ABOVE, lines, islands).all()


def test_one_more_way_around_an_island_is_another_route() -> None:
    around = way((0, 0), (2, 1), (3, 0), (2, -1), (1, 0), (2, 1), (4, 0))
    assert not same_route(ABOVE, around[None], ISLAND).any()


def test_routes_depend_neither_on_the_number_of_points_nor_on_their_direction() -> None:
    lines = np.stack(
        [way((0, 0), (2, 1), (4, 0), count=97), way((0, 0), (2, -1), (4, 0), count=97)]
    )
    assert same_route(ABOVE, lines, ISLAND).tolist() == [True, False]
    assert same_route(ABOVE[::-1], lines[:, ::-1], ISLAND).tolist() == [True, False]


def test_the_spread_is_the_root_mean_square_distance_to_the_same_route() -> None:
    points = way((0, 0), (4, 0))[None]
    off = np.array([(0, 0.3), (0, -0.4), (0, 5.0)], np.float32)
    lines = points[:, None] + off[:, None]
    some = spread(points, lines, np.array([[True, True, False]]))
    np.testing.assert_allclose(some, np.sqrt((0.3**2 + 0.4**2) / 2), rtol=1e-5)
    none = spread(points, lines, np.zeros((1, 3), bool))
    assert np.isnan(none).all(), "over a wall there is no mean"


def test_the_spread_measures_where_a_plan_passes_and_not_when() -> None:
    points = way((0, 0), (4, 0))[None]
    late = points.copy()
    late[..., 0] = 4 * (points[..., 0] / 4) ** 2
    assert spread(points, late[:, None], np.ones((1, 1), bool)).max() < 1e-5


def test_each_plan_of_a_batch_has_its_own_spread() -> None:
    points = np.stack([way((0, 0), (4, 0))] * 2)
    lines = points[:, None] + np.array([0.1, 0.7]).reshape(2, 1, 1, 1) * np.array([0, 1])
    found = spread(points, lines.astype(np.float32), np.ones((2, 1), bool))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.1] * 40, [0.7] * 40], rtol=1e-5)


@pytest.mark.parametrize("best, used", [(2, [1, 2, 3, 4]), (0, [0, 0, 1, 2]), (4, [3, 4, 4, 4])])
def test_horizons_near_the_best_one_are_used_again(best: int, used: list[int]) -> None:
    ends = torch.tensor([[10, 20, 30, 40, 50]])
    again = ends_again(ends, torch.tensor([best]), 3)
    assert again.tolist() == [[ends[0, one].item() for one in used] * 3]
    assert ends_again(ends, None, 2).tolist() == [ends[0].tolist() * 2]


def test_the_best_of_each_group_is_kept() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0, 9.0, 8.0, 7.0]])
    end = torch.arange(6)[None]
    candidates = Candidates(torch.rand(1, 6, 5, 2), end, end[..., None].expand(1, 6, 5), scores)
    best = best_of_each(candidates, 2)
    assert best.end.tolist() == [[1, 3]] and best.scores.tolist() == [[3.0, 9.0]]
    assert torch.equal(best.states, candidates.states[:, [1, 3]])
