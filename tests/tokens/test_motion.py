"""The fitted point mass is the one that made the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfplan.collect import generate
from dfplan.data import check, from_arrays, load_data, read, segmented, write
from dfplan.errors import ConfigError, DataError
from dfplan.mazes import named_maze, parse_maze
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.planning.trackers.pursuit import pursuit
from dfplan.suites import D4RL, GYMNASIUM, OGBENCH
from dfplan.tokens.motion import Motion, fit_motion
from dfplan.types import Recording, Trajectories

MADE_UP = [
    Motion(dt=0.01, drag=0.00238, gain=0.2382, limit=5.0),
    Motion(dt=1.0, drag=0.1, gain=0.05, limit=0.3),
    Motion(dt=0.2, drag=0.0, gain=2.0, limit=40.0),
]


def drive(motion: Motion, steps: int = 4000, bodies: int = 5, contact: float = 0.0) -> Trajectories:
    """Bodies pushed to and fro at full force half of the time; a contact stops an axis dead."""
    rng = np.random.default_rng(0)
    position, velocity = rng.normal(size=(bodies, 2)), np.zeros((bodies, 2))
    states, actions = [], []
    push = rng.uniform(-1, 1, (bodies, 2))
    for _ in range(steps):
        change = rng.random((bodies, 2)) < 0.02
        strength = np.where(rng.random((bodies, 2)) < 0.5, 1.0, rng.random((bodies, 2)))
        push = np.where(change, rng.choice([-1, 1], (bodies, 2)) * strength, push)
        states.append(np.concatenate([position, velocity], 1))
        actions.append(push)
        velocity = (1 - motion.drag) * np.clip(velocity, -motion.limit, motion.limit)
        velocity = velocity + motion.gain * push
        velocity = np.where(rng.random((bodies, 2)) < contact, 0.0, velocity)
        position = position + motion.dt * velocity
    ends = np.arange(bodies * steps) % steps == steps - 1
    flat = np.stack(states, 1).reshape(-1, 4), np.stack(actions, 1).reshape(-1, 2)
    return segmented(from_arrays(*flat, ends))


@pytest.mark.parametrize("motion", MADE_UP, ids=str)
@pytest.mark.parametrize("contact", [0.0, 0.03])
def test_finds_the_constants_that_moved_the_body(motion: Motion, contact: float) -> None:
    fitted = fit_motion(drive(motion, contact=contact))
    assert fitted.dt == pytest.approx(motion.dt, rel=1e-4)
    assert fitted.drag == pytest.approx(motion.drag, abs=1e-4)
    assert fitted.gain == pytest.approx(motion.gain, rel=1e-3)
    assert fitted.limit == pytest.approx(motion.limit, rel=0.01)
    assert fitted.max_step == pytest.approx(motion.max_step, rel=0.01)


def test_finds_the_constants_of_the_simulated_maze(tmp_path: Path) -> None:
    file = tmp_path / "data.hdf5"
    generate(parse_maze("medium"), 20_000, seed=0, path=file, workers=1)
    fitted = fit_motion(load_data(file))
    assert fitted.dt == pytest.approx(0.01, rel=1e-3)
    assert fitted.drag == pytest.approx(0.00238, abs=5e-5)
    assert fitted.gain == pytest.approx(0.2382, rel=1e-3)
    assert fitted.limit == pytest.approx(5.0, rel=1e-3)
    assert fitted.max_step == pytest.approx(0.0523, rel=2e-3)


@pytest.mark.parametrize("motion", MADE_UP, ids=str)
def test_advance_makes_the_recorded_steps(motion: Motion) -> None:
    data = drive(motion, steps=300, bodies=1)
    states = data.observations.astype(np.float64)
    position, velocity = motion.advance(states[:-1, :2], states[:-1, 2:], data.actions[:-1])
    single = 1e-6 * np.abs(states).max()
    np.testing.assert_allclose(position, states[1:, :2], rtol=0, atol=single)
    np.testing.assert_allclose(velocity, states[1:, 2:], rtol=0, atol=single)


@pytest.mark.parametrize("motion", MADE_UP, ids=str)
def test_max_step_is_the_farthest_that_a_step_goes(motion: Motion) -> None:
    rng = np.random.default_rng(0)
    velocity = rng.uniform(-3, 3, (1000, 2)) * motion.limit
    moved, _ = motion.advance(np.zeros((1000, 2)), velocity, rng.uniform(-2, 2, (1000, 2)))
    assert np.abs(moved).max() <= motion.max_step
    fastest, _ = motion.advance(np.zeros(2), np.full(2, 9 * motion.limit), np.ones(2))
    assert fastest == pytest.approx([motion.max_step] * 2)


def test_no_step_leads_from_one_segment_to_the_next() -> None:
    motion = MADE_UP[0]
    data = drive(motion)
    rows = np.arange(len(data))
    far = data.observations.copy()
    far[:, :2] += 1000 * (rows // 4 % 2)[:, None]  # every fourth step would be a leap
    ends = rows % 4 == 3
    fitted = fit_motion(segmented(from_arrays(far, data.actions, ends)))
    assert fitted.dt == pytest.approx(motion.dt, rel=0.01)  # positions this far off are coarse
    assert fitted.gain == pytest.approx(motion.gain, rel=1e-3)


def test_a_sample_of_rows_gives_the_same_motion() -> None:
    data = drive(MADE_UP[0])
    few, all_of_them = fit_motion(data, rows=1000), fit_motion(data)
    assert few.gain == pytest.approx(all_of_them.gain, rel=1e-3)
    assert few.drag == pytest.approx(all_of_them.drag, abs=1e-4)


def test_positions_alone_give_the_farthest_step() -> None:
    rng = np.random.default_rng(0)
    steps = rng.uniform(-0.4, 0.4, (3000, 2))
    steps[rng.random(3000) < 0.1] = 0.4
    fitted = fit_motion(segmented(from_arrays(np.cumsum(steps, 0))))
    assert fitted.gain == 0 and fitted.dt == pytest.approx(1)
    assert fitted.max_step == pytest.approx(0.4, rel=1e-3)
    even = fit_motion(segmented(from_arrays(np.arange(200)[:, None] * [0.1, 0.1])))
    assert even.max_step == pytest.approx(0.1, rel=1e-3)


def test_a_body_that_never_moves_is_refused() -> None:
    with pytest.raises(DataError, match="move"):
        fit_motion(segmented(from_arrays(np.ones((50, 4)) * [1, 2, 0, 0], np.ones((50, 2)))))


def test_a_constant_velocity_gives_no_drag() -> None:
    along = np.arange(200)[:, None] * [0.01, 0.0]
    fitted = fit_motion(segmented(from_arrays(np.hstack([along, np.ones((200, 2)) * [1, 0]]))))
    assert fitted.drag == pytest.approx(0, abs=1e-9) and fitted.gain == 0
    assert fitted.max_step == pytest.approx(0.01, rel=1e-3)


def test_positions_that_do_not_follow_velocities_are_refused() -> None:
    still = np.hstack([np.ones((50, 2)), np.ones((50, 2)) * [1, 0.5]])
    with pytest.raises(DataError, match="order"):
        fit_motion(segmented(from_arrays(still)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("factor", [1 / 60, 60.0, -1.0])
def test_velocities_of_one_part_in_another_unit_are_refused(share: float, factor: float) -> None:
    data = drive(MADE_UP[0])
    observations = np.array(data.observations)
    observations[int(share * len(observations)) :, 2:] *= factor
    with pytest.raises(DataError, match="velocit"):
        fit_motion(replace(data, observations=observations))


def steered(gain: float, contact: float, steps: int = 4000) -> Trajectories:
    """Positions of a body whose step is ``gain`` times its action; a contact shortens an axis'."""
    rng = np.random.default_rng(0)
    strength = np.where(rng.random((steps, 2)) < 0.3, 1.0, rng.random((steps, 2)))
    actions = rng.choice([-1.0, 1.0], (steps, 2)) * strength
    moves = gain * actions * np.where(rng.random((steps, 2)) < contact, rng.random((steps, 2)), 1.0)
    positions = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, 0)[:-1]])
    return segmented(from_arrays(positions, actions, np.arange(steps) % 200 == 199))


