from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.errors import DataError
from dfplan.tokens.normalizer import fit_normalizer


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (-300.0, 0.01), (5.0, 4000.0)])
def test_normalize_and_unnormalize_are_inverse(offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    positions = (offset + scale * rng.normal(size=(1000, 2)) * [1, 3]).astype(np.float32)
    normalizer = fit_normalizer([positions])
    points = torch.from_numpy(positions).view(10, 100, 2)
    there = normalizer.normalize(points)
    tolerance = 1e-6 * (abs(offset) + 10 * scale)
    assert torch.allclose(normalizer.unnormalize(there), points, rtol=0, atol=tolerance)
    back = normalizer.normalize(normalizer.unnormalize(there))
    assert torch.allclose(back, there, rtol=0, atol=2 * tolerance / scale)


def test_the_data_gets_mean_zero_and_deviation_one() -> None:
    positions = np.random.default_rng(1).uniform([3, -90], [7, 10], (5000, 2))
    there = fit_normalizer([positions]).normalize(torch.from_numpy(positions).float())
    assert there.mean(0).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert there.std(0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_an_axis_that_never_moves_keeps_its_scale() -> None:
    positions = np.stack([np.arange(50.0), np.full(50, 7.0)], 1)
    normalizer = fit_normalizer([positions])
    assert normalizer.std[1] == 1
    there = normalizer.normalize(torch.tensor([[3.0, 7.0], [3.0, 9.0]]))
    assert there[:, 1].tolist() == [0, 2]


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
def test_the_unit_of_positions_is_that_of_the_scale(unit: float) -> None:
    rng = np.random.default_rng(0)
    positions = rng.normal([3, -5], [1, 1e-4], (1000, 2)).astype(np.float32)
    base, scaled = fit_normalizer([positions]), fit_normalizer([np.float32(unit) * positions])
    assert torch.equal(scaled.mean, unit * base.mean)
    assert torch.equal(scaled.std, unit * base.std)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_an_axis_that_moves_by_rounding_alone_keeps_its_scale(unit: float) -> None:
    rng = np.random.default_rng(0)
    drifting = 1e-8 * rng.normal(size=50)
    for across in (np.full(50, 7.0), 7 + drifting, drifting):
        positions = unit * np.stack([np.arange(50.0), across], 1)
        for recorded in (positions, positions.astype(np.float32)):
            assert fit_normalizer([recorded]).std[1] == 1


@pytest.mark.parametrize("positions", [np.zeros((0, 2)), np.array([[1.0, np.nan]])])
def test_no_rows_and_no_numbers_are_refused(positions: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite"):
        fit_normalizer([positions])
