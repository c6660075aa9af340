"""Trackers on point masses, and resampling of lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfplan.errors import ConfigError, ObservationError
from dfplan.planning.trackers import (
    InverseDynamics,
    PlannedActions,
    Pursuit,
    PursuitGains,
    TimedPD,
    Tracker,
    pursuit_gains,
    resample,
    timed_gains,
)
from dfplan.tokens.motion import Motion
from dfplan.types import Plan

BODIES = [
    Motion(dt=0.01, drag=0.00238, gain=0.2382, limit=5.0),
    Motion(dt=1.0, drag=0.01, gain=0.02, limit=0.5),
    Motion(dt=0.1, drag=0.0, gain=2.4, limit=50.0),
]

each_body = pytest.mark.parametrize("body", BODIES, ids=["maze", "slow", "wide"])


def plan(*lines: np.ndarray, stride: int = 10, velocities: np.ndarray | None = None) -> Plan:
    points = np.stack(lines).astype(np.float32)
    batch, count = points.shape[:2]
    return Plan(
        points=points,
        steps=np.full(batch, (count - 1) * stride),
        stride=stride,
        level=np.zeros((batch, count), dtype=int),
        max_level=10,
        spread=np.zeros((batch, count), dtype=np.float32),
        candidates=points[:, None],
        scores=np.zeros((batch, 1), dtype=np.float32),
        observation=np.concatenate([points[:, 0], np.zeros((batch, 2))], 1),
        goal=points[:, -1],
        evaluations=1,
        seconds=0.0,
        velocities=velocities,
    )


def straight(body: Motion, start: tuple[float, float], way: tuple[float, float]) -> np.ndarray:
    """A line of 30 points; ``way`` in hundreds of steps at top speed."""
    share = np.linspace(0, 1, 30)[:, None]
    return np.array(start) + share * np.array(way) * 100 * body.max_step


def chase(
    tracker: Tracker, body: Motion, state: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run a tracker: (states [steps + 1, B, 4], actions [steps, B, 2])."""
    states, actions = [state], []
    for _ in range(steps):
        actions.append(tracker.act(states[-1]))
        position, velocity = body.advance(states[-1][:, :2], states[-1][:, 2:], actions[-1])
        states.append(np.concatenate([position, velocity], 1))
    return np.stack(states), np.stack(actions)


def pursuit(body: Motion) -> Pursuit:
    return Pursuit(pursuit_gains(body), body.max_step)


def rest(*starts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack(starts), np.zeros((len(starts), 2))], 1)


@each_body
@pytest.mark.parametrize("way", [(1.0, 0.0), (0.0, -1.0), (0.8, 0.8), (-1.0, 0.3)])
def test_pursuit_reaches_the_end_of_a_line_and_stays(
    body: Motion, way: tuple[float, float]
) -> None:
    line = straight(body, (3.0, -2.0), way)
    tracker = pursuit(body)
    tracker.assign(np.array([0]), plan(line))
    states, actions = chase(tracker, body, rest(line[0]), 400)
    assert np.abs(actions).max() <= 1
    away = np.linalg.norm(states[:, 0, :2] - line[-1], axis=-1)
    near = 2 * body.max_step
    assert (away[200:] < near).all(), "late, or does not stay"
    assert np.abs(states[-1, 0, 2:]).max() < 0.05 * body.limit
    across = np.array([-way[1], way[0]]) / np.hypot(*way)
    assert np.abs((states[:, 0, :2] - line[0]) @ across).max() < 1.5 * near, "off the line"
    assert np.abs(states[:, 0, 2:]).max() > 0.9 * body.limit, "too slow"


@each_body
def test_pursuit_stays_near_the_plan_at_a_corner(body: Motion) -> None:
    corner = np.concatenate(
        [straight(body, (0, 0), (0.8, 0)), straight(body, (80 * body.max_step, 0), (0, 0.8))]
    )
    tracker = pursuit(body)
    tracker.assign(np.array([0]), plan(corner))
    state, farthest = rest(corner[0]), 0.0
    for _ in range(400):
        farthest = max(farthest, float(tracker.deviation(state)[0]))
        position, velocity = body.advance(state[:, :2], state[:, 2:], tracker.act(state))
        state = np.concatenate([position, velocity], 1)
    assert farthest < 12 * body.max_step
    assert np.linalg.norm(state[0, :2] - corner[-1]) < 2 * body.max_step