@pytest.mark.parametrize("gain", [0.2, 30.0])
@pytest.mark.parametrize("contact", [0.0, 0.05])
def test_a_body_without_inertia_is_detected(gain: float, contact: float) -> None:
    fitted = fit_motion(steered(gain, contact))
    assert fitted.dt == pytest.approx(1, rel=1e-4)
    assert fitted.drag == pytest.approx(1, abs=1e-3)
    assert fitted.gain == pytest.approx(gain, rel=1e-3)
    assert fitted.max_step == pytest.approx(gain, rel=5e-3)
    assert not fitted.has_inertia
    start, velocity = np.zeros(2), np.array([gain, -gain])
    moved, _ = fitted.advance(start, velocity, np.array([0.5, 1.0]))
    assert moved == pytest.approx([0.5 * gain, gain], abs=3e-3 * gain)


@pytest.mark.parametrize("motion", MADE_UP, ids=str)
def test_a_body_that_keeps_its_velocity_has_inertia(motion: Motion) -> None:
    assert fit_motion(drive(motion)).has_inertia


SUITES = ("umaze", "pointmaze-umaze", "ogbench-medium")


@pytest.fixture(scope="module", params=SUITES)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A little of a suite's data."""
    maze = named_maze(request.param)
    ending = {D4RL: ".hdf5", GYMNASIUM: "-v0", OGBENCH: ".npz"}[maze.suite]
    path = tmp_path_factory.mktemp("recorded") / f"data{ending}"
    return read(generate(maze, 4000, seed=0, path=path, workers=1))


