"""Contacts in recorded walks, and the clearance that plans keep from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dfplan.data import from_arrays, segmented
from dfplan.errors import ConfigError
from dfplan.tokens.contacts import find_contacts
from dfplan.tokens.free_region import Clearance, free_region
from dfplan.tokens.motion import fit_motion
from dfplan.tokens.statistics import fit_statistics
from dfplan.tokens.support import Support
from dfplan.types import Trajectories

GAIN, DT, WALL = 0.2, 0.01, 1.0
NONE = np.zeros((0, 2))


def walk(seed: int, rows: int = 2000, noise: float = 0.0) -> Trajectories:
    """A ball that is pushed around the origin, which a wall at WALL along the first axis stops."""
    rng = np.random.default_rng(seed)
    state, states, push = np.zeros(4), [], np.zeros((rows, 2), np.float32)
    for row in range(rows):
        if row % 20 == 0:
            push[row : row + 20] = np.clip(rng.uniform(-1.5, 1.5, 2) - state[:2], -1, 1)
        action = push[row]
        states.append(state)
        position, velocity = state[:2], 0.98 * state[2:] + GAIN * action
        position = position + DT * velocity
        if position[0] > WALL:
            position[0], velocity[0] = WALL, 0.0
        state = np.concatenate([position, velocity])
    observations = np.array(states) + noise * rng.standard_normal((rows, 4))
    ends = np.arange(rows) == rows - 1
    return segmented(from_arrays(observations.astype(np.float32), push, ends=ends))


def test_contacts_are_where_a_wall_stopped_the_body() -> None:
    data = walk(1)
    contacts = find_contacts(data, fit_motion(data))
    assert len(contacts) > 3
    np.testing.assert_allclose(contacts[:, 0], WALL, atol=1e-3)


def test_a_body_that_touches_nothing_has_no_contacts() -> None:
    data = walk(1)
    free = data.observations[:, 0] < 0.8 * WALL
    segments = np.flatnonzero(np.diff(np.concatenate([[0], free, [0]]))).reshape(-1, 2)
    apart = replace(data, segments=segments[segments[:, 1] - segments[:, 0] > 2])
    assert len(find_contacts(apart, fit_motion(data))) == 0


def test_noise_is_no_contact() -> None:
    data = walk(1)
    assert len(find_contacts(walk(1, noise=0.01), fit_motion(data))) == 0


def test_contacts_and_clearance_survive_a_round_trip_through_tensors() -> None:
    statistics = fit_statistics(walk(1))
    assert len(statistics.contacts)
    for each in (statistics, replace(statistics, clearance=Clearance(-0.5, 3.0))):
        assert type(each).from_tensors(each.to_tensors()) == each


@pytest.mark.parametrize("name, value", [("contacts", [[0.0]]), ("clearance", [0.0, -1.0])])
def test_impossible_values_in_a_checkpoint_are_refused(name: str, value: list[float]) -> None:
    statistics = replace(fit_statistics(walk(1)), clearance=Clearance(1.0, 3.0))
    tensors = statistics.to_tensors()
    tensors[name] = torch.tensor(value, dtype=tensors[name].dtype)
    with pytest.raises(ValueError, match=name):
        type(statistics).from_tensors(tensors)


def test_an_impossible_clearance_is_an_error() -> None:
    with pytest.raises(ConfigError, match="contact"):
        Clearance(0.0, -1.0)
    with pytest.raises(ConfigError, match="edge"):
        Clearance(np.nan)


def strip() -> Support:
    """A visited strip of 20 cells across, from -10 to 10 along the second axis."""
    visited = torch.zeros(80, 40, dtype=torch.bool)
    visited[:, 10:30] = True
    return Support(torch.tensor([0.0, -20.0]), 1.0, visited)


@pytest.mark.parametrize("edge", [-2.0, 0.0, 1.5, 4.0])
def test_plans_keep_the_clearance_from_the_edge(edge: float) -> None:
    region = free_region(strip(), NONE, NONE, Clearance(edge, 0.0))
    across = torch.tensor([[40.0, y] for y in np.linspace(-14, 14, 57)])
    expected = (across[:, 1].abs() - 10 + edge).clamp_min(0)
    np.testing.assert_allclose(region.distance(across), expected, atol=0.1)


@pytest.mark.parametrize("contact", [2.0, 5.0])
def test_plans_keep_the_clearance_from_contacts(contact: float) -> None:
    region = free_region(strip(), np.array([[40.0, 3.0]]), NONE, Clearance(0.0, contact))
    away = np.linspace(0, 7, 29)
    points = torch.from_numpy(np.stack([40.0 + away, np.full(29, 3.0)], 1)).float()
    np.testing.assert_allclose(region.distance(points), (contact - away).clip(0), atol=0.75)


def test_outside_the_region_the_gradient_leads_back() -> None:
    region = free_region(strip(), np.array([[40.0, 3.0]]), NONE, Clearance())
    points = torch.tensor([[39.0, 2.0], [20.0, 13.0], [20.0, -12.0]], requires_grad=True)
    distance = region.distance(points)
    (gradient,) = torch.autograd.grad(distance.sum(), points)
    closer = region.distance(points - 0.5 * gradient)
    assert (closer < distance - 0.2).all()
