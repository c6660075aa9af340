from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.planning.rewards import (
    Box,
    ComposableReward,
    Disc,
    Fast,
    KeepOut,
    OnSupport,
    PassThrough,
    Reach,
    Short,
    SlowIn,
    points_on_lines,
)
from dfplan.tokens.support import Support, fit_support
from dfplan.types import Reward

BATCH, POINTS = 3, 6
STEPS = 10.0 * torch.arange(POINTS)


def support() -> Support:
    """A full square from (0, 0) to (4, 4)."""
    axis = np.arange(0, 4.01, 0.05)
    return fit_support([np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)], 0.1)


REWARDS: dict[str, ComposableReward] = {
    "reach": Reach(torch.tensor([5.0, -1.0])),
    "pass through": PassThrough(torch.tensor([[1.0, 3.0], [4.0, 0.0]])),
    "fast": Fast(torch.tensor([2.0, 2.0])),
    "keep out": KeepOut([Disc((1.0, 1.0), 1.5), Box((3.0, 3.0), (5.0, 4.0))], margin=0.3),
    "keep out of what moves": KeepOut(
        [Disc((0.0, 2.0), 2.0, velocity=(0.1, -0.02))], points_per_line=3
    ),
    "slow in": SlowIn(Box((-9.0, -9.0), (9.0, 9.0)), limit=0.2),
    "short": Short(),
    "on support": OnSupport(support()),
    "sum": Short() + OnSupport(support(), points_per_line=3),
    "weighted": 0.3 * Short() + Reach(torch.tensor([1.0, 1.0])) * 2.0,
}

each = pytest.mark.parametrize("reward", REWARDS.values(), ids=list(REWARDS))


def plans(seed: int = 0) -> torch.Tensor:
    """Plans [B, P, 2] that partly leave the square."""
    generator = torch.Generator().manual_seed(seed)
    return 7 * torch.rand(BATCH, POINTS, 2, generator=generator) - 1.5


@each
@pytest.mark.parametrize("seed", range(2))
def test_gradients_equal_finite_differences(reward: Reward, seed: int) -> None:
    points = plans(seed).requires_grad_()
    (gradient,) = torch.autograd.grad(reward(points, STEPS).sum(), points)
    step = 2e-3
    for token in range(POINTS):
        for axis in range(2):
            move = torch.zeros(POINTS, 2)
            move[token, axis] = step
            slope = (reward(points + move, STEPS) - reward(points - move, STEPS)) / (2 * step)
            error = (gradient[:, token, axis] - slope).abs()
            assert (error < 0.02 * gradient.abs().max() + 0.02).all()


@each
def test_one_number_per_plan_and_none_above_0(reward: Reward) -> None:
    values = reward(plans(), STEPS)
    assert values.shape == (BATCH,) and (values <= 0).all()


def test_sums_and_weights_compose() -> None:
    first, second = Short(), OnSupport(support())
    asked = plans(), STEPS
    assert torch.equal((first + second)(*asked), first(*asked) + second(*asked))
    assert torch.equal((3 * first)(*asked), 3 * first(*asked))
    assert torch.equal((first * 3)(*asked), 3 * first(*asked))
    nested = 2 * (first + 0.5 * (second + first) * 4) + second
    assert torch.allclose(nested(*asked), 6 * first(*asked) + 5 * second(*asked), rtol=1e-5)
    several = 2 * first(*asked) + second(*asked)
    for summed in (reduce(add, [first, second, first]), sum([first, second, first])):
        assert torch.allclose(summed(*asked), several)


