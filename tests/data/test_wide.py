"""Data with observations and actions of any width, with the shapes of the ant's mazes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dfplan.data import check, from_arrays, load_data, read, segmented, write
from dfplan.data.checks.check import draw_check
from dfplan.data.segments import DataWarning
from dfplan.errors import ConfigError, DataError, DfplanError
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.types import Recording

ROWS, EPISODES, WIDTH, ACTIONS = 400, (0, 100, 250), 29, 8
POSITIONS = {"adjacent": (0, 1), "apart": (20, 3), "last": (27, 28)}


def walk(position: tuple[int, int] = (0, 1)) -> Recording:
    """A body that circles, with numbers in the other columns that mean nothing."""
    rng, time = np.random.default_rng(0), np.arange(ROWS) / 30
    observations = rng.normal(size=(ROWS, WIDTH))
    observations[:, position] = 5 * np.stack([np.cos(time), np.sin(time)], 1)
    ends = np.zeros(ROWS, bool)
    ends[[*np.array(EPISODES[1:]) - 1, -1]] = True
    return from_arrays(
        observations.astype(np.float32),
        rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32),
        ends,
        rewards=np.zeros(ROWS),
        goals=np.full((ROWS, 2), 5.0),
        source="a walk",
        position=position,
    )


def as_d4rl(path: Path, data: Recording) -> Path:
    """A file with the fields of D4RL's ``antmaze``."""
    timeouts = np.zeros(ROWS, bool)
    timeouts[[*np.array(EPISODES[1:]) - 1, -1]] = True
    fields = {
        "observations": data.observations,
        "actions": data.actions,
        "rewards": data.rewards,
        "terminals": np.zeros(ROWS, bool),
        "timeouts": timeouts,
        "infos/goal": data.goals,
        "infos/qpos": data.observations[:, :15],
        "infos/qvel": data.observations[:, 15:],
    }
    with h5py.File(path / "ant.hdf5", "w") as file:
        for name, values in fields.items():
            file[name] = values
    return path / "ant.hdf5"


def as_ogbench(path: Path, data: Recording) -> Path:
    """A file with the arrays of OGBench's ``antmaze``."""
    ends = np.zeros(ROWS)
    ends[[*np.array(EPISODES[1:]) - 1, -1]] = 1
    rows = data.observations
    np.savez(
        path / "ant.npz",
        observations=rows,
        actions=data.actions,
        terminals=ends,
        qpos=rows[:, :15],
        qvel=rows[:, 15:],
    )
    return path / "ant.npz"


def as_minari(path: Path, data: Recording, nested: bool = True) -> Path:
    """A folder with the arrays of Minari's ``antmaze``, where an observation has no position."""
    (path / "ant-v0" / "data").mkdir(parents=True)
    with h5py.File(path / "ant-v0" / "data" / "main_data.hdf5", "w") as file:
        edges = [*EPISODES, ROWS]
        for index, (first, end) in enumerate(pairwise(edges)):
            group, rows = file.create_group(f"episode_{index}"), data.observations[first:end]
            if nested:
                group["observations/observation"] = rows[:, 2:].astype(np.float64)
                group["observations/achieved_goal"] = rows[:, :2].astype(np.float64)
                group["observations/desired_goal"] = np.full((end - first, 2), 5.0)
            else:
                group["observations"] = rows
            group["actions"] = data.actions[first : end - 1]
            for name in ("rewards", "terminations", "truncations"):
                group[name] = np.zeros(end - first - 1)
    return path / "ant-v0"


PUBLISHED: dict[str, Callable[[Path, Recording], Path]] = {
    "d4rl": as_d4rl,
    "ogbench": as_ogbench,
    "minari": as_minari,
    "minari-array": lambda path, data: as_minari(path, data, nested=False),
}
ENDINGS = ("a.hdf5", "a.npz", "a-v0")


@pytest.mark.parametrize("format", PUBLISHED)
def test_published_shapes_are_read_checked_and_converted(format: str, tmp_path: Path) -> None:
    data = walk()
    path = PUBLISHED[format](tmp_path, data)
    read_data = read(path, position=(0, 1))
    np.testing.assert_array_equal(read_data.observations, data.observations)
    assert read_data.actions.shape == data.actions.shape
    assert read_data.layout == ObservationLayout(WIDTH, (0, 1))
    trajectories = load_data(path, position=(0, 1))
    assert trajectories.layout == read_data.layout
    assert np.diff(trajectories.segments).sum() == ROWS
    report = check(read_data)
    assert report.ok, report
    assert [name for name in report.statistics if name.startswith("action")] == [
        f"action {number}" for number in range(1, ACTIONS + 1)
    ]
    for ending in ENDINGS:
        again = read(write(read_data, tmp_path / ending))
        assert again == replace(read_data, source=again.source)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize("maze", [None, "pointmaze-umaze", "umaze"])