def test_shuffled_rows_are_refused_and_the_same_in_order_are_not(recorded: Recording) -> None:
    order = np.random.default_rng(0).permutation(len(recorded))
    for width in {2, recorded.observations.shape[1]}:
        states = recorded.observations[:, :width]
        fitted = fit_motion(segmented(replace(recorded, observations=states)))
        assert fitted.drag == pytest.approx(0 if fitted.has_inertia else 1, abs=0.01)
        shuffled = from_arrays(states[order], recorded.actions[order])
        with pytest.raises(DataError, match=r"order in which they were recorded|columns"):
            fit_motion(segmented(shuffled))
        assert not check(shuffled).ok


def test_data_without_actions_knows_how_far_a_step_goes(recorded: Recording) -> None:
    told = fit_motion(segmented(recorded))
    alone = replace(
        recorded,
        observations=recorded.observations[:, :2],
        actions=np.zeros_like(recorded.actions),
    )
    assert fit_motion(segmented(alone)).max_step == pytest.approx(told.max_step, rel=0.05)


@pytest.mark.parametrize("factor", [-1.0, 1e-3])
def test_impossible_actions_are_refused(recorded: Recording, factor: float) -> None:
    wrong = replace(recorded, actions=factor * recorded.actions)
    with pytest.raises(DataError, match=r"an action of 1 adds .*opposite sign"):
        fit_motion(segmented(wrong))
    assert [finding.kind for finding in check(wrong).findings if finding.severity == "error"]


def test_a_body_that_goes_anywhere_keeps_its_top_speed() -> None:
    """Its steps say nothing of the next ones, and there are no actions."""
    for seed in range(5):
        steps = np.random.default_rng(seed).uniform(-0.4, 0.4, (3000, 2))
        fitted = fit_motion(segmented(from_arrays(np.cumsum(steps, 0))))
        assert fitted.max_step == pytest.approx(0.4, rel=0.01)


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
@pytest.mark.parametrize("motion", MADE_UP, ids=str)
def test_the_unit_of_what_is_recorded_is_that_of_what_is_fitted(
    motion: Motion, unit: float
) -> None:
    data = drive(motion, steps=500)
    observations = unit * data.observations.astype(np.float64)
    fitted, scaled = fit_motion(data), fit_motion(replace(data, observations=observations))
    assert scaled.dt == fitted.dt
    assert scaled.drag == pytest.approx(fitted.drag, abs=1e-9)
    assert scaled.gain == pytest.approx(unit * fitted.gain, rel=1e-9)
    assert scaled.max_step == pytest.approx(unit * fitted.max_step, rel=1e-9)


