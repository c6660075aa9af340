from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.errors import DataError
from dfplan.tokens.motion import Motion
from dfplan.tokens.normalizer import fit_normalizer
from dfplan.tokens.statistics import Statistics
from dfplan.tokens.support import fit_support
from dfplan.tokens.transitions import TransitionWindows, transition_limits
from dfplan.types import Trajectories


def numbered(lengths: list[int]) -> Trajectories:
    """Segments whose observations hold their segment's and their step's index."""
    ends = np.cumsum(lengths)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    step = np.concatenate([np.arange(length) for length in lengths])
    observations = np.stack([segment, step, segment, step], 1).astype(np.float32)
    return Trajectories(
        observations=observations,
        actions=-observations[:, :2],
        rewards=np.zeros(len(step), np.float32),
        goals=None,
        segments=np.stack([ends - lengths, ends], 1),
        fingerprint="",
        source="numbered",
    )


def test_windows_are_successive_and_stay_in_their_segment() -> None:
    data = numbered([3, 9, 5, 2, 6])
    drawn = TransitionWindows(data, 5).draw(500, torch.Generator().manual_seed(0))
    assert drawn.shape == (500, 5, 6)
    assert torch.equal(drawn[..., :2], -drawn[..., 2:4])
    segment, step = drawn[..., 2], drawn[..., 3]
    assert (segment == segment[:, :1]).all()
    assert (step.diff(dim=1) == 1).all()
    starts = {(int(s), int(t)) for s, t in drawn[:, 0, 2:4]}
    assert starts == {(1, t) for t in range(5)} | {(2, 0), (4, 0), (4, 1)}


def test_windows_repeat_with_the_seed() -> None:
    windows = TransitionWindows(numbered([50, 70]), 8)
    first, again, other = (
        windows.draw(16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_horizon_longer_than_every_segment_is_refused() -> None:
    with pytest.raises(DataError, match=r"10 rows.*9 rows"):
        TransitionWindows(numbered([3, 9]), 10)


def test_limits_hold_the_data_and_round_trip() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform([1.0, 2.0], [4.0, 9.0], (2000, 2)).astype(np.float32)
    motion = Motion(dt=0.01, drag=0.01, gain=0.2, limit=5.0)
    support = fit_support([positions], 0.05)
    limits = transition_limits(Statistics(fit_normalizer([positions]), support, motion))
    top = 0.99 * 5.0 + 0.2
    low, high = limits.low.numpy(), limits.high.numpy()
    np.testing.assert_allclose(high[[0, 1, 4, 5]], [1, 1, top, top], rtol=1e-5)
    np.testing.assert_allclose(low[[0, 1, 4, 5]], [-1, -1, -top, -top], rtol=1e-5)
    for excess in (high[2:4] - positions.max(0), positions.min(0) - low[2:4]):
        assert (excess > -1e-5).all()
        assert (excess <= 0.05 + 1e-5).all()
    values = limits.low + (limits.high - limits.low) * torch.rand(100, 6)
    normalized = limits.normalize(values)
    assert normalized.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(limits.unnormalize(normalized), values, atol=1e-5, rtol=1e-5)
