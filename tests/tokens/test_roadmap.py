"""The roadmap of recorded walks: edges, times and jumps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dfplan.data import from_arrays, segmented
from dfplan.tokens.roadmap import BIN_CELLS, Roadmap, fit_roadmap
from dfplan.tokens.statistics import fit_statistics
from dfplan.tokens.support import fit_support
from dfplan.types import Trajectories

STEP = 0.1

pytestmark = pytest.mark.filterwarnings("ignore::dfplan.data.segments.DataWarning")


def walks(*lines: np.ndarray) -> Trajectories:
    """Trajectories through ``lines``, [N, 2] each."""
    ends = np.concatenate([np.arange(len(line)) == len(line) - 1 for line in lines])
    return segmented(from_arrays(np.concatenate(lines), ends=ends))


def straight(begin: float, end: float, step: float = STEP, height: float = 0.0) -> np.ndarray:
    """A walk along the first axis."""
    x = np.arange(begin, end, step if end > begin else -step)
    return np.stack([x, np.full(len(x), height)], 1)


def roadmap_of(data: Trajectories) -> Roadmap:
    return fit_roadmap(data, fit_support([data.observations[:, :2]], STEP))


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.0])
def test_an_edge_takes_the_time_that_the_walk_takes(speed: float) -> None:
    roadmap = roadmap_of(walks(straight(0, 10, speed * STEP)))
    forward = roadmap.edges[:, 1] == roadmap.edges[:, 0] + 1
    assert forward.all() and len(roadmap.edges) == len(roadmap) - 1
    np.testing.assert_allclose(roadmap.steps, BIN_CELLS / speed, rtol=1e-3)


def test_a_long_rest_takes_little_time() -> None:
    walk = straight(0, 10)
    resting = np.repeat(walk, np.where(np.arange(len(walk)) == 52, 200, 1), axis=0)
    assert roadmap_of(walks(resting)).steps.max() < 2 * BIN_CELLS


def test_edges_have_the_direction_of_the_walks() -> None:
    one = roadmap_of(walks(straight(0, 10)))
    both = roadmap_of(walks(straight(0, 10), straight(9.95, 0)))
    assert {(b, a) for a, b in one.edges.tolist()} | set(map(tuple, one.edges.tolist())) == set(
        map(tuple, both.edges.tolist())
    )


def test_no_edge_joins_the_end_of_a_walk_and_the_start_of_the_next() -> None:
    apart = roadmap_of(walks(straight(0, 5), straight(5.1, 10)))
    joined = roadmap_of(walks(straight(0, 10)))
    assert len(apart.edges) < len(joined.edges)


def test_a_jump_is_no_edge_and_has_the_recorded_chance() -> None:
    # Of 9 walks through bin (4, 5), 3 jump away from it.
    jumping = np.concatenate([straight(0, 4.6), straight(20, 24)])
    data = walks(*[jumping] * 3, *[straight(0, 10)] * 6)
    roadmap = roadmap_of(data)
    assert len(data.jumps) == 3 and len(roadmap.jumps) == 1
    begin, end = roadmap.centers[roadmap.jumps[0]]
    assert abs(begin[0] - 4.5) < 0.5 and abs(end[0] - 20) < 0.5
    assert roadmap.chance[0] == pytest.approx((3 + 1) / (9 + 1))
    np.testing.assert_allclose(roadmap.departures[:, 0], 4.5, atol=0.11)
    distance = np.abs(np.diff(roadmap.centers[roadmap.edges][:, :, 0], axis=1))
    assert distance.max() < 2 * roadmap.size


def test_a_rare_jump_is_no_danger() -> None:
    jumping = np.concatenate([straight(0, 4.6), straight(20, 24)])
    roadmap = roadmap_of(walks(jumping, *[straight(0, 10)] * 99))
    assert len(roadmap.jumps) == 1 and not len(roadmap.departures)


def test_plans_keep_away_from_where_the_data_jumps() -> None:
    jumping = np.concatenate([straight(0, 4.6), straight(20, 24)])
    data = walks(*[jumping] * 5, *[straight(0, 10, height=height) for height in (2.0, 3.0)])
    statistics = fit_statistics(data)
    place = statistics.roadmap.departures
    assert (statistics.support.distance(place) < statistics.support.resolution).all()
    assert (statistics.free_region.distance(place) > 2 * statistics.support.resolution).all()
    other = np.array([[4.5, 2.0]], np.float32)
    assert statistics.free_region.distance(other) < 0.5 * STEP


def test_it_survives_a_round_trip_through_tensors() -> None:
    jumping = np.concatenate([straight(0, 4.6), straight(20, 24)])
    for data in (walks(*[jumping] * 3), walks(straight(0, 10))):
        statistics = fit_statistics(data)
        assert type(statistics).from_tensors(statistics.to_tensors()) == statistics


@pytest.mark.parametrize(
    "name, change",
    [
        ("edges", lambda values: values + 1000),
        ("edges", lambda values: values[::-1].copy()),
        ("steps", lambda values: -values),
        ("bins", lambda values: values - 100),
        ("bins", lambda values: values + 100),
        ("departures", lambda values: values + 1000),
        ("departures", lambda values: values * np.nan),
        ("chance", lambda values: values + 1),
        ("jumps", lambda values: values - 1000),
        ("steps", lambda values: values[:-1].copy()),
    ],
)
def test_impossible_values_in_a_checkpoint_are_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    jumping = np.concatenate([straight(0, 4.6), straight(20, 24)])
    statistics = fit_statistics(walks(*[jumping] * 3))
    tensors = statistics.to_tensors()
    key = f"roadmap.{name}"
    tensors[key] = torch.from_numpy(change(tensors[key].numpy()))
    with pytest.raises(ValueError, match=r"roadmap\."):
        type(statistics).from_tensors(tensors)