def test_functions_can_be_added_on_either_side() -> None:
    def leftward(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -points[..., 0].sum(1)

    asked = plans(), STEPS
    for both in (Short() + leftward, leftward + Short()):
        assert torch.equal(both(*asked), Short()(*asked) + leftward(*asked))
        assert torch.equal((2 * both)(*asked), 2 * both(*asked))


def line(*places: tuple[float, float]) -> torch.Tensor:
    """One plan through ``places``, [1, P, 2]."""
    return torch.tensor([places], dtype=torch.float32)


def test_reach_worked_by_hand() -> None:
    points = torch.zeros(2, 3, 2)
    points[:, -1] = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert Reach(torch.zeros(2))(points, STEPS[:3]).tolist() == [-12.5, -0.5]


def test_places_are_passed_in_order() -> None:
    points = line((0, 0), (2, 0), (4, 0), (6, 0))
    near, far = (2.0, 1.0), (6.0, 2.0)

    def passed(*places: tuple[float, float]) -> float:
        return float(PassThrough(torch.tensor(places), points_per_line=1)(points, STEPS[:4]))

    assert passed(near) == -0.5 and passed(far) == -2
    assert passed(near, far) == -2.5
    # The wrong way round one of the two is missed: both at (4, 0), or one and then the other.
    assert passed(far, near) == -0.5 * min((4 + 4) + (4 + 1), 4 + 17, 16 + 4 + 1)
    between = PassThrough(torch.tensor([[3.0, 0.0]]), points_per_line=2)
    assert between(points, STEPS[:4]) == 0


def test_fast_worked_by_hand() -> None:
    fast = Fast(torch.tensor([4.0, 0.0]), radius=0.5)
    # Outside by 9.5, 1.5, 0 and 0: the first point is no step's end, half is full share for one.
    assert fast(line((0, 0), (2, 0), (3.5, 0), (4, 0)), STEPS[:4]) == pytest.approx(-10 * 0.75)
    assert fast(line((4, 0), (4, 1), (4, 1.5)), STEPS[:3]) == pytest.approx(-10 * (1 / 2 + 2 / 3))
    late, soon = line((0, 0), (2, 0), (2, 0), (4, 0)), line((0, 0), (2, 0), (4, 0), (4, 0))
    assert fast(soon, STEPS[:4]) > fast(late, STEPS[:4])
    assert fast(soon, 3 * STEPS[:4]) == 3 * fast(soon, STEPS[:4])
    with pytest.raises(ConfigError, match="radius must be a finite number"):
        Fast(torch.zeros(2), radius=0.0)


@pytest.mark.parametrize(
    ("region", "place", "outside"),
    [
        (Disc((1, 1), 0.5), (1, 3), 1.5),
        (Disc((1, 1), 0.5), (1, 1.2), -0.3),
        (Disc((1, 1), 0.5, (0.1, 0)), (4, 1), 1.5),  # at step 10
        (Box((0, 0), (2, 1)), (3, 0.5), 1),
        (Box((0, 0), (2, 1)), (5, 5), 5),
        (Box((0, 0), (2, 1)), (1, 0.25), -0.25),
        (Box((0, 0), (2, 1)), (2, 0.5), 0),
    ],
)
def test_signed_distance_of_regions(
    region: Any, place: tuple[float, float], outside: float
) -> None:
    found = region.signed_distance(line(place), torch.tensor([10.0]))
    assert found.shape == (1, 1) and found.item() == pytest.approx(outside, abs=1e-5)


def test_keep_out_checks_lines_and_times() -> None:
    disc = Disc((2.0, 0.0), 1.0)
    across = line((0, 0), (4, 0))
    keep = KeepOut([disc], points_per_line=2)
    assert keep(across, STEPS[:2]) == pytest.approx(-0.5, abs=1e-5)  # its middle is 1 deep
    assert KeepOut([disc], points_per_line=1)(across, STEPS[:2]) == 0
    assert keep(line((0, 1.2), (4, 1.2)), STEPS[:2]) == 0
    assert KeepOut([disc], margin=0.5)(line((0, 1.2), (4, 1.2)), STEPS[:2]) < 0
    moving = KeepOut([Disc((0.0, 5.0), 1.0, (0.0, -1.0))], points_per_line=2)
    # The disc crosses the line's middle at step 5 and is long gone at 15.
    assert moving(line((-2, 0), (2, 0)), STEPS[:2]) == pytest.approx(-0.5, abs=1e-5)
    assert moving(line((-2, 0), (2, 0)), STEPS[1:3]) == 0
    both = KeepOut([disc, disc], points_per_line=2)
    assert both(across, STEPS[:2]) == pytest.approx(2 * keep(across, STEPS[:2]).item())


def test_slow_in_limits_speed_only_in_the_region() -> None:
    slow = SlowIn(Box((1.0, -1.0), (3.0, 1.0)), limit=0.05)
    points = line((0, 0), (1, 0), (2, 0), (3, 0), (3.4, 0))
    assert slow(points, STEPS[:5]) == pytest.approx(-0.5 * 2 * 0.5**2)
    assert slow(points, 3 * STEPS[:5]) == 0


def test_an_empty_box_is_an_error() -> None:
    with pytest.raises(ConfigError, match="low below high"):
        Box((0, 0), (0, 1))


def test_short_depends_only_on_displacements() -> None:
    points = plans()
    assert torch.allclose(Short()(points, STEPS), Short()(points + 10, STEPS), rtol=1e-4)
    assert torch.allclose(Short()(points, STEPS), Short()(points.flip(1), STEPS), rtol=1e-4)
    assert (Short()(points[:, :1].expand(-1, 5, -1), STEPS[:5]) == 0).all()
    even = torch.linspace(0, 1, 5)[:, None].expand(-1, 2)[None]
    assert Short()(even, STEPS[:5]) == pytest.approx(-0.5 * 4 * (2 * 0.25**2))
    assert Short()(even, STEPS[:5]) > Short()(even[:, [0, 2, 1, 3, 4]], STEPS[:5])


def test_the_gradient_of_short_points_to_the_middle_of_the_neighbors() -> None:
    points = plans().requires_grad_()
    (gradient,) = torch.autograd.grad(Short()(points, STEPS).sum(), points)
    middle = (points[:, :-2] + points[:, 2:]) / 2
    assert torch.allclose(gradient[:, 1:-1], 2 * (middle - points[:, 1:-1]), atol=1e-5)


def test_on_support_is_0_inside_and_checks_lines() -> None:
    inside = line((0.5, 0.5), (3.5, 0.5), (3.5, 3.5))
    assert OnSupport(support())(inside, STEPS[:3]) == 0
    jump = line((0.5, 3.5), (2.0, 6.5), (3.5, 3.5))
    assert OnSupport(support(), points_per_line=1)(jump, STEPS[:3]) == pytest.approx(
        -3.125, rel=0.1
    )
    ends_inside = line((-0.2, 2.0), (2.0, 4.2))  # cuts no corner but its own ends
    assert OnSupport(support())(ends_inside, STEPS[:2]) < 0
    hole = fit_support([np.array([[0.0, 0.0], [3.0, 0.0]])], 0.1)
    there = line((0.0, 0.0), (3.0, 0.0))
    assert OnSupport(hole, points_per_line=1)(there, STEPS[:2]).abs() < 0.02
    assert OnSupport(hole, points_per_line=2)(there, STEPS[:2]) == pytest.approx(-1.125, rel=0.15)


@pytest.mark.parametrize("between", [1, 2, 5])
def test_points_on_lines(between: int) -> None:
    points = plans()
    found = points_on_lines(points, between)
    assert found.shape == (BATCH, (POINTS - 1) * between, 2)
    assert torch.allclose(found[:, between - 1 :: between], points[:, 1:], atol=1e-6)
    steps = torch.cat([points[:, :1], found], 1).diff(dim=1)
    even = points.diff(dim=1).repeat_interleave(between, 1) / between
    assert torch.allclose(steps, even, atol=1e-5)
