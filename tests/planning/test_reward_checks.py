"""What is no reward is refused where it comes in, and by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dfplan.errors import ConfigError
from dfplan.planning.rewards import (
    Box,
    Custom,
    Disc,
    Fast,
    KeepOut,
    LearnedValue,
    OnSupport,
    PassThrough,
    Reach,
    Short,
    SlowIn,
    check_reward,
)
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.sampling.guidance import gradient_ascent

STEPS = 10.0 * torch.arange(6)


def plans(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 6, 2, generator=torch.Generator().manual_seed(0))


def leftward(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    return -points[..., 0].sum(1)


def steep(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """The value is 0 and the gradient NaN."""
    return (0 * points).square().sum((1, 2)).sqrt()


PARTS: list[tuple[Any, str]] = [
    (lambda q, s: -1000.0 * (q[..., 0] > 3).float().sum(-1), "no gradient"),
    (lambda q, s: q[:, -1, 0].detach(), "no gradient"),
    (lambda q, s: -q.square().sum(), r"shape \[\]"),
    (lambda q, s: q[..., 0], r"shape \[., 6\]"),
    (lambda q, s: q.sum().item(), "float"),
    (lambda q, s: 0 * q[:, 0, 0] + torch.inf, "values that are not finite"),
]


@pytest.mark.parametrize(("part", "got"), PARTS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "composed",
    [
        lambda part: part,
        lambda part: Short() + part,
        lambda part: 2 * (part + Short()) + Short(),
        lambda part: Custom(leftward) + 0.5 * Custom(part),
    ],
)
def test_every_part_is_checked(
    part: Any, got: str, batch: int, composed: Callable[[Any], Any]
) -> None:
    points = plans(batch).requires_grad_()
    with pytest.raises(ConfigError, match=rf"<lambda> .*\[{batch}\].*got {got}"):
        check_reward(composed(part))(points, STEPS)


def test_one_value_for_all_plans_is_an_error(planner: ForcingPlanner) -> None:
    one = Short() + (lambda q, s: 0.0 * q[:1, 0, 0])
    with pytest.raises(ConfigError, match=r"reward <lambda> must.*got shape \[1\]"):
        planner.plan([-20.0, 40.0, 0.0, 0.0], reward=one, seed=0)


def test_a_gradient_of_parameters_only_is_an_error() -> None:
    network = torch.nn.Linear(2, 1)

    def cut_off(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return network(points.detach()[:, -1])[:, 0]

    with pytest.raises(ConfigError, match=r"cut_off .* no gradient"):
        check_reward(Short() + cut_off)(plans().requires_grad_(), STEPS)


def test_rewards_without_a_gradient_can_be_evaluated() -> None:
    reward = check_reward(Short() + (lambda q, s: (q[:, -1, 0] > 0).float()))
    points = plans()
    assert reward(points, STEPS).shape == (3,)
    with torch.no_grad():
        assert reward(points.requires_grad_(), STEPS).shape == (3,)


def test_checks_change_neither_value_nor_gradient() -> None:
    reward = 2 * (Short() + leftward) + 0.5 * Reach([1.0, 2.0])
    points = plans().requires_grad_()
    for made, same in (
        (reward, check_reward(reward)),
        (leftward, check_reward(leftward)),
        (leftward, Custom(leftward)),
    ):
        assert torch.equal(made(points, STEPS), same(points, STEPS))
        first, second = (
            torch.autograd.grad(reward(points, STEPS).sum(), points)[0] for reward in (made, same)
        )
        assert torch.equal(first, second)


def test_a_gradient_that_is_not_finite_is_an_error_of_its_reward(planner: ForcingPlanner) -> None:
    reward = Short() + 3 * (Custom(leftward) + steep)
    with pytest.raises(ConfigError, match=r"steep .*gradient that is not finite"):
        planner.plan([-20.0, 40.0, 0.0, 0.0], reward=reward, seed=0)


def test_gradients_that_become_infinite_outside_rewards_name_none() -> None:
    def value(points: torch.Tensor) -> torch.Tensor:
        return 1e30 * (1e30 * check_reward(Short() + leftward)(points, STEPS))

    with pytest.raises(ConfigError, match="Guidance needs a finite gradient") as raised:
        gradient_ascent(value, plans(), torch.ones(1, 1, 1), 1, 0.1)
    assert "leftward" not in str(raised.value)
    with pytest.raises(ConfigError, match="as the positions are not"):
        check_reward(Short())(plans() * torch.nan, STEPS)


@pytest.mark.parametrize("made", [np.array, torch.tensor, list], ids=["numpy", "torch", "list"])
def test_rewards_have_the_dtype_of_the_positions(
    planner: ForcingPlanner, corridor: Any, made: Callable[[list[float]], Any]
) -> None:
    there = corridor.at(np.array(20.0))
    target = torch.from_numpy(there)  # 64 bits
    state = [*corridor.at(np.array(10.0)), 0.0, 0.0]

    def reach(points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return -0.5 * (points[:, -1] - target).square().sum(-1)

    assert check_reward(reach)(plans(), STEPS).dtype == torch.float32
    tree = TreePlanner(planner, TreeSettings(evaluations=24))
    for planner_ in (planner, tree):
        first, second = (
            planner_.plan(state, reward=20.0 * reward, horizon=80, seed=0)
            for reward in (Reach(made(there.tolist())), Custom(reach))
        )
        np.testing.assert_allclose(first.points, second.points, atol=1e-3)


def test_only_rewards_compose() -> None:
    short = Short()
    assert short + 0 is short and 0 + short is short
    for wrong in (3, 0.5, "x", None, [short]):
        for composed in (lambda x: short + x, lambda x: x + short, Custom):
            with pytest.raises(ConfigError, match="function of"):
                composed(wrong)
    with pytest.raises(ConfigError, match=r"function of.*<lambda>"):
        short + (lambda points: points[:, -1, 0])  # type: ignore[arg-type, misc]
    for reward in (short, leftward):
        with pytest.raises(ConfigError, match="multiplied by a number"):
            short * reward  # type: ignore[operator]
    for weight in ("x", None, torch.ones(3), torch.nan, torch.inf):
        with pytest.raises(ConfigError, match="weight must be a finite number; got"):
            short * weight  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"got Short\(\)"):
        short * Short()  # type: ignore[operator]


def test_weights_may_be_any_number() -> None:
    points = plans()
    for weight in (-2, True, 0.5, np.float32(0.25), np.float64(3.0), np.int64(2)):
        expected = float(weight) * Short()(points, STEPS)
        assert torch.equal((weight * Short())(points, STEPS), expected)
        assert torch.equal((Short() * weight)(points, STEPS), expected)


def test_plain_functions_compose_in_custom() -> None:
    arguments = plans(), STEPS
    assert torch.equal((2 * Custom(leftward))(*arguments), 2 * leftward(*arguments))
    assert torch.equal((Custom(leftward) + leftward)(*arguments), 2 * leftward(*arguments))


@pytest.mark.parametrize("kept", [torch.tensor, np.array, tuple, list])
def test_positions_may_be_arrays_tensors_or_lists(kept: Callable[[Any], Any]) -> None:
    one, many = [1.0, 2.0], [[1.0, 2.0], [3.0, 0.0]]
    for made, plain in (
        (Reach, one),
        (Fast, one),
        (PassThrough, many),
        (lambda at: KeepOut([Disc(at, 3.0, at), Box([-9, -9], at)]), one),
    ):
        got, expected = made(kept(plain)), made(torch.tensor(plain))
        assert torch.equal(got(plans(), STEPS), expected(plans(), STEPS))
    assert torch.equal(PassThrough(np.array(many)[::-1]).places, torch.tensor(many).flip(0))
    assert Reach(np.ones(2)).target.dtype == torch.float32


NAN, DISC = float("nan"), Disc((0.0, 0.0), 1.0)

ARGUMENTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: Reach(torch.ones(3)), r"Reach needs target: numbers \[2\]; got tensor\(\[1., 1., 1."),
    (lambda: Reach(torch.ones(1)), "Reach needs target"),
    (lambda: Reach(torch.ones(1, 2)), "Reach needs target"),
    (lambda: Reach([1.0, NAN]), r"Reach needs target.*got \[1.0, nan\]"),
    (lambda: Reach("ab"), "Reach needs target.*got 'ab'"),
    (lambda: Reach(None), "Reach needs target.*got None"),
    (lambda: Reach([[1.0, 2.0], [3.0]]), "Reach needs target"),
    (lambda: Reach(5.0), "Reach needs target.*got 5.0"),
    (lambda: PassThrough([1.0, 2.0]), r"places: numbers \[Q, 2\], Q at least 1; got \[1.0, 2.0\]"),
    (lambda: PassThrough(torch.zeros(0, 2)), "PassThrough needs places"),
    (lambda: PassThrough([]), "PassThrough needs places"),
    (
        lambda: PassThrough([[1.0, 2.0]], points_per_line=0),
        "points_per_line must be a whole number",
    ),
    (lambda: Fast([1.0]), "Fast needs target"),
    (lambda: Disc((1.0,), 1.0), "Disc needs center"),
    (lambda: Disc((1.0, 2.0), -1.0), "radius must be a finite number"),
    (lambda: Disc((1.0, 2.0), NAN), "radius must be a finite number"),
    (lambda: Disc((1.0, 2.0), 1.0, (NAN, 0.0)), "Disc needs velocity"),
    (lambda: Box((0.0, 0.0), (1.0, 2.0, 3.0)), "Box needs high"),
    (lambda: Box((3.0, 0.0), (1.0, 2.0)), "low below high"),
    (lambda: KeepOut([]), r"at least one region.*Got \[\]"),
    (lambda: KeepOut(DISC), r"at least one region.*Got Disc\("),
    (lambda: KeepOut([DISC, (1.0, 2.0)]), "a region is"),
    (lambda: KeepOut([DISC], margin=-0.1), "margin must be a finite number"),
    (lambda: KeepOut([DISC], margin=NAN), "margin must be a finite number"),
    (
        lambda: KeepOut([DISC], points_per_line=0),
        "points_per_line must be a whole number",
    ),
    (
        lambda: KeepOut([DISC], points_per_line=1.5),
        "points_per_line must be a whole number",
    ),
    (lambda: SlowIn([DISC], 1.0), r"SlowIn one region.*Got \[Disc"),
    (lambda: SlowIn(DISC, -0.1), "limit must be a finite number"),
    (
        lambda: OnSupport(None, points_per_line=0),
        "points_per_line must be a whole number",
    ),
    (lambda: LearnedValue(torch.nn.Linear(4, 1)), r"positions \[3, 2\] got RuntimeError"),
    (lambda: LearnedValue(torch.nn.Linear(2, 1)), r"got values \[3, 1\]"),
    (lambda: LearnedValue(lambda points, steps: points), "got TypeError"),
    (lambda: LearnedValue(lambda points: 1.0), "got AttributeError"),
    (lambda: LearnedValue(3), "got TypeError"),
]


@pytest.mark.parametrize(("made", "message"), ARGUMENTS)
def test_invalid_arguments_are_errors(made: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made()


def test_regions_may_be_infinite() -> None:
    left = KeepOut([Box((-torch.inf, -torch.inf), (0.0, torch.inf))], points_per_line=1)
    points = torch.tensor([[[1.0, 0.0], [2.0, 9.0], [-3.0, 5.0]]]).requires_grad_()
    value = left(points, STEPS[:3])
    (gradient,) = torch.autograd.grad(value.sum(), points)
    assert value.item() == pytest.approx(-9)
    expected = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [6.0, 0.0]]])
    torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "select",
    [
        lambda states: states[..., 2:4],
        lambda states: states[:, :, slice(4, 6)],
        lambda states: states[..., 2],
        lambda states: states[:, 1:, 3:5],
    ],
)
def test_missing_columns_are_errors_however_they_are_indexed(
    select: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    reward = Custom(lambda states, steps: -select(states).flatten(1).square().sum(1))
    with pytest.raises(ConfigError, match="asks for a column"):
        reward(torch.zeros(3, 5, 2), torch.arange(5))
    assert reward(torch.zeros(3, 5, 6), torch.arange(5)).shape == (3,)


def test_other_wrong_indices_are_not_called_missing_columns() -> None:
    for function in (
        lambda states, steps: states[:, 500, 0],
        lambda states, steps: states[:, 0, 0] * [1.0, 2.0][7],
    ):
        with pytest.raises(ConfigError, match="index that does not exist"):
            Custom(function)(torch.zeros(3, 5, 2), torch.arange(5))


def test_indices_that_exist_are_left_alone() -> None:
    states = torch.randn(3, 5, 4)
    for select in (
        lambda states: states[..., :2],
        lambda states: states[..., -2:],
        lambda states: states[..., None, 3],
        lambda states: states[:, -1],
        lambda states: states[0:1, 2:10],
        lambda states: states[..., torch.tensor([0, 3])],
    ):
        seen: list[torch.Tensor] = []
        Custom(lambda x, steps: (seen.append(select(x)), x[:, 0, 0])[1])(states, torch.arange(5))  # noqa: B023
        assert torch.equal(seen[0], select(states))