def car(seed: int, width: int = 4) -> Recording:
    """A car with gas and steering: its position, heading and speed, then zeros up to ``width``."""
    rng = np.random.default_rng(seed)
    heading, speed = rng.uniform(-3, 3, 20), np.full(20, 0.2)
    position = rng.uniform(-4, 4, (20, 2))
    states, actions = [], []
    for _ in range(200):
        to_middle = np.arctan2(-position[:, 1], -position[:, 0]) - heading + rng.normal(size=20)
        steering = np.clip(np.remainder(to_middle + np.pi, 2 * np.pi) - np.pi, -1, 1)
        gas = np.clip(0.3 - speed + rng.normal(0, 0.3, 20), -1, 1)
        states.append(np.stack([*position.T, heading, speed], 1))
        actions.append(np.stack([gas, steering], 1))
        speed, heading = np.clip(speed + 0.05 * gas, 0, 0.3), heading + 0.2 * steering
        position = position + speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
    rows = np.pad(np.stack(states, 1).reshape(-1, 4), ((0, 0), (0, width - 4)))
    ends = np.arange(4000) % 200 == 199
    return from_arrays(
        rows, np.stack(actions, 1).reshape(-1, 2), ends, position=(0, 1), velocity=()
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("width", [4, 6])
def test_actions_that_are_no_forces_are_none_where_columns_are_named(seed: int, width: int) -> None:
    data = car(seed, width)
    with pytest.warns(UserWarning, match="no forces") as said:
        fitted = fit_motion(segmented(data))
    assert len(said) == 1 and fitted.gain == 0
    assert fitted.max_step == pytest.approx(0.3, rel=0.1)
    report = check(data)
    assert report.ok and "forces" in {finding.kind for finding in report.findings}
    with pytest.raises(ConfigError, match="PlannedActions"):
        pursuit(fitted)
    if width == 4:  # heading and speed are no velocity
        with pytest.raises(DataError, match="velocity"):
            fit_motion(segmented(replace(data, layout=PLANAR)))


def test_impossible_forces_are_none_where_columns_are_named(recorded: Recording) -> None:
    backward = replace(
        recorded,
        actions=-recorded.actions,
        layout=ObservationLayout(recorded.observations.shape[1], (0, 1)),
    )
    with pytest.warns(UserWarning, match="no forces"):
        assert fit_motion(segmented(backward)).gain == 0


@pytest.mark.parametrize("ending", [".hdf5", "-v0", ".npz"])
def test_a_velocity_in_any_columns_gives_the_same_motion(tmp_path: Path, ending: str) -> None:
    motion = MADE_UP[1]
    data = drive(motion, steps=200)
    order, rows = [4, 1, 5, 0, 2, 3], data.observations.astype(np.float32)
    rows = np.pad(rows, ((0, 0), (0, 2)))[:, order]
    ends = np.arange(len(rows)) % 200 == 199
    alone = from_arrays(rows, data.actions, ends, position=(3, 1))
    path = write(alone, tmp_path / f"data{ending}")
    named = read(path, velocity=(4, 5))
    assert named.layout == ObservationLayout(6, (3, 1), (4, 5))
    assert named == replace(
        from_arrays(rows, data.actions, ends, position=(3, 1), velocity=(4, 5)), source=named.source
    )
    expected = fit_motion(segmented(from_arrays(rows[:, [3, 1, 4, 5]], data.actions, ends)))
    assert fit_motion(load_data(path, position=(3, 1), velocity=(4, 5))) == expected
    assert read(write(named, tmp_path / f"again{ending}")).layout == named.layout
    assert read(path, velocity=()).layout == alone.layout


@pytest.mark.parametrize("velocity", [(0,), (0, 1), (2, 2), (2, 6), (-1, 2), "23", 3, (2.0, 3.0)])
def test_columns_that_are_no_velocity_are_refused(velocity: Any) -> None:
    with pytest.raises(ConfigError, match="velocity"):
        from_arrays(np.zeros((10, 6)), position=(0, 1), velocity=velocity)


def test_4_numbers_need_not_hold_a_velocity() -> None:
    rows = car(0).observations
    assert from_arrays(rows).layout == from_arrays(rows, velocity=(2, 3)).layout == PLANAR
    assert from_arrays(rows, velocity=()).layout == ObservationLayout(4, (0, 1))
