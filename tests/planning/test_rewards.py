from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch

from dfplan.data.support import Support, fit_support
from dfplan.planning.rewards import ComposableReward, OnSupport, Reach, Short, on_lines
from dfplan.types import Reward

BATCH, POINTS = 3, 6


def support() -> Support:
    """A full square from (0, 0) to (4, 4)."""
    axis = np.arange(0, 4.01, 0.05)
    return fit_support(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), 0.1)


REWARDS: dict[str, ComposableReward] = {
    "reach": Reach(torch.tensor([5.0, -1.0])),
    "reach each": Reach(torch.tensor([[5.0, -1.0], [2.0, 2.0], [0.0, 7.0]])),
    "short": Short(),
    "on support": OnSupport(support()),
    "sum": Short() + OnSupport(support(), between=3),
    "weighted": 0.3 * Short() + Reach(torch.tensor([1.0, 1.0])) * 2.0,
}

each = pytest.mark.parametrize("reward", REWARDS.values(), ids=list(REWARDS))


def plans(seed: int = 0) -> torch.Tensor:
    """Plans [B, P, 2] that leave the square here and there."""
    generator = torch.Generator().manual_seed(seed)
    return 7 * torch.rand(BATCH, POINTS, 2, generator=generator) - 1.5


@each
@pytest.mark.parametrize("seed", range(2))
def test_gradient_is_that_of_finite_differences(reward: Reward, seed: int) -> None:
    points = plans(seed).requires_grad_()
    (gradient,) = torch.autograd.grad(reward(points).sum(), points)
    step = 2e-3
    for token in range(POINTS):
        for axis in range(2):
            move = torch.zeros(POINTS, 2)
            move[token, axis] = step
            slope = (reward(points + move) - reward(points - move)) / (2 * step)
            error = (gradient[:, token, axis] - slope).abs()
            assert (error < 0.02 * gradient.abs().max() + 0.02).all()


@each
def test_one_number_a_plan_and_none_above_the_best(reward: Reward) -> None:
    values = reward(plans())
    assert values.shape == (BATCH,) and (values <= 0).all()


def test_sums_and_weights_compose() -> None:
    first, second = Short(), OnSupport(support())
    points = plans()
    assert torch.equal((first + second)(points), first(points) + second(points))
    assert torch.equal((3 * first)(points), 3 * first(points))
    assert torch.equal((first * 3)(points), 3 * first(points))
    nested = 2 * (first + 0.5 * (second + first) * 4) + second
    assert torch.allclose(nested(points), 6 * first(points) + 5 * second(points), rtol=1e-5)
    several = reduce(add, [first, second, first])
    assert torch.allclose(several(points), 2 * first(points) + second(points))


def test_any_function_joins_in() -> None:
    def leftward(points: torch.Tensor) -> torch.Tensor:
        return -points[..., 0].sum(1)

    both = Short() + leftward
    assert torch.equal(both(plans()), Short()(plans()) + leftward(plans()))
    twice = 2 * both
    assert torch.equal(twice(plans()), 2 * both(plans()))


def test_reach_by_hand() -> None:
    points = torch.zeros(2, 3, 2)
    points[:, -1] = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert Reach(torch.zeros(2))(points).tolist() == [-12.5, -0.5]
    assert Reach(points[:, -1])(points).tolist() == [0, 0]


def test_short_counts_moves_alone() -> None:
    points = plans()
    assert torch.allclose(Short()(points), Short()(points + 10), rtol=1e-4)
    assert torch.allclose(Short()(points), Short()(points.flip(1)), rtol=1e-4)
    assert (Short()(points[:, :1].expand(-1, 5, -1)) == 0).all()
    line = torch.linspace(0, 1, 5)[:, None].expand(-1, 2)[None]
    assert Short()(line) == pytest.approx(-0.5 * 4 * (2 * 0.25**2))
    assert Short()(line) > Short()(line[:, [0, 2, 1, 3, 4]])


def test_short_pulls_each_point_to_the_middle_of_its_neighbours() -> None:
    points = plans().requires_grad_()
    (gradient,) = torch.autograd.grad(Short()(points).sum(), points)
    middle = (points[:, :-2] + points[:, 2:]) / 2
    assert torch.allclose(gradient[:, 1:-1], 2 * (middle - points[:, 1:-1]), atol=1e-5)


def test_on_support_asks_for_nothing_inside_and_sees_the_lines_between() -> None:
    inside = torch.tensor([[[0.5, 0.5], [3.5, 0.5], [3.5, 3.5]]])
    assert OnSupport(support())(inside) == 0
    jump = torch.tensor([[[0.5, 3.5], [2.0, 6.5], [3.5, 3.5]]])
    assert OnSupport(support(), between=1)(jump) == pytest.approx(-0.5 * 2.5**2, rel=0.1)
    ends_inside = torch.tensor([[[-0.2, 2.0], [2.0, 4.2]]])  # cuts no corner but its own ends
    assert OnSupport(support())(ends_inside) < 0
    hole = fit_support(np.array([[0.0, 0.0], [3.0, 0.0]]), 0.1)
    there = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
    assert OnSupport(hole, between=1)(there).abs() < 0.02
    assert OnSupport(hole, between=2)(there) == pytest.approx(-0.5 * 1.5**2, rel=0.15)


@pytest.mark.parametrize("between", [1, 2, 5])
def test_points_on_lines(between: int) -> None:
    points = plans()
    found = on_lines(points, between)
    assert found.shape == (BATCH, (POINTS - 1) * between, 2)
    assert torch.allclose(found[:, between - 1 :: between], points[:, 1:], atol=1e-6)
    steps = torch.cat([points[:, :1], found], 1).diff(dim=1)
    even = points.diff(dim=1).repeat_interleave(between, 1) / between
    assert torch.allclose(steps, even, atol=1e-5)
