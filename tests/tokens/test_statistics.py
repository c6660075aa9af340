from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from dfplan.tokens.motion import fit_motion
from dfplan.tokens.statistics import Statistics, fit_statistics
from dfplan.types import Trajectories


@pytest.fixture(scope="module")
def statistics(trajectories: Trajectories) -> Statistics:
    return fit_statistics(trajectories)


def test_tensors_and_statistics_are_inverse(statistics: Statistics) -> None:
    tensors = load(save(statistics.to_tensors()))
    back = Statistics.from_tensors(tensors)
    assert back.motion == statistics.motion
    assert back.support.resolution == statistics.support.resolution
    again = back.to_tensors()
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(again[name], value) and again[name].dtype == value.dtype, name


def test_rebuilt_statistics_compute_the_same(statistics: Statistics) -> None:
    back = Statistics.from_tensors(load(save(statistics.to_tensors())))
    points = 60 * torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 30
    assert torch.equal(back.support.distance(points), statistics.support.distance(points))
    there = statistics.normalizer.normalize(points)
    assert torch.equal(back.normalizer.normalize(points), there)
    assert torch.equal(back.normalizer.unnormalize(there), statistics.normalizer.unnormalize(there))


@pytest.mark.parametrize(
    "name", ["mean", "std", "support.origin", "support.resolution", "support.visited", "motion"]
)
def test_a_missing_tensor_is_named(statistics: Statistics, name: str) -> None:
    tensors = statistics.to_tensors()
    del tensors[name]
    with pytest.raises(KeyError, match=name):
        Statistics.from_tensors(tensors)


def test_limits_are_those_of_the_data(statistics: Statistics, trajectories: Trajectories) -> None:
    positions = torch.from_numpy(trajectories.observations[:, :2]).float()
    assert statistics.motion == fit_motion(trajectories)
    assert statistics.normalizer.normalize(positions).std(0).tolist() == pytest.approx(
        [1, 1], abs=1e-3
    )
    assert statistics.support.resolution == pytest.approx(statistics.motion.max_step)
    assert statistics.support.distance(positions).max() < statistics.support.resolution
    assert np.abs(statistics.motion.gain - 0.24) < 1e-4