def test_what_is_written_is_read_again_with_its_layout(
    tmp_path: Path, ending: str, position: tuple[int, int], maze: str | None
) -> None:
    data = replace(walk(position), maze=maze)
    path = write(data, tmp_path / ending)
    for named in (None, position):
        again = read(path, position=named)
        assert again == replace(data, source=again.source)
    other = read(path, position=(5, 6))
    assert other.layout == ObservationLayout(WIDTH, (5, 6))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_layout_with_velocities_survives(tmp_path: Path, ending: str) -> None:
    layout = ObservationLayout(WIDTH, (3, 20), (7, 4))
    data = replace(walk(), layout=layout)
    path = write(data, tmp_path / ending)
    assert read(path).layout == read(path, position=(3, 20)).layout == layout


def test_only_the_suites_own_layout_needs_no_mark(tmp_path: Path) -> None:
    """Point mazes are written as before: with whole configurations, and without a layout."""
    rows = walk().observations[:, :4]
    with h5py.File(write(from_arrays(rows), tmp_path / "a.hdf5")) as file:
        assert {"qpos", "qvel"} <= set(file["infos"]) and not len(file.attrs)
    with h5py.File(write(walk(), tmp_path / "b.hdf5")) as file:
        assert not {"qpos", "qvel"} & set(file["infos"]) and len(file.attrs) == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_last_row_of_an_episode_keeps_all_of_its_action(tmp_path: Path, ending: str) -> None:
    data = walk()
    data.actions[-1] = np.arange(1, ACTIONS + 1) / 10
    np.testing.assert_array_equal(read(write(data, tmp_path / ending)).actions, data.actions)


def test_other_libraries_load_what_is_written(tmp_path: Path) -> None:
    data = walk()
    ogbench = pytest.importorskip("ogbench.utils")
    rows = ogbench.load_dataset(str(write(data, tmp_path / "a.npz")))
    assert rows["observations"].shape[1] == WIDTH and rows["actions"].shape[1] == ACTIONS
    minari = pytest.importorskip("minari")
    loaded = minari.MinariDataset(str(write(data, tmp_path / "a-v0") / "data"))
    assert loaded.observation_space.shape == (WIDTH,) and loaded.action_space.shape == (ACTIONS,)
    assert [len(episode.observations) for episode in loaded] == [100, 150, 150]


@pytest.mark.parametrize("position", POSITIONS.values(), ids=POSITIONS)
def test_findings_depend_on_the_position_alone(position: tuple[int, int]) -> None:
    """The same motion, in any columns, has the same segments and findings."""

    def spoiled(data: Recording) -> Recording:
        rows = data.observations
        rows[50:, position_of(data)] += 30  # a jump
        rows[120] = 0
        rows[200, 10] = np.nan
        rows[300, position_of(data)] = 1e6  # isolated
        return data

    def position_of(data: Recording) -> list[int]:
        return list(data.layout.position)

    there, here = spoiled(walk(position)), spoiled(walk())
    found, expected = check(there), check(here)
    assert [(each.kind, each.count, each.first) for each in found.findings] == [
        (each.kind, each.count, each.first) for each in expected.findings
    ]
    assert {"jumps", "zero padding", "not finite", "isolated"} <= {
        each.kind for each in found.findings
    }
    np.testing.assert_array_equal(found.segments, expected.segments)
    for name in ("position 1", "position 2"):
        assert found.statistics[name] == expected.statistics[name]


def test_reports_name_every_column() -> None:
    names = list(check(walk((3, 20))).statistics)
    assert len(names) == WIDTH + ACTIONS
    assert names[3] == "position 1" and names[20] == "position 2" and names[6] == "observation 6"
    velocities = replace(walk(), layout=ObservationLayout(WIDTH, (0, 1), (5, 2)))
    assert list(check(velocities).statistics)[5] == "velocity 1"


def test_recorded_velocities_are_checked_where_the_layout_has_them() -> None:
    data = walk((3, 20))
    layout = ObservationLayout(WIDTH, (3, 20), (7, 4))
    time = np.arange(ROWS) / 30
    data.observations[:, [7, 4]] = 5 * np.stack([-np.sin(time), np.cos(time)], 1)
    right = replace(data, layout=layout)
    assert check(right).ok
    swapped = replace(data, layout=replace(layout, velocity=(4, 7)))
    assert "velocities" in {finding.kind for finding in check(swapped).findings}
    data.observations[77, 4] = 1e4
    with pytest.warns(DataWarning, match="velocity outliers"):
        segments = segmented(right).segments
    assert not ((segments[:, 0] <= 77) & (segments[:, 1] > 77)).any()


def test_a_picture_shows_the_position(tmp_path: Path) -> None:
    data = walk((20, 3))
    assert draw_check(tmp_path / "a.png", data, check(data)).stat().st_size
    there, here = (tmp_path / f"{name}.svg" for name in ("there", "here"))
    for path, recording in ((there, data), (here, walk())):
        draw_check(path, recording, check(recording))
    assert there.stat().st_size == here.stat().st_size


