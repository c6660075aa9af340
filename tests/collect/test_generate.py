"""The collector: same seed same file, true dynamics, and the published files' statistics."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from dfplan.collect import d4rl, generate, shards
from dfplan.collect.d4rl import D4RLCollector
from dfplan.envs.dynamics import PointMass
from dfplan.errors import ConfigError, DfplanError, MazeError
from dfplan.mazes import named_maze

FULL_DISK = """
import resource, sys
from dfplan.collect import d4rl, generate
d4rl.SHARD_STEPS = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    generate("umaze", 60_000, seed=0, path=sys.argv[1], workers=1, progress=False)
except OSError as error:
    print(error)
"""

NO_GOAL = "#####\n#OOO#\n#O#O#\n#OOO#\n#####"

FIELDS = (
    "observations",
    "actions",
    "rewards",
    "terminals",
    "timeouts",
    "infos/goal",
    "infos/qpos",
    "infos/qvel",
)

# (rows of the published file; mean x, y; std x, y, vx, vy; std of the actions; mean reward).
PUBLISHED = {
    "umaze": (
        1_000_000,
        (1.9328, 2.3745, 0.8997, 0.7093, 2.2129, 2.4682, 0.7043, 0.7506, 0.0813),
    ),
    "medium": (
        2_000_000,
        (3.5093, 3.4766, 1.3371, 1.5210, 2.3408, 2.3694, 0.7398, 0.7459, 0.0237),
    ),
    "large": (
        4_000_000,
        (3.7296, 5.3047, 1.8070, 2.5688, 2.4368, 2.6494, 0.7249, 0.7395, 0.0089),
    ),
}
UMAZE_GOALS = 12_459 / 1_000_000  # timeouts a row of the published file (D4RL issue 65)
BLOCK = 5000


@pytest.fixture
def shard(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(d4rl, "SHARD_STEPS", 700)
    return 700


def fields(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][()] for name in FIELDS}


@pytest.mark.usefixtures("shard")
def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    one = generate("umaze", 2000, seed=3, path=tmp_path / "1.hdf5", workers=1, progress=False)
    two = generate("umaze", 2000, seed=3, path=tmp_path / "2.hdf5", workers=2, progress=False)
    assert fields(one)["rewards"].any()
    assert one.read_bytes() == two.read_bytes()


def test_another_seed_gives_other_data(tmp_path: Path) -> None:
    first, second = (
        fields(generate("umaze", 50, seed=seed, path=tmp_path / "a.hdf5", progress=False))
        for seed in (0, 1)
    )
    assert not np.array_equal(first["observations"], second["observations"])


def test_every_transition_obeys_the_dynamics(tmp_path: Path, shard: int) -> None:
    path = generate("medium", 2 * shard, seed=5, path=tmp_path / "a.hdf5", workers=1)
    data = fields(path)
    ball = PointMass(named_maze("medium"))
    for t in set(range(2 * shard - 1)) - {shard - 1}:
        before, after = data["observations"][t].astype(float), data["observations"][t + 1]
        ball.set_state(before[:2], before[2:])
        np.testing.assert_allclose(ball.advance(*data["actions"][t]), after, atol=1e-4)


def test_the_joints_are_where_streams_begin(tmp_path: Path, shard: int) -> None:
    path = generate("umaze", 2000, seed=1, path=tmp_path / "a.hdf5", workers=1)
    with h5py.File(path) as file:
        assert file["metadata/joints"][()].tolist() == [0, shard, 2 * shard]


def test_fields_are_d4rls(tmp_path: Path) -> None:
    path = generate("umaze", 3000, seed=2, path=tmp_path / "a.hdf5", workers=1)
    data = fields(path)
    position = data["observations"][:, :2]
    assert {name: values.dtype.name for name, values in data.items()} == {
        name: "bool" if name in ("terminals", "timeouts") else "float32" for name in data
    }
    np.testing.assert_array_equal(data["infos/qpos"], position)
    np.testing.assert_array_equal(data["infos/qvel"], data["observations"][:, 2:])
    near = np.linalg.norm(position - [1.0, 1.0], axis=1) <= 0.5
    np.testing.assert_array_equal(data["rewards"], near.astype(np.float32))
    assert 0 < near.mean() < 1
    assert not data["terminals"].any()
    assert np.abs(data["actions"]).max() == 1.0
    with h5py.File(path) as file:
        assert dict(file.attrs) == {
            "generator": D4RLCollector.version,
            "seed": "2",
            "maze": "umaze",
        }


def test_timeouts_mark_where_the_goal_was_reached_and_the_streams_end(tmp_path: Path) -> None:
    data = fields(generate("umaze", 3000, seed=2, path=tmp_path / "a.hdf5", workers=1))
    reached = np.flatnonzero(data["timeouts"][:-1])
    assert data["timeouts"][-1]
    assert len(reached) > 10
    away = data["observations"][reached, :2] - np.round(data["infos/goal"][reached])
    assert np.linalg.norm(away, axis=1).max() < 0.1
    changed = np.flatnonzero(np.diff(data["infos/goal"], axis=0).any(axis=1))
    np.testing.assert_array_equal(changed, reached)


def test_rewards_are_zero_in_a_maze_without_a_goal(tmp_path: Path) -> None:
    path = generate(NO_GOAL, 500, seed=0, path=tmp_path / "new" / "own.hdf5", workers=1)
    data = fields(path)
    assert not data["rewards"].any()
    with h5py.File(path) as file:
        assert file.attrs["maze"] == NO_GOAL


def test_progress_can_be_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate("umaze", 20, seed=0, path=tmp_path / "a.hdf5", progress=False)
    assert capsys.readouterr().err == ""
    generate("umaze", 20, seed=0, path=tmp_path / "a.hdf5")
    assert "20.0/20.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "seed", "workers", "message"),
    [
        (1, 0, None, "steps must be a whole number, at least 2.*; got 1"),
        (1e6, 0, None, "steps must be a whole number, at least 2.*; got 1000000.0"),
        (True, 0, None, "steps .* got True"),
        (10, -1, None, "seed must be a whole number, at least 0.*; got -1"),
        (10, None, None, "seed .* got None"),
        (10, 0, 0, "workers must be a whole number, at least 1.*; got 0"),
    ],
)
def test_bad_numbers_are_refused(
    tmp_path: Path, steps: int, seed: int, workers: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        generate("umaze", steps, seed=seed, path=tmp_path / "a.hdf5", workers=workers)
    assert not list(tmp_path.iterdir())


def test_a_maze_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MazeError, match="outer ring"):
        generate("###\n#O#\n#O#", 10, seed=0, path=tmp_path / "a.hdf5")
    with pytest.raises(ConfigError, match="Did you mean 'large'"):
        generate("lage", 10, seed=0, path=tmp_path / "a.hdf5")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("shard")
def test_a_worker_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: object, **__: object) -> None:
        raise shards.BrokenProcessPool("gone")

    monkeypatch.setattr(shards.ProcessPoolExecutor, "submit", dead)
    with pytest.raises(DfplanError, match=r"died \(gone\).*__main__.*workers=1"):
        generate("umaze", 1500, seed=1, path=tmp_path / "a.hdf5", workers=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("maze", PUBLISHED)
def test_statistics_are_those_of_the_published_file(maze: str, tmp_path: Path) -> None:
    """No statistic is further off than four standard errors.

    The standard error comes from how the statistic scatters over blocks of the run, each many
    goals long, and from the published file's own, which is smaller by the root of its length.
    """
    steps = 100_000
    total, published = PUBLISHED[maze]
    data = fields(generate(maze, steps, seed=0, path=tmp_path / "a.hdf5", progress=False))
    state = np.concatenate([data["observations"], data["actions"]], axis=1)
    estimate = np.append(published_way(state, total), data["rewards"].mean(dtype=float))
    error = np.append(standard_errors(state), block_error(data["rewards"].astype(float)))
    if maze == "umaze":
        published = (*published, UMAZE_GOALS)
        estimate = np.append(estimate, data["timeouts"].mean())
        error = np.append(error, block_error(data["timeouts"].astype(float)))
    z = (estimate - published) / (error * np.sqrt(1 + steps / total))
    assert np.abs(z).max() < 4, dict(zip(published, z.round(2).tolist(), strict=True))


def published_way(state: np.ndarray, total: int) -> np.ndarray:
    """Means of x, y and deviations of all, summed as the published ones evidently were.

    Those are single-precision sums down ``total`` rows, which lose up to 1% on millions of rows.
    So the run is repeated to that length and summed the same way.
    """
    repeats = -(-total // len(state))
    observations = np.tile(state[:, :4], (repeats, 1))[:total]
    actions = np.tile(state[:, 4:], (repeats, 1))[:total]
    return np.concatenate([observations.mean(0)[:2], observations.std(0), actions.std(0)])


def standard_errors(state: np.ndarray) -> np.ndarray:
    """Of the means of x and y, and, by the delta method, of all deviations."""
    state = state.astype(float)
    mean, deviation = state.mean(0), state.std(0)
    spread = ((state - mean) ** 2 - deviation**2) / (2 * deviation)
    return np.concatenate([block_error(state[:, :2]), block_error(spread)])


def block_error(values: np.ndarray) -> np.ndarray:
    blocks = values.reshape(-1, BLOCK, *values.shape[1:]).mean(1)
    return blocks.std(0, ddof=1) / np.sqrt(len(blocks))


@pytest.mark.parametrize(
    ("shard", "message", "left"), [(50_000, "File too large", 1), (1_000, "No space left", 2)]
)
def test_a_full_disk_is_reported_and_keeps_the_old_file(
    tmp_path: Path, shard: int, message: str, left: int
) -> None:
    """The real thing, in a process whose files may not grow beyond 100 kB.

    With large parts the first does not fit, and nothing is left; with small ones the file does not,
    and they wait for another try.
    """
    path = tmp_path / "umaze.hdf5"
    path.write_bytes(b"what was there before")
    command = [sys.executable, "-c", FULL_DISK, str(path), str(shard)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and message in done.stdout, done
    assert done.stderr == ""
    assert path.read_bytes() == b"what was there before"
    assert len(list(tmp_path.iterdir())) == left
