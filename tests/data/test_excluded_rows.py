"""Rows with impossible values do not affect statistics, at any place and in any unit."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfplan.data import check, from_arrays, segmented
from dfplan.data.segments import DataWarning
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.training.recipes.cloning import CloningConfig
from dfplan.training.recipes.diffuser import DiffuserConfig
from dfplan.training.recipes.inverse import InverseConfig

ROWS = 3000
ENDS = np.arange(ROWS) % 500 == 499

UNITS = st.integers(-9, 9).map(lambda power: 10.0**power)
SIZES = st.integers(3, 300).map(lambda power: 10.0**power)
PLACES = st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=5, unique=True)


@cache
def drive() -> tuple[np.ndarray, np.ndarray]:
    """States [ROWS, 4] of a body that is pushed to and fro, and actions."""
    rng = np.random.default_rng(0)
    actions = np.clip(np.cumsum(rng.normal(0, 0.3, (ROWS, 2)), 0) % 2 - 1, -1, 1)
    position, velocity = np.ones(2), np.zeros(2)
    states = []
    for action in actions:
        states.append(np.concatenate([position, velocity]))
        velocity = np.clip(0.98 * velocity + 0.1 * action, -5, 5)
        position = position + 0.01 * velocity
    return np.array(states), actions


def walk(unit: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The same in positions of ``unit``, [ROWS, width]; copies."""
    states, actions = drive()
    return unit * states[:, :width], actions.copy()


def statistics(observations: np.ndarray, actions: np.ndarray) -> Statistics:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", DataWarning)
        return fit_statistics(segmented(from_arrays(observations, actions, ENDS)))


def same(one: Statistics, other: Statistics) -> bool:
    pairs = zip(one.to_tensors().values(), other.to_tensors().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@settings(max_examples=40, deadline=None)
@given(
    unit=UNITS,
    size=SIZES,
    places=PLACES,
    columns=st.sampled_from([[0], [1], [0, 1], [2], [3], [2, 3], [0, 1, 2, 3]]),
    sign=st.sampled_from([-1.0, 1.0]),
    width=st.sampled_from([2, 4]),
)
def test_statistics_do_not_depend_on_excluded_rows(
    unit: float, size: float, places: list[int], columns: list[int], sign: float, width: int
) -> None:
    observations, actions = walk(unit, width)
    columns = [column for column in columns if column < width] or [0]
    lying, left_out = observations.copy(), observations.copy()
    lying[np.ix_(places, columns)] += sign * min(size * unit, 1e300)
    left_out[places] = np.nan
    assert same(statistics(lying, actions), statistics(left_out, actions))


@settings(max_examples=30, deadline=None)
@given(unit=UNITS, size=SIZES, place=st.integers(0, ROWS - 60), length=st.integers(2, 50))
def test_a_recorder_stuck_far_away_does_not_affect_statistics(
    unit: float, size: float, place: int, length: int
) -> None:
    observations, actions = walk(unit, 4)
    lying, left_out = observations.copy(), observations.copy()
    lying[place : place + length, :2] = min(size * unit, 1e300)
    left_out[place : place + length] = np.nan
    assert same(statistics(lying, actions), statistics(left_out, actions))


@pytest.mark.parametrize("size", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("length", [1, 2, 10, 100])
def test_an_episode_far_from_all_others_counts_for_nothing(length: int, size: float) -> None:
    observations, actions = drive()
    lying, left_out = observations.copy(), observations.copy()
    rows = slice(1000, 1000 + length)
    lying[rows, :2] += size
    left_out[rows] = np.nan
    ends = ENDS.copy()
    ends[rows.stop - 1] = True
    with pytest.warns(DataWarning):
        found = fit_statistics(segmented(from_arrays(lying, actions, ends)))
    with pytest.warns(DataWarning):
        wanted = fit_statistics(segmented(from_arrays(left_out, actions, ends)))
    assert same(found, wanted)


def test_a_far_episode_that_others_lead_to_is_kept() -> None:
    observations, actions = drive()
    walks = observations.reshape(-1, 500, 4).copy()
    # Most episodes stay in a room; one goes along a corridor, and one is at its end.
    walks[4, :, 0] += np.linspace(0, 40, 500) * (walks[:, :, 0].max() - walks[:, :, 0].min())
    walks[5, :, 0] += walks[4, -1, 0]
    data = segmented(from_arrays(walks.reshape(-1, 4)[:, :2], actions, ENDS))
    assert np.diff(data.segments).sum() == ROWS


@pytest.mark.parametrize("row", [0, 499, 500, ROWS - 1])
def test_outliers_at_the_ends_of_an_episode_are_excluded(row: int) -> None:
    observations, actions = walk(1.0, 4)
    lying, left_out = observations.copy(), observations.copy()
    lying[row, 0] = 1e5
    left_out[row] = np.nan
    assert same(statistics(lying, actions), statistics(left_out, actions))


def test_many_outliers_in_a_short_recording_do_not_set_the_step_limit() -> None:
    observations, actions = (part[:40] for part in walk(1.0, 2))
    lying = observations.copy()
    lying[[7, 19, 30]] += 1e5
    with pytest.warns(DataWarning, match=r"3 rows .*isolated .*row 7"):
        data = segmented(from_arrays(lying, actions))
    assert data.segments.tolist() == [[0, 7], [8, 19], [20, 30], [31, 40]]


def test_the_check_reports_outliers_and_excludes_them_from_statistics() -> None:
    observations, actions = walk(1.0, 4)
    lying = observations.copy()
    lying[1000, 1], lying[2000, 3] = -1e6, 1e5
    report = check(from_arrays(lying, actions, ENDS))
    rows = {finding.first for finding in report.findings if finding.severity == "handled"}
    assert report.ok and {1000, 2000} <= rows
    kept = np.delete(observations, [1000, 2000], axis=0)
    for column, values in enumerate(list(report.statistics.values())[:4]):
        assert values[2:] == (kept[:, column].min(), kept[:, column].max())


def test_a_body_that_wanders_off_on_foot_is_kept() -> None:
    """Most of the time it stays; far away it is reached by steps, and back."""
    out = np.concatenate([np.linspace(0, 60, 600), np.linspace(60, 0, 600)])
    along = np.concatenate([np.zeros(20_000), out, np.zeros(20_000)])
    data = segmented(from_arrays(np.stack([along, 0.5 * along], 1) + 1))
    assert data.segments.tolist() == [[0, len(along)]]


@pytest.mark.parametrize("recipe", [DiffuserConfig(8, 4, 8), CloningConfig(), InverseConfig(1)])
def test_an_action_far_beyond_full_force_is_full_force(recipe: CloningConfig) -> None:
    observations, actions = walk(1.0, 4)
    wild = actions.copy()
    actions[::7], wild[::7] = 1.0, 1e6
    losses = []
    for given_actions in (actions, wild):
        data = segmented(from_arrays(observations, given_actions, ENDS))
        torch.manual_seed(0)
        network = recipe.untrained()
        objective = recipe.objective(data, fit_statistics(data))
        losses.append(objective(network, 64, torch.Generator().manual_seed(0)).item())
    assert losses[0] == losses[1]
