"""Plans do not depend on the unit in which positions and velocities are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dfplan
from dfplan.data import from_arrays, segmented
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.rewards import Box, Disc, KeepOut, PassThrough, Reach, SlowIn
from dfplan.planning.single import ForcingPlanner
from dfplan.training.loop import train
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.forcing import ForcingConfig
from dfplan.training.settings import TrainSettings
from dfplan.types import Plan

EXACT = (2.0**-30, 2.0**30)
"""Powers of two: every number changes, but is rounded in the same way."""

SETTINGS = TrainSettings(steps=40, batch_size=32, save_every=40, log_every=40, warmup=5)


def walk(count: int = 2000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """States [count, 4] of a pushed body, and actions."""
    rng = np.random.default_rng(seed)
    actions = np.clip(np.cumsum(rng.normal(0, 0.3, (count, 2)), 0) % 2 - 1, -1, 1)
    states = np.zeros((count, 4))
    for row in range(1, count):
        velocity = np.clip(0.98 * states[row - 1, 2:] + 0.1 * actions[row - 1], -5, 5)
        states[row] = [*(states[row - 1, :2] + 0.01 * velocity), *velocity]
    return states, actions


STATES, ACTIONS = walk()


@dataclass(frozen=True)
class Trained:
    """A planner of the walk in a unit."""

    planner: ForcingPlanner
    unit: float

    def plan(self, row: int, **options: object) -> Plan:
        """From a row of the walk to one that comes 60 rows later."""
        here, there = self.unit * STATES[row], self.unit * STATES[row + 60, :2]
        return self.planner.plan(here, there, seed=0, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Trained]:
    """Train a planner on the walk in a unit, once for each unit."""
    known: dict[float, Trained] = {}

    def in_unit(unit: float) -> Trained:
        if unit not in known:
            folder = tmp_path_factory.mktemp("unit")
            data = segmented(from_arrays(unit * STATES, ACTIONS))
            recipe = ForcingConfig(tokens=6, width=32, layers=2)
            train(recipe, data, folder, settings=SETTINGS, progress=False)
            planner = dfplan.load(folder)
            assert isinstance(planner, ForcingPlanner)
            known[unit] = Trained(planner, unit)
        return known[unit]

    return in_unit


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("row", [200, 500, 1500])
def test_plans_are_the_same_in_any_unit(
    trained: Callable[[float], Trained], unit: float, row: int
) -> None:
    base, scaled = trained(1.0).plan(row), trained(unit).plan(row)
    # By rounding, a place on the edge of a bin of the roadmap can change its bin.
    np.testing.assert_allclose(scaled.points / unit, base.points, rtol=0, atol=0.1)
    np.testing.assert_allclose(scaled.candidates / unit, base.candidates, rtol=0, atol=0.1)


@pytest.mark.parametrize("unit", EXACT)
def test_plans_are_equal_to_the_bit_in_powers_of_two(
    trained: Callable[[float], Trained], unit: float
) -> None:
    base, scaled = trained(1.0).plan(500), trained(unit).plan(500)
    for name in ("points", "candidates", "spread"):
        np.testing.assert_array_equal(getattr(scaled, name) / unit, getattr(base, name))
    np.testing.assert_array_equal(scaled.scores, base.scores)


@pytest.mark.parametrize("unit", EXACT)
def test_rewards_of_squared_lengths_guide_the_same_way(
    trained: Callable[[float], Trained], unit: float
) -> None:
    """Only their weight against travel time, when a plan is selected, depends on the unit."""

    def guided(one: Trained) -> np.ndarray:
        places = torch.from_numpy(one.unit * STATES[500:570:10, :2])
        low, high = (tuple((places[3] + one.unit * by).tolist()) for by in (0.05, 0.3))
        disc = Disc(tuple(places[2].tolist()), 0.2 * one.unit)
        reward = Reach(places[-1]) + PassThrough(places[2:4])
        reward += KeepOut([disc, Box(low, high)], margin=0.05 * one.unit)
        reward += SlowIn(disc, 0.001 * one.unit)
        return one.plan(500, reward=reward, horizon=80).candidates / one.unit

    np.testing.assert_allclose(guided(trained(unit)), guided(trained(1.0)), rtol=0, atol=3e-4)


@pytest.mark.parametrize("unit", EXACT)
def test_policies_with_a_state_estimator_act_the_same(
    trained: Callable[[float], Trained], unit: float
) -> None:
    def actions(one: Trained) -> np.ndarray:
        past = dfplan.StateEstimatorSettings(noise=0.02 * one.unit, tokens=2)
        policy = dfplan.Policy(one.planner, tolerance=one.unit, state_estimator=past, seed=0)
        goal = one.unit * STATES[560, :2]
        return np.array([policy.act(one.unit * STATES[500 + step], goal) for step in range(12)])

    np.testing.assert_array_equal(actions(trained(unit)), actions(trained(1.0)))


def test_diffuser_plans_the_same(tmp_path: Path) -> None:
    def points(unit: float) -> np.ndarray:
        data = segmented(from_arrays(unit * STATES, ACTIONS))
        recipe = DiffuserConfig(horizon=16, noise_levels=4, width=8, multiples=(1, 2))
        short = replace(SETTINGS, steps=5, batch_size=8)
        train(recipe, data, tmp_path / str(unit), settings=short, progress=False)
        planner = dfplan.load(tmp_path / str(unit))
        assert isinstance(planner, DiffuserPlanner)
        return planner.plan(unit * STATES[500], unit * STATES[515, :2], seed=0).points / unit

    base = points(1.0)
    for unit in EXACT:
        np.testing.assert_array_equal(points(unit), base)


def test_errors_use_the_unit_of_the_data(trained: Callable[[float], Trained]) -> None:
    one = trained(1e-9)
    with pytest.raises(dfplan.DfplanError, match=r"less than [\d.]+e-11 .*e-07\] is [\d.]+e-07"):
        one.planner.plan(one.unit * STATES[500], 1e3 * one.unit * STATES[560, :2])
