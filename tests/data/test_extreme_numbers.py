"""All arrays give an error of dfplan or finite statistics, without a warning of NumPy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfplan.data import check, from_arrays, segmented
from dfplan.data.segments import SEGMENT_BY, DataWarning
from dfplan.errors import DataError, DfplanError
from dfplan.tokens.statistics import fit_statistics

NUMBERS = [
    *(0.0, -0.0, 1.0, -1.0, 7.25, np.nan, np.inf, -np.inf, 5e-324, 1e-310, 1e-45, 1e-38, 1e-9),
    *(1e5, 1e15, 2.0**63, -(2.0**63), 1e38, 3.4e38, -3.4e38, 1e300, -1e300, 1.7e308),
]


@st.composite
def tables(draw: st.DrawFn, rows: int, width: int) -> np.ndarray:
    """Arrays [rows, width]: anything at all, one number throughout, or a walk with a few."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["walk", "anything", "constant", "integers", "every size"]))
    if kind == "anything":
        return rng.choice(NUMBERS, (rows, width))
    if kind == "constant":
        return np.full((rows, width), draw(st.sampled_from(NUMBERS)))
    if kind == "integers":
        return rng.integers(-(2**63), 2**63 - 1, (rows, width), endpoint=True)
    if kind == "every size":
        return rng.uniform(-1, 1, (rows, width)) * 10.0 ** rng.uniform(-300, 300, (rows, 1))
    walked = np.cumsum(rng.normal(size=(rows, width)), 0)
    walked *= 10.0 ** draw(st.integers(-300, 300))
    if width == 4 and rows:
        walked[:, 2:] = np.diff(walked[:, :2], axis=0, prepend=walked[:1, :2])
    for _ in range(draw(st.integers(0, 5)) if rows else 0):
        walked[rng.integers(rows), rng.integers(width)] = rng.choice(NUMBERS)
    return walked


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_arrays_are_checked_and_fitted_or_refused(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([0, 1, 2, 3, 10, 60]))
    observations = data.draw(tables(rows, data.draw(st.sampled_from([2, 4]))))
    if data.draw(st.booleans()):
        with np.errstate(over="ignore"):
            observations = observations.astype(np.float32)
    ends = np.arange(rows) % data.draw(st.integers(1, 40)) == 0
    optional = st.none() | tables(rows, 2)
    actions, goals = data.draw(optional), data.draw(optional)
    rewards = data.draw(st.none() | tables(rows, 1))
    segment_by = data.draw(st.sampled_from(SEGMENT_BY))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DataWarning)
        recording = from_arrays(observations, actions, ends, rewards, goals)
        report = check(recording, segment_by)
        assert str(report)
        assert all(np.isfinite(values).all() for values in report.statistics.values())
        try:
            fitted = fit_statistics(segmented(recording, segment_by))
        except DfplanError:
            assert not report.ok
            return
    assert report.ok
    assert all(tensor.isfinite().all() for tensor in fitted.to_tensors().values())
    assert (fitted.normalizer.std > 0).all() and fitted.motion.max_step > 0


@pytest.mark.parametrize("offset", [1e6, -1e9, 1e12])
def test_an_offset_that_hides_steps_from_single_precision_is_refused(offset: float) -> None:
    along = offset + np.cumsum(np.full((500, 2), 0.01), 0)
    recording = from_arrays(along)
    with pytest.raises(DataError, match=r"Subtract an offset"):
        fit_statistics(segmented(recording))
    assert not check(recording).ok
    near = fit_statistics(segmented(from_arrays(along - offset)))
    assert near.motion.max_step == pytest.approx(0.01, rel=0.02)
