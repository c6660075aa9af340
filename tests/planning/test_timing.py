"""How fast a body can follow a plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.lines import too_long
from dfplan.planning.timing import body_times, within_speed
from dfplan.tokens.motion import Motion

BALL = Motion(dt=0.1, drag=0.0, gain=0.2, limit=1.8)
"""A ball whose top speed is 0.2 per step, and which gains 0.02 in each."""

GLIDER = Motion(dt=0.5, drag=1.0, gain=1.0, limit=1.0)
"""A body without inertia, whose speed is 0.5 per step."""

LINE = np.stack([np.linspace(0, 6, 13), np.zeros(13)], 1)[None]


def from_rest(distance: np.ndarray) -> np.ndarray:
    """Constant acceleration up to the top speed, which is reached after a distance of 1."""
    rising = np.sqrt(2 * np.minimum(distance, 1.0) / 0.02)
    return np.asarray(rising + np.maximum(distance - 1.0, 0) / 0.2)


def test_a_body_at_rest_accelerates_to_its_top_speed() -> None:
    np.testing.assert_allclose(body_times(LINE, BALL)[0], from_rest(LINE[0, :, 0]))


def test_a_simulated_body_needs_the_same_time() -> None:
    position, velocity, steps = np.zeros(2), np.zeros(2), 0
    while position[0] < 6:
        position, velocity = BALL.advance(position, velocity, np.array([1.0, 0.0]))
        steps += 1
    assert body_times(LINE, BALL)[0, -1] == pytest.approx(steps, abs=1.5)


def test_a_body_without_inertia_has_its_speed_at_once() -> None:
    np.testing.assert_allclose(body_times(LINE, GLIDER)[0], LINE[0, :, 0] / 0.5)


def test_only_the_velocity_along_the_way_saves_time() -> None:
    lines = np.repeat(LINE, 4, 0)
    velocities = np.array([(2.0, 0.0), (1.0, 0.0), (0.0, 2.0), (-2.0, 0.0)])
    top, some, across, back = body_times(lines, BALL, velocities)
    np.testing.assert_allclose(top, LINE[0, :, 0] / 0.2)
    assert (top[1:] < some[1:]).all() and (some[1:] < across[1:]).all()
    np.testing.assert_allclose([across, back], [from_rest(LINE[0, :, 0])] * 2)


def test_a_diagonal_takes_as_long_as_its_longer_side() -> None:
    slope = LINE * [1, 0] + LINE[..., :1] * [0, 0.7]
    np.testing.assert_allclose(body_times(slope, BALL), body_times(LINE, BALL))


def test_times_rise_and_do_not_depend_on_repeats() -> None:
    points = np.random.default_rng(0).normal(size=(3, 20, 2)).cumsum(1)
    times = body_times(points, BALL)
    assert (times[:, 0] == 0).all() and (np.diff(times, axis=1) > 0).all()
    repeated = body_times(np.repeat(points, 2, 1), BALL)
    np.testing.assert_allclose(repeated[:, ::2], times)


def walks(count: int = 20, points: int = 15) -> torch.Tensor:
    """Lines with parts of very different lengths, and a column beside the position."""
    parts = torch.rand(count, points, 3, generator=torch.Generator().manual_seed(0)) ** 4
    return parts.cumsum(1)


def extents(states: torch.Tensor) -> torch.Tensor:
    return states[..., :2].diff(dim=1).abs().amax(-1)


@pytest.mark.parametrize("last", [14, 9])
def test_no_part_is_longer_than_the_body_can_move_and_the_ends_stay(last: int) -> None:
    states = walks()
    before = extents(states)[:, :last]
    longest = 1.1 * float(before.sum(1).max()) / last
    assert (before > longest).any()
    moved = within_speed(states, torch.full((20,), last), slice(0, 2), longest)
    assert extents(moved)[:, :last].max() <= longest * (1 + 1e-5)
    for kept in (0, slice(last, None)):
        assert torch.equal(moved[:, kept], states[:, kept])


def test_states_move_along_their_line() -> None:
    along = walks(1)[..., 0]
    states = torch.stack([along, 0.5 * along, 3 - along], -1)
    longest = 1.05 * float((along[:, -1] - along[:, 0]) / 14)
    moved = within_speed(states, torch.tensor([14]), slice(0, 2), longest)
    assert not torch.equal(moved, states)
    torch.testing.assert_close(moved[..., 1], 0.5 * moved[..., 0])
    torch.testing.assert_close(moved[..., 2], 3 - moved[..., 0])
    assert (moved[..., 0].diff(dim=1) > -1e-6).all()


def test_plans_that_are_slow_enough_are_untouched() -> None:
    states = walks()
    longest = float(extents(states).max())
    assert torch.equal(within_speed(states, torch.full((20,), 14), slice(0, 2), longest), states)


def test_states_far_from_fast_parts_stay() -> None:
    along = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9])
    states = torch.stack([along, torch.zeros(11)], -1)[None]
    moved = within_speed(states, torch.tensor([10]), slice(0, 2), 0.9)
    assert torch.equal(moved[:, [0, 1, 2, 3, 8, 9, 10]], states[:, [0, 1, 2, 3, 8, 9, 10]])
    assert extents(moved).max() <= 0.9 + 1e-5


def test_a_line_that_is_too_long_for_its_time_stays() -> None:
    states = walks(1)
    longest = 0.9 * float(extents(states).sum()) / 14
    assert torch.equal(within_speed(states, torch.tensor([14]), slice(0, 2), longest), states)


def test_a_part_is_too_fast_if_an_axis_exceeds_the_longest_step() -> None:
    points = np.array([[(0, 0), (2, 0), (2, 2.1), (3.9, 4.0), (3.9, 4.0), (1.5, 4.0)]])
    assert too_long(points, 2.0).tolist() == [[False, True, False, False, True]]
