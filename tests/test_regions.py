"""Prediction regions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dfplan.errors import DataError
from dfplan.regions import COVERAGE, RegionTable, fit_regions, region_samples, tokens_ahead

TABLE = RegionTable(
    levels=np.array([0.5, 1.0]),
    ahead=np.array([1, 3]),
    radii=np.array([[(1.0, 2.0), (3.0, 4.0)], [(5.0, 8.0), (7.0, 10.0)]]),
    points_per_token=2,
)


def test_tokens_are_counted_from_the_last_clean_one() -> None:
    noise = np.array([0, 0.2, 0.2, 0, 0, 0.3, 0.3, 0.5, 0.5, 1, 1])
    assert tokens_ahead(noise, 2).tolist() == [1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3]
    assert tokens_ahead(np.ones(5), 1).tolist() == [1, 1, 2, 3, 4]
    both = np.stack([noise, np.ones(11)])
    np.testing.assert_array_equal(tokens_ahead(both, 2)[0], tokens_ahead(noise, 2))


def test_radii_are_interpolated_between_levels() -> None:
    noise = np.array([0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0])
    # The last two tokens are three and four ahead.
    expected = [(0, 0), (0.5, 1), (0.5, 1), (1, 2), (1, 2), (5, 7), (5, 7), (7, 10)]
    np.testing.assert_allclose(TABLE.of(noise), expected)
    np.testing.assert_allclose(TABLE.of(np.stack([noise, noise]))[1], expected)


def test_clean_points_have_no_region() -> None:
    assert not TABLE.of(np.zeros(9)).any()


def test_a_table_survives_json() -> None:
    stored = json.loads(json.dumps(TABLE.to_json()))
    assert RegionTable.from_json(stored) == TABLE


@pytest.mark.parametrize(
    "part", [{"levels": [0.5]}, {"ahead": [1]}, {"radii": [[1.0]]}, {"points_per_token": 0}]
)
def test_damaged_tables_are_refused(part: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RegionTable.from_json(TABLE.to_json() | part)
    with pytest.raises(KeyError):
        RegionTable.from_json({name: x for name, x in TABLE.to_json().items() if name not in part})


def test_fitted_regions_hold_new_places_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        noise, ahead = rng.choice([0.25, 0.5, 1.0], count), rng.integers(1, 9, count)
        size = noise * np.sqrt(ahead)
        return noise, ahead, np.linalg.norm(size[:, None] * rng.standard_normal((count, 2)), axis=1)

    table = fit_regions(*draw(40_000), points_per_token=1)
    noise, ahead, error = draw(40_000)
    for level in np.unique(noise):
        for near in (1, 2, 4):  # bins of their own
            own = (noise == level) & (ahead == near)
            radii = table.of(np.append(0.0, np.full(near, level)))[near]
            held = (error[own, None] <= radii).mean(0)
            np.testing.assert_allclose(held, COVERAGE, atol=0.05)


def test_bins_with_few_tokens_are_joined() -> None:
    noise, ahead = np.ones(500), np.where(np.arange(500) < 450, 1, 16)
    table = fit_regions(noise, ahead, np.arange(500.0), points_per_token=1)
    expected = np.quantile(np.arange(500.0), COVERAGE)
    np.testing.assert_allclose(table.radii, np.broadcast_to(expected, table.radii.shape))


def test_regions_need_tokens() -> None:
    nothing = np.zeros(0)
    with pytest.raises(DataError, match="at least one plan"):
        fit_regions(nothing, nothing.astype(int), nothing, 1)


def test_samples_are_the_errors_of_noisy_tokens_up_to_the_end() -> None:
    final = np.stack([np.arange(5.0), np.zeros(5)], 1)
    off = np.pad(final + np.array([0.0, 2.0]), ((0, 4), (0, 0)))
    rows = [(np.array([0, *[1.0] * 8]), off), (np.array([0, 0, 0, *[0.5] * 6]), off)]
    noise, ahead, error = region_samples(rows, final, points_per_token=2)
    assert noise.tolist() == [1.0, 1.0, 0.5]
    assert ahead.tolist() == [1, 2, 1]
    np.testing.assert_allclose(error, 2.0)
