"""Recordings from bare arrays, in memory and in files with names of their own."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.data import from_arrays
from dfplan.data.arrays import read_arrays
from dfplan.errors import ConfigError, DataError

ROWS = np.random.default_rng(0).normal(size=(10, 4))
ENDS = np.isin(np.arange(10), [3, 8, 9])
KEYS = {"observations": "obs", "actions": "act", "ends": "done", "goals": "aim", "rewards": "pay"}
STORED = {
    "obs": ROWS.astype(np.float32),
    "act": ROWS[:, :2],
    "done": ENDS.astype(float),
    "aim": np.ones((10, 2), np.int64),
    "pay": np.arange(10.0)[:, None],
    "notes": np.array("of mine"),
}


def save(path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **STORED)
    else:
        with h5py.File(path, "w") as file:
            for name, values in STORED.items():
                file[f"run/{name}"] = str(values) if name == "notes" else values
    return path


def test_positions_are_enough() -> None:
    read = from_arrays(ROWS[:, :2].tolist(), source="robot")
    np.testing.assert_array_equal(read.observations, ROWS[:, :2], strict=True)
    np.testing.assert_array_equal(read.actions, np.zeros((10, 2), np.float32), strict=True)
    np.testing.assert_array_equal(read.episodes, np.array([0], np.int64), strict=True)
    assert read.source == "robot"
    assert read.rewards is read.goals is read.terminals is read.timeouts is read.maze is None


def test_all_that_is_given_is_kept_and_ends_make_episodes() -> None:
    read = from_arrays(ROWS.astype(np.float32), ROWS[:, 2:], ENDS, range(10), np.ones((10, 2)))
    assert read.episodes.tolist() == [0, 4, 9]
    np.testing.assert_array_equal(read.observations, ROWS.astype(np.float32), strict=True)
    np.testing.assert_array_equal(read.actions, ROWS[:, 2:], strict=True)
    np.testing.assert_array_equal(read.rewards, np.arange(10, dtype=np.float32), strict=True)
    np.testing.assert_array_equal(read.goals, np.ones((10, 2)), strict=True)
    assert read.source == "arrays"


def test_arrays_are_copied() -> None:
    observations = ROWS.copy()
    read = from_arrays(observations)
    observations[:] = 0
    assert read.observations.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ROWS[:, :3],), r"must have shape \[N, 4\] or \[N, 2\]; got \[10, 3\]"),
        ((ROWS[0],), r"got \[4\]"),
        ((3.0,), r"got \[\]"),
        (([["a", "b"]],), "observations must hold numbers; got <U1"),
        (([[1, 2], [3]],), "observations must be an array of numbers"),
        ((ROWS, ROWS[:9, :2]), r"actions must have shape \[10, 2\]; got \[9, 2\]"),
        ((ROWS, None, np.ones(9)), r"ends must have shape \[10\]; got \[9\]"),
        ((ROWS, None, None, np.ones(9)), r"rewards must have shape \[10\]; got \[9\]"),
        ((ROWS, None, None, None, ROWS), r"goals must have shape \[10, 2\]; got \[10, 4\]"),
    ],
)
def test_wrong_arrays_are_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"^own: .*{message}"):
        from_arrays(*arguments, source="own")


@pytest.mark.parametrize("ending", [".npz", ".hdf5"])
def test_a_files_arrays_are_read_by_their_names(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"own{ending}")
    group = "" if ending == ".npz" else "run/"
    read = read_arrays(path, {field: group + name for field, name in KEYS.items()})
    np.testing.assert_array_equal(read.observations, STORED["obs"], strict=True)
    np.testing.assert_array_equal(read.actions, STORED["act"], strict=True)
    np.testing.assert_array_equal(read.goals, np.ones((10, 2), np.float32), strict=True)
    np.testing.assert_array_equal(read.rewards, np.arange(10.0), strict=True)
    assert read.episodes.tolist() == [0, 4, 9]
    assert read.source == path.name
    with pytest.raises(ConfigError, match=rf"array of {path.name} '{group}ob'.*mean '{group}obs'"):
        read_arrays(path, {"observations": f"{group}ob"})
    with pytest.raises(DataError, match="notes must hold numbers"):
        read_arrays(path, {"observations": f"{group}notes"})


def test_wrong_keys_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "own.npz")
    with pytest.raises(ConfigError, match=r"Unknown field 'action'.*mean 'actions'"):
        read_arrays(path, {"observations": "obs", "action": "act"})
    with pytest.raises(ConfigError, match="must say which array holds the observations"):
        read_arrays(path, {"actions": "act"})
    with pytest.raises(DataError, match="no data file at"):
        read_arrays(tmp_path / "none.npz", KEYS)
    (tmp_path / "text.csv").write_text("obs, act")
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        read_arrays(tmp_path / "text.csv", KEYS)