def test_positions_in_adjacent_columns_are_not_copied() -> None:
    data = segmented(walk((27, 28)))
    assert data.layout.positions(data.observations).base is not None
    assert np.shares_memory(data.layout.positions(data.observations), data.observations)


def test_planar_data_may_have_any_actions() -> None:
    data = from_arrays(walk().observations[:, :2], walk().actions)
    assert data.layout == PLANAR and check(data).ok
    assert segmented(data).actions.shape == (ROWS, ACTIONS)


def stored(kind: str, folder: Path, **fields: Any) -> Path:
    """A file with these fields, for each format."""
    if kind == "npz":
        np.savez(folder / "a.npz", terminals=np.zeros(len(fields["actions"])), **fields)
        return folder / "a.npz"
    prefix = "episode_0/" if kind == "minari" else ""
    with h5py.File(folder / "a.hdf5", "w") as file:
        for name, values in fields.items():
            file[prefix + name] = values
    return folder / "a.hdf5"


@pytest.mark.parametrize("kind", ["npz", "d4rl", "minari", "arrays"])
@pytest.mark.parametrize(
    ("width", "position", "message"),
    [
        (29, None, "--position"),
        (3, None, "--position"),
        (1, None, "position"),
        (29, (0, 29), "29 columns"),
        (4, (0, 4), "4 columns"),
        (2, (2, 3), "2 columns"),
        (29, (-1, 0), "counted from 0"),
        (29, (7,), "2 columns"),
        (29, (0, 1, 2), "2 columns"),
        (29, (), "2 columns"),
        (29, (7, 7), "twice"),
        (29, (0, 1.5), "whole numbers"),
        (29, (True, False), "whole numbers"),
        (29, "01", "whole numbers"),
        (29, 7, "whole numbers"),
    ],
)
def test_columns_that_cannot_be_the_position_are_refused(
    tmp_path: Path, kind: str, width: int, position: Any, message: str
) -> None:
    rows, actions = np.zeros((10, width)), np.zeros((10, ACTIONS))
    with pytest.raises(ConfigError, match=message):
        if kind == "arrays":
            from_arrays(rows, actions, position=position)
        else:
            read(stored(kind, tmp_path, observations=rows, actions=actions), position=position)


@pytest.mark.parametrize("kind", ["npz", "d4rl", "minari", "arrays"])
@pytest.mark.parametrize("shape", [(10, 64, 64, 3), (10, 5, 2), (10,), (10, 0)])
def test_rows_that_are_no_list_of_numbers_are_refused(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    rows, actions = np.zeros(shape, np.uint8), np.zeros((10, ACTIONS))
    with pytest.raises(DataError, match=r"observations must .*S\]"):
        if kind == "arrays":
            from_arrays(rows, actions, position=(0, 1))
        else:
            read(stored(kind, tmp_path, observations=rows, actions=actions), position=(0, 1))


@pytest.mark.parametrize("use", [check, segmented, lambda data: write(data, "never.hdf5")])
def test_a_layout_of_another_width_is_refused(use: Callable[[Recording], object]) -> None:
    data = walk()
    wrong = Recording(data.observations, data.actions, data.episodes, "a walk")
    with pytest.raises(DataError, match="layout"):
        use(wrong)
    with pytest.raises(DataError, match="layout"):
        use(replace(data, observations=data.observations[:, :2]))


@pytest.mark.parametrize("text", ["", "[", "3", "{}", '{"position": [0, 99]}', '{"position": [0]}'])
def test_a_damaged_layout_is_refused(tmp_path: Path, text: str) -> None:
    path = write(walk(), tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file.attrs["observation_layout"] = text
    with pytest.raises(DataError, match="layout"):
        read(path)


@pytest.mark.parametrize("width", [6, 13])
def test_a_damaged_last_action_of_minari_is_refused(tmp_path: Path, width: int) -> None:
    folder = write(walk(), tmp_path / "a-v0")
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_0"].attrs["dfplan_last_row"] = np.ones(width)
    with pytest.raises(DfplanError, match="dfplan_last_row"):
        read(folder)


def test_blocks_change_nothing(limit_blocks: Callable[[int], None]) -> None:
    data = walk((3, 20))
    data.observations[130:, 3] += 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        whole, report = segmented(data), check(data)
        limit_blocks(7)
        assert segmented(data) == whole
    assert [each.kind for each in check(data).findings] == [each.kind for each in report.findings]


def test_the_position_of_minaris_ant_is_known_without_a_name(tmp_path: Path) -> None:
    """Its observation has no position, so the achieved goal becomes the first two columns."""
    data = walk()
    assert read(as_minari(tmp_path, data)).layout == data.layout
    with pytest.raises(ConfigError, match="--position"):
        (tmp_path / "b").mkdir()
        read(as_minari(tmp_path / "b", data, nested=False))
