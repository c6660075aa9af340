"""Datasets of hdf5 files with values that were never written, as a stopped recorder leaves them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import load_data
from dfplan.errors import DataError

ROWS = 400
VALUES = {
    "observations": np.cumsum(np.ones((ROWS, 2), np.float32) * 0.1, 0),
    "actions": np.ones((ROWS, 2), np.float32),
    "rewards": np.ones(ROWS, np.float32),
    "timeouts": np.arange(ROWS) == ROWS - 1,
}


def record(
    path: Path, written: dict[str, int], chunk: int | None, fill_value: float | None = None
) -> Path:
    """Reserve all datasets; write the first ``written`` rows of each, all if it is not named."""
    with h5py.File(path, "w") as file:
        for name, values in VALUES.items():
            chunks = (chunk, *values.shape[1:]) if chunk else None
            fill = fill_value if values.dtype.kind == "f" else None
            dataset = file.create_dataset(
                name, values.shape, values.dtype, chunks=chunks, fillvalue=fill
            )
            count = written.get(name, ROWS)
            if count:
                dataset[:count] = values[:count]
    return path


@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
@pytest.mark.parametrize(("chunk", "count"), [(None, 0), (100, 0), (100, 200), (100, 300)])
def test_values_that_were_never_written_are_refused(
    field: str, chunk: int | None, count: int, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"{field}.*never written"):
        load_data(record(tmp_path / "a.hdf5", {field: count}, chunk))


@pytest.mark.parametrize("chunk", [None, 100, 300])
def test_data_that_was_written_is_read(chunk: int | None, tmp_path: Path) -> None:
    data = load_data(record(tmp_path / "a.hdf5", {}, chunk))
    np.testing.assert_array_equal(data.actions, VALUES["actions"])


def test_marks_that_were_never_written_were_never_set(tmp_path: Path) -> None:
    data = load_data(record(tmp_path / "a.hdf5", {"timeouts": 0}, 100))
    assert data.segments.tolist() == [[0, ROWS]]


def test_a_fill_value_that_shows_what_is_missing_is_kept(tmp_path: Path) -> None:
    path = record(tmp_path / "a.hdf5", {"observations": 200}, 100, fill_value=np.nan)
    with pytest.warns(UserWarning, match="not finite"):
        data = load_data(path)
    assert data.segments.tolist() == [[0, 200]]


def test_a_small_file_that_claims_many_rows_takes_no_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name in ("observations", "actions"):
            file.create_dataset(name, (10**11, 2), np.float32, chunks=(10**6, 2))
    with pytest.raises(DataError, match="never written"):
        load_data(tmp_path / "a.hdf5")
