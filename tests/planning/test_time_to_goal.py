"""The expected time to a goal: shortest paths without chance, closed forms with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.rewards import TimeToGoal
from dfplan.planning.time_to_goal import GoalTimes, goal_times
from dfplan.tokens.roadmap import Roadmap
from dfplan.tokens.support import Support

CELLS = 5  # of the support along a side of a bin


def roadmap_of(
    bins: list[tuple[int, int]],
    edges: dict[tuple[int, int], float],
    jumps: dict[tuple[int, int], float] | None = None,
) -> Roadmap:
    """Bins of side 1 with edges and their steps, and jumps and their chances."""
    jumps = jumps or {}
    pairs, leaps = sorted(edges), sorted(jumps)
    roadmap = Roadmap(
        np.zeros(2),
        1.0,
        np.array(bins, np.int32),
        np.array(pairs, np.int32).reshape(-1, 2),
        np.array([edges[pair] for pair in pairs], np.float32),
        np.array(leaps, np.int32).reshape(-1, 2),
        np.array([jumps[leap] for leap in leaps], np.float32),
        np.zeros((0, 2), np.float32),
    )
    assert roadmap.problem(support_of(roadmap)) is None
    return roadmap


def support_of(roadmap: Roadmap) -> Support:
    """Visited at the centers of the bins alone, so no line between bins is in sight."""
    shape = CELLS * (roadmap.bins.max(0) + 2)
    visited = torch.zeros(*shape.tolist(), dtype=torch.bool)
    for row, column in roadmap.bins:
        visited[CELLS * row + CELLS // 2, CELLS * column + CELLS // 2] = True
    return Support(torch.zeros(2), 1.0 / CELLS, visited)


def times(roadmap: Roadmap, goal: int, **options: float) -> GoalTimes:
    return goal_times(roadmap, support_of(roadmap), roadmap.centers[goal], **options)


def line_of(count: int) -> list[tuple[int, int]]:
    """Bins in a row, four bins apart, so that none is in sight of another."""
    return [(4 * index, 0) for index in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_without_chance_it_is_the_breadth_first_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = rng.random((9, 9)) < 0.7
    free[4, 4] = True
    bins = [(int(i), int(j)) for i, j in np.argwhere(free)]
    index = {place: number for number, place in enumerate(bins)}
    edges = {
        (index[i, j], index[i + di, j + dj]): 1.0
        for i, j in bins
        for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0))
        if (i + di, j + dj) in index and rng.random() < 0.9  # some lead one way only
    }
    result = times(roadmap_of(bins, edges), index[4, 4])
    expected = np.full(len(bins), np.inf)
    expected[index[4, 4]] = 0
    reached = [index[4, 4]]
    for bin in reached:  # grows while it is read
        for begin, end in edges:
            if end == bin and np.isinf(expected[begin]):
                expected[begin] = expected[bin] + 1
                reached.append(begin)
    np.testing.assert_allclose(result.steps, expected)
    assert (result.arrival == np.isfinite(expected)).all()


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_a_repeated_chance_takes_one_over_its_probability(chance: float) -> None:
    # From bin 0 a jump leads to the goal, bin 1, or back: V = 1 + (1 - p) V = 1 / p.
    roadmap = roadmap_of(line_of(2), {}, {(0, 0): 1 - chance, (0, 1): chance})
    result = times(roadmap, 1)
    assert result.steps[0] == pytest.approx(1 / chance, abs=0.05)
    assert result.arrival[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("chance", [1e-2, 1e-4, 1e-6])
def test_a_rare_chance_has_the_closed_form(chance: float) -> None:
    # From bin 0 a jump leads to the goal, bin 2, or to bin 1, from where 7 steps lead back.
    roadmap = roadmap_of(line_of(3), {(1, 0): 7.0}, {(0, 1): 1 - chance, (0, 2): chance})
    result = times(roadmap, 2)
    expected = (1 + (1 - chance) * 7) / chance
    np.testing.assert_allclose(result.steps[:2], [expected, expected + 7], rtol=1e-6)
    np.testing.assert_allclose(result.arrival, 1.0, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_satisfies_the_equations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, goal = 40, 0
    edges = {
        (int(a), int(b)): float(rng.uniform(2, 9))
        for a, b in rng.integers(0, count, (70, 2))
        if a != b
    }
    jumps = {}
    for source in rng.choice(np.arange(1, count), 10, replace=False).tolist():
        for landing in rng.choice(count, 3, replace=False).tolist():
            jumps[source, landing] = float(rng.uniform(0.05, 0.3))
    result = times(roadmap_of(line_of(count), edges, jumps), goal, risk_aversion=1.0)
    steps, arrival = result.steps, result.arrival
    assert np.isfinite(steps).sum() > 5
    known = [result.steps[bin] for bin in range(count) if np.isfinite(steps[bin])]
    losses = []
    for bin in np.flatnonzero(np.isfinite(steps)).tolist():
        if bin == goal:
            assert steps[bin] == 0 and arrival[bin] == 1
            continue
        leaps = {end: chance for (begin, end), chance in jumps.items() if begin == bin}
        ways = {end: cost for (begin, end), cost in edges.items() if begin == bin}
        ways = {end: cost for end, cost in ways.items() if np.isfinite(steps[end])}
        leaves = sum(leaps.values()) if ways else 1.0
        share = leaves / sum(leaps.values()) if leaps else 0.0
        lands = {end: chance * share for end, chance in leaps.items()}
        value = sum(chance for chance in lands.values())
        value += sum(chance * steps[end] for end, chance in lands.items() if steps[end] < np.inf)
        expected = sum(chance * arrival[end] for end, chance in lands.items())
        if ways:
            best = min(ways, key=lambda end: ways[end] + steps[end])
            value += (1 - leaves) * (ways[best] + steps[best])
            expected += (1 - leaves) * arrival[best]
        lost = sum(chance for end, chance in lands.items() if np.isinf(steps[end]))
        if lost:
            losses.append((steps[bin] - value) / lost)
        else:
            assert steps[bin] == pytest.approx(value, rel=1e-4)
        assert arrival[bin] == pytest.approx(expected, abs=1e-4)
    # All losses have the same value.
    assert not losses or np.ptp(losses) < 1e-3 * max(known)


def test_a_way_is_not_given_up_because_a_loss_is_cheaper() -> None:
    # Bin 0 is left by a jump nine times of ten. A jump lands at bin 1, which leads back, so the
    # way to the goal, bin 2, takes many steps; at bin 3 a jump is a sure loss of few.
    bins = line_of(6)
    edges = {(0, 2): 5.0, (1, 4): 5.0, (4, 0): 5.0, (4, 3): 5.0, (3, 0): 5.0}
    roadmap = roadmap_of(bins, edges, {(0, 1): 0.95, (3, 5): 0.999})
    result = times(roadmap, 2, risk_aversion=0.0)
    assert (result.arrival[[0, 1, 3, 4]] > 0).all() and np.isfinite(result.steps[:5]).all()
    assert result.route(roadmap.centers[1])[1] == 4


def test_a_loss_weighs_as_risk_aversion_says() -> None:
    # The way from bin 0 over bin 2 to the goal, bin 1, takes 30 steps; a jump arrives at once, or
    # is lost at bin 3 with probability 0.2.
    bins, edges = line_of(5), {(4, 0): 2.0, (4, 2): 15.0, (2, 1): 15.0}
    roadmap = roadmap_of(bins, edges, {(0, 1): 0.8, (0, 3): 0.2})
    longest = 15.0
    for aversion in (0.0, 1.0, 3.0, 20.0):
        result = times(roadmap, 1, risk_aversion=aversion)
        risky = 2 + 0.8 * 1 + 0.2 * (1 + (1 + aversion) * longest)
        assert result.steps[4] == pytest.approx(min(risky, 30), abs=1e-3)
        assert result.arrival[4] == pytest.approx(0.8 if risky < 30 else 1)
        assert np.isinf(result.steps[3]) and result.arrival[3] == 0


def test_a_visit_may_end_without_a_jump() -> None:
    # Bin 0 leads to the goal, bin 1, in 10 steps, or with probability 0.25 to bin 2, 40 from it.
    roadmap = roadmap_of(line_of(3), {(0, 1): 10.0, (2, 1): 40.0}, {(0, 2): 0.25})
    result = times(roadmap, 1)
    assert result.steps[0] == pytest.approx(0.25 * 41 + 0.75 * 10)
    assert result.following[0] == 1 and result.arrival[0] == 1


def test_places_between_which_no_way_leads_are_named() -> None:
    roadmap = roadmap_of(line_of(4), {(0, 1): 5.0, (2, 3): 5.0})
    result = times(roadmap, 3)
    with pytest.raises(ObservationError, match=r"0\.5.*12\.5.*2 of 4"):
        result.route(roadmap.centers[0])


def test_a_bin_without_a_way_uses_one_nearby() -> None:
    roadmap = roadmap_of([(0, 0), (2, 0), (6, 0)], {(1, 2): 5.0})
    seen = goal_times(roadmap, everywhere(roadmap), roadmap.centers[2])
    assert seen.route(roadmap.centers[0]).tolist() == [1, 2]
    with pytest.raises(ObservationError, match="No recorded way"):
        times(roadmap, 2).route(roadmap.centers[0])  # what lies between is unknown


def test_a_place_off_the_data_counts_as_the_nearest_recorded_one() -> None:
    roadmap = roadmap_of([(0, 0), (0, 9), (1, 0), (1, 9)], {(0, 2): 5.0, (1, 3): 5.0})
    result = times(roadmap, 3)
    with pytest.raises(ObservationError, match="No recorded way"):
        result.route(np.array([0.5, 4.0]))
    assert result.route(np.array([0.5, 6.0]))[-1] == 3


def test_between_bins_the_time_is_interpolated() -> None:
    chain = roadmap_of([(index, 0) for index in range(6)], {(i, i + 1): 5.0 for i in range(5)})
    result = times(chain, 5)
    centers = torch.from_numpy(chain.centers).float()
    np.testing.assert_allclose(result.expected_steps(centers), result.steps, atol=1e-4)
    middle = (centers[:-1] + centers[1:]) / 2
    expected = (result.steps[:-1] + result.steps[1:]) / 2
    np.testing.assert_allclose(result.expected_steps(middle), expected, atol=1e-4)
    outside = result.expected_steps(centers[0] - torch.tensor([2.0, 0.0]))
    assert outside == pytest.approx(result.steps[0] + 2 * CELLS)


def test_a_plan_is_rewarded_for_being_in_time() -> None:
    chain = roadmap_of([(index, 0) for index in range(6)], {(i, i + 1): 5.0 for i in range(5)})
    reward = TimeToGoal(times(chain, 5))
    centers = torch.from_numpy(chain.centers).float()
    steps = torch.arange(6) * 5.0
    waits = centers[[0, 0, 0, 0, 4, 5]]
    value = reward(torch.stack([centers, waits]), steps)
    assert value[0] == 0 and value[1] == pytest.approx(-0.5 * (1 + 2**2 + 3**2))
    plan = waits.clone()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(reward(plan, steps).sum(), plan)
    assert (gradient[0, 1:4, 0] > 0).all() and not gradient[0, 4:].any()


@pytest.mark.parametrize("value", [-1.0, 1e300, float("nan"), float("inf")])
def test_impossible_risk_aversion_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="risk_aversion"):
        times(roadmap_of(line_of(2), {(0, 1): 5.0}), 1, risk_aversion=value)


def everywhere(roadmap: Roadmap) -> Support:
    """Visited everywhere, so all lines between bins are in sight."""
    shape = CELLS * (roadmap.bins.max(0) + 2)
    visited = torch.ones(*shape.tolist(), dtype=torch.bool)
    return Support(torch.zeros(2), 1.0 / CELLS, visited)


def test_a_body_starts_at_the_bin_in_sight_that_is_soonest_at_the_goal() -> None:
    # From its own bin, 0, the data goes around, over bin 1; from its neighbor, 2, straight on.
    roadmap = roadmap_of(
        [(0, 0), (0, 4), (1, 0), (5, 0)], {(0, 1): 50.0, (1, 3): 50.0, (2, 3): 20.0}
    )
    result = goal_times(roadmap, everywhere(roadmap), roadmap.centers[3])
    assert result.route(roadmap.centers[0]).tolist() == [2, 3]
    hidden = times(roadmap, 3)
    assert hidden.route(roadmap.centers[0]).tolist() == [0, 1, 3]


def test_a_goal_in_a_bin_that_nothing_enters_is_reached_from_one_nearby() -> None:
    roadmap = roadmap_of([(0, 0), (5, 0), (7, 0)], {(0, 1): 20.0, (2, 0): 30.0})
    result = goal_times(roadmap, everywhere(roadmap), roadmap.centers[2])
    assert result.route(roadmap.centers[0]).tolist() == [0, 1]
    with pytest.raises(ObservationError, match="near the goal"):
        times(roadmap, 2)


def test_a_way_goes_on_behind_a_bin_where_a_jump_is_likely() -> None:
    bins = [(index, 0) for index in range(6)] + [(20, 0), (20, 4)]
    edges = {(i, i + 1): 5.0 for i in range(5)}
    roadmap = roadmap_of(bins, edges, {(2, 6): 0.9, (3, 6): 0.9, (4, 6): 0.9, (5, 6): 1.0})
    route = times(roadmap, 6).route(roadmap.centers[0]).tolist()
    assert route[:3] == [0, 1, 2] and 3 <= route[-1] <= 5


def test_a_goal_from_which_bodies_jump_is_an_error() -> None:
    edges = {(0, 1): 5.0, (1, 2): 5.0, (1, 0): 5.0, (2, 1): 5.0}
    roadmap = roadmap_of([(0, 0), (1, 0), (2, 0)], edges, {(2, 0): 0.9})
    visited = everywhere(roadmap)
    with pytest.raises(ObservationError, match="90% of the recorded bodies jump"):
        goal_times(roadmap, visited, roadmap.centers[2])
    # Bodies arrive at a goal beside it, but not from there.
    beside = goal_times(roadmap, visited, roadmap.centers[1])
    assert set(beside.ends) == {0, 1}
