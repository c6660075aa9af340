"""Sampled rows have enough rows of their segment around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfplan.data import from_arrays, segmented
from dfplan.errors import DataError
from dfplan.tokens.sampler import WindowSampler
from dfplan.types import Trajectories


def walks(*lengths: int) -> Trajectories:
    """Segments of ``lengths`` rows, at the same pace."""
    ends = np.concatenate([np.arange(length) == length - 1 for length in lengths])
    steps = np.concatenate([np.arange(float(length)) for length in lengths])
    states = np.stack([steps, 0 * steps, 0 * steps + 1, 0 * steps], 1)
    return segmented(from_arrays(states, ends=ends, source="walks"))


@pytest.mark.parametrize("successors", [0, 1, 3])
def test_all_rows_with_enough_successors_are_drawn_alike(successors: int) -> None:
    data = walks(5, 2, 4, 9)
    rows, ends = WindowSampler(data.segments, successors).draw(
        60_000, torch.Generator().manual_seed(0)
    )
    expected, last = [], {}
    for first, end in data.segments.tolist():
        expected += list(range(first, max(first, end - successors)))
        last |= dict.fromkeys(range(first, end), end)
    found, counts = np.unique(rows, return_counts=True)
    assert found.tolist() == expected
    np.testing.assert_allclose(counts / len(rows), 1 / len(expected), rtol=0.1)
    assert ends.tolist() == [last[row] for row in rows.tolist()]


def test_segments_that_are_all_too_short_are_refused() -> None:
    with pytest.raises(DataError, match=r"6 rows .*walks.* segment has 5 row"):
        WindowSampler(walks(5, 2).segments, 5, source="walks")
    WindowSampler(walks(5, 2).segments, 4)