def test_rows_are_independent() -> None:
    body = BODIES[0]
    lines = [straight(body, (0, 0), way) for way in [(1, 0), (0.2, 0.5), (-0.5, -0.5)]]
    together = pursuit(body)
    together.assign(np.arange(3), plan(*lines))
    states, actions = chase(together, body, rest(*(line[0] for line in lines)), 200)
    for row, line in enumerate(lines):
        alone = pursuit(body)
        alone.assign(np.array([0]), plan(line))
        alone_states, alone_actions = chase(alone, body, rest(line[0]), 200)
        np.testing.assert_allclose(alone_actions[:, 0], actions[:, row], rtol=0, atol=1e-9)
        np.testing.assert_allclose(alone_states[:, 0], states[:, row], rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", [lambda: pursuit(BODIES[0]), lambda: TimedPD(12.5, 1.2, dt=0.01)])
def test_a_new_plan_for_one_row_does_not_affect_others(make) -> None:  # type: ignore[no-untyped-def]
    body = BODIES[0]
    lines = [straight(body, (0, 0), way) for way in [(1, 0), (0.2, 0.5), (-0.5, -0.5)]]
    longer = straight(body, tuple(lines[1][5]), (3, 0))
    changed, kept = make(), make()
    for tracker in (changed, kept):
        tracker.assign(np.arange(3), plan(*lines))
    state = rest(*(line[0] for line in lines))
    for step in range(150):
        if step == 40:
            changed.assign(np.array([1]), plan(longer))
        action = kept.act(state)
        other = changed.act(state)
        np.testing.assert_allclose(other[[0, 2]], action[[0, 2]], rtol=0, atol=1e-9)
        if step == 40:
            assert np.abs(other[1] - action[1]).max() > 1e-3
        position, velocity = body.advance(state[:, :2], state[:, 2:], action)
        state = np.concatenate([position, velocity], 1)


@pytest.mark.parametrize("make", [lambda: pursuit(BODIES[0]), lambda: TimedPD(12.5, 1.2, dt=0.01)])
def test_a_new_plan_is_followed_from_its_start(make) -> None:  # type: ignore[no-untyped-def]
    body = BODIES[0]
    first, second = straight(body, (0, 0), (0.6, 0)), straight(body, (4, 4), (0, -0.6))
    used, fresh = make(), make()
    used.assign(np.array([0]), plan(first))
    chase(used, body, rest(first[0]), 70)
    for tracker in (used, fresh):
        tracker.assign(np.array([0]), plan(second))
    _, actions = chase(used, body, rest(second[0]), 100)
    _, wanted = chase(fresh, body, rest(second[0]), 100)
    np.testing.assert_allclose(actions, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", [lambda: pursuit(BODIES[0]), lambda: TimedPD(12.5, 1.2, dt=0.01)])
def test_fewer_environments_than_before(make) -> None:  # type: ignore[no-untyped-def]
    lines = [straight(BODIES[0], (0, 0), way) for way in [(1, 0), (0.2, 0.5), (-0.5, -0.5)]]
    used, fresh = make(), make()
    used.assign(np.arange(3), plan(*lines))
    used.act(rest(*(line[0] for line in lines)))
    for tracker in (used, fresh):
        tracker.assign(np.array([0]), plan(lines[2]))
    state = rest(lines[2][0])
    for _ in range(3):
        action = used.act(state)
        assert action.shape == (1, 2)
        np.testing.assert_array_equal(action, fresh.act(state))
        np.testing.assert_array_equal(used.deviation(state), fresh.deviation(state))


def test_deviation_is_the_distance_to_the_path() -> None:
    body = BODIES[0]
    lines = [straight(body, (0, 0), (0.5, 0)), straight(body, (5, 5), (0, 0.5))]
    tracker = pursuit(body)
    tracker.assign(np.arange(2), plan(*lines))
    assert tracker.deviation(rest(lines[0][0], lines[1][0])) == pytest.approx([0, 0], abs=1e-6)
    off = rest(lines[0][0] + [0, 0.7], lines[1][0] + [0, -0.2])
    assert tracker.deviation(off) == pytest.approx([0.7, 0.2], abs=1e-6)


def test_gains_depend_on_the_body() -> None:
    gains = pursuit_gains(BODIES[0])
    brake = 0.01 * 25 / (2 * 0.2382)
    assert gains.position == pytest.approx(1 / BODIES[0].max_step)
    assert gains.velocity == pytest.approx(gains.position * brake / 5)
    assert pursuit_gains(BODIES[0], 3.0).lookahead == pytest.approx(3 * brake)
    wide = pursuit_gains(BODIES[2])  # the same body in other units
    assert wide.lookahead == pytest.approx(100 * gains.lookahead, rel=0.05)
    assert wide.position == pytest.approx(gains.position / 100, rel=0.05)


def test_gains_of_a_body_that_actions_do_not_move_are_errors() -> None:
    with pytest.raises(ConfigError, match="actions"):
        pursuit_gains(Motion(dt=1.0, drag=0.0, gain=0.0, limit=1.0))


@pytest.mark.parametrize("spacing", [0.05, 0.3, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_resampling_keeps_the_line(spacing: float, seed: int) -> None:
    line = np.random.default_rng(seed).normal(size=(8, 2))
    dense = resample(line, spacing)
    np.testing.assert_allclose(dense[[0, -1]], line[[0, -1]])
    steps = np.linalg.norm(np.diff(dense, axis=0), axis=1)
    assert (steps <= spacing + 1e-9).all()
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    assert len(dense) == int(np.ceil(length / spacing)) + 1
    assert steps.sum() <= length + 1e-9
    starts, ends = line[:-1], line[1:]
    share = ((dense[:, None] - starts) * (ends - starts)).sum(-1)
    share = np.clip(share / ((ends - starts) ** 2).sum(-1), 0, 1)[..., None]
    nearest = np.linalg.norm(dense[:, None] - (starts + share * (ends - starts)), axis=-1).min(1)
    assert nearest.max() < 1e-9


def test_resampling_twice_changes_nothing_on_a_straight_line() -> None:
    line = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    dense = resample(line, 0.5)
    np.testing.assert_allclose(dense[:, 0], np.arange(0, 4.1, 0.5), atol=1e-12)
    assert (dense[:, 1] == 0).all()
    np.testing.assert_allclose(resample(dense, 0.5), dense, atol=1e-12)


def test_resampling_a_line_without_length() -> None:
    dense = resample(np.full((5, 2), 3.0), 0.1)
    assert (dense == 3).all() and 1 <= len(dense) <= 2


def test_pursuit_of_a_single_place() -> None:
    body = BODIES[0]
    tracker = pursuit(body)
    tracker.assign(np.array([0]), plan(np.full((4, 2), 1.0)))
    states, _ = chase(tracker, body, np.array([[1.0, 1.0, 0.5, -0.5]]), 200)
    assert np.linalg.norm(states[-1, 0, :2] - 1) < 0.02


def test_the_target_is_no_farther_than_the_lookahead() -> None:
    line = np.stack([np.linspace(0, 10, 50), np.zeros(50)], 1)
    tracker = Pursuit(PursuitGains(lookahead=0.5, position=1.0, velocity=0.0), 0.1)
    tracker.assign(np.array([0]), plan(line))
    assert tracker.act(rest(line[0]))[0] == pytest.approx([0.5, 0.0], abs=0.06)


@each_body
@pytest.mark.parametrize("fade", [5.0, 12.0])
def test_errors_decay_as_in_critical_damping(body: Motion, fade: float) -> None:
    """The start is next to a plan at rest, so near that the force is not clipped."""
    position, velocity = timed_gains(body, fade)
    offset = 0.5 / position
    tracker = TimedPD(position, velocity, dt=body.dt)
    tracker.assign(np.array([0]), plan(np.zeros((30, 2))))
    states, _ = chase(tracker, body, rest(np.array([offset, 0.0])), 200)
    time = np.arange(201) / fade
    expected = offset * (1 + time) * np.exp(-time)  # the critically damped answer from rest
    # Control acts once per step, so it is less exact if it is fast.
    np.testing.assert_allclose(states[:, 0, 0], expected, atol=0.6 / fade * offset)
    assert (states[:, 0, 0] > -0.03 * offset).all(), "overshoots"


WITHOUT_INERTIA = [
    Motion(dt=1.0, drag=1.0, gain=0.2, limit=0.2),
    Motion(dt=1.0, drag=0.999, gain=30.0, limit=30.0),
]

each_without_inertia = pytest.mark.parametrize("body", WITHOUT_INERTIA, ids=["ogbench", "wide"])


@each_without_inertia
@pytest.mark.parametrize("lookahead", [0.5, 1.5])
def test_without_inertia_there_is_no_velocity_gain(body: Motion, lookahead: float) -> None:
    gains = pursuit_gains(body, lookahead)
    assert gains.velocity == 0
    assert gains.position * body.max_step == pytest.approx(1)
    assert gains.lookahead == pytest.approx(2 * body.max_step)


@each_without_inertia
@pytest.mark.parametrize("way", [(0.8, 0.8), (-0.8, 0.8), (1.0, 0.0), (0.3, -1.0)])
def test_without_inertia_pursuit_uses_full_force(body: Motion, way: tuple[float, float]) -> None:
    line = straight(body, (3.0, -2.0), way)
    tracker = pursuit(body)
    tracker.assign(np.array([0]), plan(line))
    position, away, forces = line[:1], [], []
    for _ in range(130):
        away.append(float(tracker.deviation(position)[0]))
        forces.append(tracker.act(position))
        position = position + body.max_step * forces[-1]
    assert forces[0].shape == (1, 2) and np.abs(forces).max() <= 1
    under_way = np.abs(np.concatenate(forces[: round(90 * max(np.abs(way)))]))
    longer = int(np.abs(way).argmax())
    assert (under_way[:, longer] > 0.9).all(), "too slow"
    if abs(way[0]) == abs(way[1]):
        assert (under_way > 1 - 1e-6).all(), "full force on both axes on a diagonal"
    assert max(away) < 1.5 * body.max_step
    assert np.linalg.norm(position[0] - line[-1]) < 0.1 * body.max_step


def test_without_inertia_velocities_have_no_effect() -> None:
    body = WITHOUT_INERTIA[0]
    line = straight(body, (0, 0), (0.5, 0.2))
    for velocity in (0.0, 0.2):
        alone, with_velocity = pursuit(body), pursuit(body)
        for tracker in (alone, with_velocity):
            tracker.assign(np.array([0]), plan(line))
        state = np.concatenate([line[:1], np.full((1, 2), velocity)], 1)
        np.testing.assert_array_equal(alone.act(line[:1]), with_velocity.act(state))


def acted(points: np.ndarray, actions: np.ndarray | None, stride: int) -> Plan:
    made = plan(*points, stride=stride)
    return replace(made, actions=None if actions is None else actions.astype(np.float32))


@pytest.mark.parametrize("stride", [1, 3])
def test_planned_actions_are_executed(stride: int) -> None:
    rng = np.random.default_rng(0)
    points, actions = rng.normal(size=(2, 5, 2)), rng.uniform(-2, 2, (2, 4 * stride, 2))
    made = acted(points, actions, stride)
    # The second plan is over a point earlier.
    made = replace(made, steps=np.array([4, 3]) * stride)
    tracker = PlannedActions()
    tracker.assign(np.arange(2), made)
    done = np.stack([tracker.act(rng.normal(size=(2, 4))) for _ in range(6 * stride)], 1)
    for row, count in ((0, 4 * stride), (1, 3 * stride)):
        np.testing.assert_array_equal(done[row, :count], made.actions[row, :count])
        assert (done[row, count:] == 0).all(), "nothing is left to execute"


def test_planned_actions_restart_per_row() -> None:
    points = np.zeros((2, 4, 2))
    actions = np.arange(16.0).reshape(2, 4, 2) / 16
    tracker = PlannedActions()
    tracker.assign(np.arange(2), acted(points, actions, 1))
    still = np.zeros((2, 2))
    tracker.act(still)
    tracker.assign(np.array([1]), acted(points[:1] + 3, actions[:1], 1))
    np.testing.assert_allclose(tracker.act(still), [actions[0, 1], actions[0, 0]])
    np.testing.assert_allclose(tracker.deviation(still), [0, 3 * 2**0.5])


def test_plans_without_actions_are_errors() -> None:
    with pytest.raises(ConfigError, match="plan with actions"):
        PlannedActions().assign(np.array([0]), acted(np.zeros((1, 4, 2)), None, 1))


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("steps", [3, 10])
def test_inverse_dynamics_targets_the_plan_ahead(stride: int, steps: int) -> None:
    body = BODIES[1]
    shown: list[np.ndarray] = []

    def model(inputs: np.ndarray) -> np.ndarray:
        shown.append(inputs)
        return 3 * inputs[:, :2]

    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(2, 5, 2)), 1)
    tracker = InverseDynamics(model, body, steps, velocities=True)
    tracker.assign(np.arange(2), plan(*points, stride=stride))
    for now in range(5 * stride + steps):
        state = rng.normal(size=(2, 4))
        action = tracker.act(state)
        at = min((now + steps) / stride, 4)
        for row in range(2):
            aim = [np.interp(at, np.arange(5), points[row, :, axis]) for axis in (0, 1)]
            share = (np.array(aim) - state[row, :2]) / (steps * body.max_step)
            np.testing.assert_allclose(shown[-1][row, :2], share, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(shown[-1][row, 2:], state[row, 2:] / body.limit, rtol=1e-5)
            np.testing.assert_allclose(action[row], np.clip(3 * share, -1, 1), rtol=1e-4, atol=1e-4)


def test_timed_control_needs_velocities() -> None:
    tracker = TimedPD(12.5, 1.2)
    line = straight(WITHOUT_INERTIA[0], (0, 0), (0.5, 0.2))
    tracker.assign(np.array([0]), plan(line))
    with pytest.raises(ObservationError, match=r"velocities.*got 2 numbers"):
        tracker.act(line[:1])
    assert tracker.act(rest(line[0])).shape == (1, 2)


def test_timed_control_worked_by_hand() -> None:
    points = [[0.0, 0.0], [0.1, 0.0], [0.3, 0.2]]
    velocities = [[0.0, 0.0], [0.4, 0.1], [0.2, 0.3]]
    tracker = TimedPD(1.0, 1.0)
    tracker.assign(
        np.array([0]), plan(np.array(points), velocities=np.array([velocities]), stride=1)
    )
    state = np.array([[0.05, 0.1, 0.3, -0.2]])
    # To the next planned state, then the last, then the last position at rest for good.
    expected = [[0.05 + 0.1, -0.1 + 0.3], [0.25 - 0.1, 0.1 + 0.5], [0.25 - 0.3, 0.1 + 0.2]]
    for action in [*expected, expected[-1], expected[-1]]:
        np.testing.assert_allclose(tracker.act(state)[0], action, atol=1e-6)
    assert tracker.act(np.array([[9.0, -9.0, 0.0, 0.0]])).tolist() == [[-1.0, 1.0]]


def test_timed_control_of_a_plan_without_velocities() -> None:
    tracker = TimedPD(12.5, 1.2, dt=0.5)
    tracker.assign(np.array([0]), plan(np.array([[0.0, 0.0], [0.04, 0.02]]), stride=2))
    at_rest = np.zeros((1, 4))
    steps = [12.5 * np.array([0.02, 0.01]), 12.5 * np.array([0.04, 0.02])]
    moving = 1.2 * np.array([0.04, 0.02])
    for action in (steps[0] + moving, steps[1] + moving, steps[1]):
        np.testing.assert_allclose(tracker.act(at_rest)[0], action, atol=1e-6)


def test_rows_are_tracked_independently() -> None:
    tracker = TimedPD(1.0, 0.0)
    tracker.assign(np.array([1]), plan(np.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0]]), stride=1))
    tracker.assign(np.array([0]), plan(np.array([[0.0, 0.0], [0.0, 0.3]]), stride=1))
    states = np.zeros((2, 4))
    np.testing.assert_allclose(tracker.act(states), [[0.0, 0.3], [0.1, 0.0]], atol=1e-6)
    tracker.assign(np.array([0]), plan(np.array([[0.0, 0.0], [0.5, 0.0]]), stride=1))
    np.testing.assert_allclose(tracker.act(states), [[0.5, 0.0], [0.2, 0.0]], atol=1e-6)
    away = np.array([[0.5, 0.4, 0.0, 0.0], [0.1, -0.3, 0.0, 0.0]])
    np.testing.assert_allclose(tracker.deviation(away), [0.4, 0.3], atol=1e-6)
    assert tracker.act(away[:1]).shape == (1, 2)
