"""Recordings from bare arrays, in memory and in files with names of their own."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfplan.data import from_arrays, read
from dfplan.data.formats.arrays import read_arrays
from dfplan.errors import ConfigError, DataError
from dfplan.types import Recording

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
        ((ROWS[0],), r"got \[4\]"),
        ((ROWS[:, :0],), r"got \[10, 0\]"),
        ((np.zeros((10, 64, 64, 3), np.uint8),), "image"),
        ((3.0,), r"got \[\]"),
        (([["a", "b"]],), "observations must hold numbers; got <U1"),
        (([[1, 2], [3]],), "observations must be an array of numbers"),
        ((ROWS, ROWS[:9, :2]), r"actions must have shape \[10, A\]; got \[9, 2\]"),
        ((ROWS, None, np.ones(9)), r"ends must have shape \[10\]; got \[9\]"),
        ((ROWS, None, None, np.ones(9)), r"rewards must have shape \[10\]; got \[9\]"),
        ((ROWS, None, None, None, ROWS), r"goals must have shape \[10, 2\]; got \[10, 4\]"),
    ],
)
def test_wrong_arrays_are_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(DataError, match=f"^own: .*{message}"):
        from_arrays(*arguments, source="own")


HELD = {
    "backwards": lambda values: values[::-1].copy()[::-1],
    "every other": lambda values: np.repeat(values, 2, axis=0)[::2],
    "columns first": np.asfortranarray,
    "big-endian": lambda values: values.astype(values.dtype.newbyteorder(">")),
    "mapped": lambda values: np.array(values).view(np.memmap),
    "a list": lambda values: values.tolist(),
    "rows": list,
    "a tensor": torch.tensor,
    "a tensor with gradient": lambda values: torch.tensor(values, requires_grad=True),
    "nothing masked": np.ma.array,
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_containers_of_numbers_do_not_matter(
    held: Callable[[np.ndarray], Any], kind: type[np.floating[Any]]
) -> None:
    values = ROWS.astype(kind)
    values.flags.writeable = False
    got = from_arrays(held(values)).observations
    assert got.flags.c_contiguous and got.dtype.isnative
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, bool])
def test_integers_and_flags_are_accepted(kind: type[np.generic]) -> None:
    values = (10 * ROWS).astype(kind)
    np.testing.assert_array_equal(
        from_arrays(values).observations, values.astype(np.float32), strict=True
    )


@pytest.mark.parametrize(
    "values",
    [
        np.ma.array(ROWS, mask=ROWS > 1),
        list(np.ma.array(ROWS, mask=ROWS > 1)),
        ROWS.astype(complex),
        ROWS.astype(str),
        ROWS.astype(object),
        np.zeros(10, "f4,f4"),
        np.zeros((10, 4), "datetime64[s]"),
        torch.tensor(ROWS).to_sparse(),
        {"x": 1},
        None,
        "rows",
        iter(ROWS),
    ],
)
def test_values_that_are_not_real_numbers_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match="own: observations must"):
        from_arrays(values, source="own")


def test_nan_as_an_end_is_refused(tmp_path: Path) -> None:
    ends = np.zeros(10)
    ends[4] = np.nan
    with pytest.raises(DataError, match=r"own: ends must hold flags; row 4"):
        from_arrays(ROWS, ends=ends, source="own")
    np.savez(tmp_path / "a.npz", observations=ROWS, actions=ROWS[:, :2], terminals=ends)
    with pytest.raises(DataError, match=r"terminals must hold flags; row 4"):
        read(tmp_path / "a.npz")


def in_memory(folder: Path, fields: dict[str, np.ndarray]) -> Recording:
    fields = {"ends": fields["terminals"], **fields}
    del fields["terminals"]
    return from_arrays(**fields)


def in_d4rl(folder: Path, fields: dict[str, np.ndarray]) -> Recording:
    with h5py.File(folder / "a.hdf5", "w") as file:
        for name, values in fields.items():
            file[name] = values
    return read(folder / "a.hdf5")


def in_ogbench(folder: Path, fields: dict[str, np.ndarray]) -> Recording:
    np.savez(folder / "a.npz", **fields)
    return read(folder / "a.npz")


def in_named_arrays(folder: Path, fields: dict[str, np.ndarray]) -> Recording:
    fields = {name.replace("observations", "obs"): values for name, values in fields.items()}
    np.savez(folder / "a.npz", **fields)
    keys = {"observations": "obs", "actions": "actions", "ends": "terminals"}
    return read(folder / "a.npz", keys=keys)


@pytest.mark.parametrize("made", [in_memory, in_d4rl, in_ogbench, in_named_arrays])
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(
    cuts=st.sets(st.integers(1, 39), max_size=12),
    ends=st.sets(st.integers(0, 39), max_size=5),
    seed=st.integers(0, 1000),
    half=st.booleans(),
)
def test_no_episode_spans_rows_that_do_not_follow_one_another(
    tmp_path_factory: pytest.TempPathFactory,
    made: Callable[[Path, dict[str, np.ndarray]], Recording],
    cuts: set[int],
    ends: set[int],
    seed: int,
    half: bool,
) -> None:
    """Pieces of a walk in any order: every step within an episode is a step of the walk."""
    walk = np.cumsum(np.random.default_rng(seed).uniform(0.5, 1, (41, 2)), axis=0)
    pieces = np.split(np.arange(40), sorted(cuts))
    rows = np.concatenate([pieces[i] for i in np.random.default_rng(seed).permutation(len(pieces))])
    following = walk[rows + 1].astype(np.float16) if half else walk[rows + 1]
    terminals = np.isin(np.arange(40), list(ends))
    fields = {
        "observations": walk[rows],
        "actions": np.zeros((40, 2)),
        "terminals": terminals,
        "next_observations": following,
    }
    wrong = np.append(np.diff(rows) != 1, False) & ~terminals
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = made(tmp_path_factory.mktemp("walk"), fields)
    assert bool(told) == wrong.any()
    bounds = itertools.pairwise([*got.episodes, len(got)])
    for first, last in bounds:
        steps = np.diff(got.observations[first:last], axis=0)
        assert (steps > 0).all() and (steps < 1.2).all()
    assert len(got.episodes) == 1 + np.count_nonzero((wrong | terminals)[:-1])


@pytest.mark.parametrize("made", [in_memory, in_d4rl, in_ogbench, in_named_arrays])
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_transitions_are_refused(
    tmp_path: Path, made: Callable[[Path, dict[str, np.ndarray]], Recording], seed: int
) -> None:
    walk = np.cumsum(np.ones((101, 2)), axis=0)
    rows = np.random.default_rng(seed).permutation(100)
    fields = {
        "observations": walk[rows],
        "actions": np.zeros((100, 2)),
        "terminals": np.zeros(100, bool),
        "next_observations": walk[rows + 1],
    }
    with pytest.raises(DataError, match=r"shuffled transitions.*of 99 rows"):
        made(tmp_path, fields)


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
    with pytest.raises(ConfigError, match="must name the array"):
        read_arrays(path, {"actions": "act"})
    with pytest.raises(DataError, match="no data file at"):
        read_arrays(tmp_path / "none.npz", KEYS)
    (tmp_path / "text.csv").write_text("obs, act")
    with pytest.raises(DataError, match="not a whole hdf5 file"):
        read_arrays(tmp_path / "text.csv", KEYS)
