"""Playing in groups: what is recorded is what playing by hand gives, whatever plays beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dfplan.collect.controllers import DataController
from dfplan.envs.make import make
from dfplan.errors import ObservationError
from dfplan.evaluation import episodes as module
from dfplan.evaluation.episodes import GROUP, Actor, Arena, Rollouts, joined, rollout
from dfplan.evaluation.protocols import Problems, Task, given, named_task, problems

SUITES = ["multi2d-umaze", "pointmaze-umaze", "ogbench-medium-navigate", "dfplan-maze2d-umaze"]
SUITES += ["dfplan-ogbench-medium", "ogbench-teleport-navigate"]


class Straight:
    """Pushes toward the goal; notes how it was called."""

    def __init__(self) -> None:
        self.seeds: list[int | None] = []
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self, seed: int | None = None) -> None:
        self.seeds.append(seed)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        assert goal is not None
        self.asked.append((observation.copy(), goal.copy()))
        force = 10 * (goal - observation[:, :2])
        if observation.shape[1] == 4:
            force -= observation[:, 2:]
        return np.clip(force, -1, 1)


class Changed(Straight):
    """The same, but for what ``change`` does to its actions."""

    def __init__(self, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        super().__init__()
        self._change = change

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return self._change(super().act(observation, goal), len(self.asked))


def played(policy: Actor, task: Task | str, count: int, seed: int = 0) -> Rollouts:
    task = named_task(task) if isinstance(task, str) else task
    return rollout(policy, task, problems(task, count), seed=seed, progress=False)


def same(one: Rollouts, other: Rollouts) -> bool:
    """Whether all but times agree, to the bit."""
    arrays = ("rewards", "positions", "steps")
    return one.faults == other.faults and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.mark.parametrize("name", SUITES)
def test_what_is_recorded_is_what_playing_by_hand_gives(name: str) -> None:
    task, count = named_task(name), 5
    posed = problems(task, count)
    driven = rollout(DataController(task.maze), task, posed, seed=4, progress=False)
    assert driven.rewards.shape == (count, task.max_steps)
    assert driven.positions.shape == (count, task.max_steps + 1, 2)
    for row in range(count):
        env, policy = make(task.environment), DataController(task.maze)
        options: dict[str, Any] = {"start": posed.starts[row], "goal": posed.goals[row]}
        seed = None
        if posed.seeds is not None:
            seed, options = int(posed.seeds[row]), {}
            if posed.parts[row]:
                options = {"task": int(posed.parts[row])}
        observation, _ = env.reset(seed=seed, options=options)
        policy.reset(4 + row)
        rewards, places, over = [], [observation["achieved_goal"]], False
        while not over:
            action = policy.act(observation["observation"], goal=posed.goals[row])
            observation, reward, terminated, truncated, info = env.step(action)
            assert info["success"] == (reward > 0)
            rewards.append(reward)
            places.append(observation["achieved_goal"])
            over = terminated or truncated or (task.protocol.ends_at_goal and reward > 0)
        env.close()
        steps = len(rewards)
        assert driven.steps[row] == steps
        assert driven.rewards[row, :steps].tolist() == rewards
        assert not driven.rewards[row, steps:].any()
        assert np.array_equal(driven.positions[row, : steps + 1], np.float32(places))
        assert (driven.positions[row, steps:] == np.float32(places[-1])).all()
        assert driven.returns[row] == sum(rewards)
        assert driven.success[row] == any(rewards)
        first = rewards.index(1.0) + 1 if any(rewards) else task.max_steps + 1
        assert driven.first_touch[row] == first
    assert driven.success.any()


@pytest.mark.parametrize("name", SUITES)
def test_an_episode_is_over_at_the_goal_where_the_protocol_says_so(name: str) -> None:
    task = named_task(name)
    driven = played(DataController(task.maze), task, 10)
    assert driven.success.sum() > 3
    if task.protocol.ends_at_goal:
        wanted = np.minimum(driven.first_touch, task.max_steps)
        assert (driven.steps == wanted).all() and (driven.returns == driven.success).all()
        assert driven.steps.min() < task.max_steps
    else:
        assert (driven.steps == task.max_steps).all() and driven.returns.max() > 10


@pytest.mark.parametrize("name", SUITES)
def test_a_group_depends_on_no_other_group(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 3)
    task = named_task(name)
    posed = problems(task, 8)
    arena, policy = Arena(task, 3), DataController(task.maze)
    groups = [(first, posed.rows(slice(first, first + 3))) for first in (0, 3, 6)]
    forward = [arena.play(policy, group, first) for first, group in groups]
    backward = [arena.play(policy, group, first) for first, group in groups[::-1]][::-1]
    arena.close()
    assert all(map(same, forward, backward))
    assert same(joined(forward, posed), rollout(policy, task, posed, progress=False))
    assert same(forward[0], rollout(policy, task, problems(task, 3), progress=False))


def test_a_policy_is_asked_group_by_group() -> None:
    policy = Straight()
    task = named_task("multi2d-umaze")
    drawn = problems(task, GROUP + 3)
    driven = rollout(policy, task, drawn, seed=5, progress=False)
    assert policy.seeds == [5, 5 + GROUP]
    assert [len(states) for states, _ in policy.asked] == [GROUP] * 300 + [3] * 300
    assert np.array_equal(policy.asked[0][0], drawn.starts[:GROUP])
    assert np.array_equal(policy.asked[0][1], drawn.goals[:GROUP])
    assert np.array_equal(policy.asked[300][0], drawn.starts[GROUP:])
    assert driven.problems is drawn and len(driven) == GROUP + 3


class Counted:
    """Pays at ``end`` and is over, and then no step may come."""

    def __init__(self, number: int, end: int) -> None:
        self.number, self.end, self.at, self.closed = number, end, 0, False

    def _observation(self) -> dict[str, np.ndarray]:
        return {"observation": np.array([self.at, self.number, 0.5, 0.5])}

    def reset(self, *, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.at < self.end, "a step after the end"
        self.at += 1
        return self._observation(), float(self.at == self.end), self.at == self.end, False, {}

    def close(self) -> None:
        self.closed = True


def test_a_finished_row_waits_at_its_goal_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [Counted(1, 3), Counted(2, 7), Counted(3, 5)]
    left = iter(made)
    monkeypatch.setattr(module, "make", lambda environment, max_steps: next(left))
    task = named_task("ogbench-medium-navigate")
    policy, goals = Straight(), np.array([[100.0, 1], [100, 2], [100, 3]])
    done = rollout(policy, task, given(np.zeros((3, 4)), goals), progress=False)
    assert done.steps.tolist() == [3, 7, 5] == done.first_touch.tolist()
    assert [env.at for env in made] == [3, 7, 5] and all(env.closed for env in made)
    assert done.positions[0, :6, 0].tolist() == [0, 1, 2, 3, 3, 3]
    assert len(policy.asked) == 7  # and no call once all are over
    for step, (states, aims) in enumerate(policy.asked):
        assert np.array_equal(aims, goals)
        for env, state, goal in zip(made, states, goals, strict=True):
            waits = [*goal, 0, 0] if step >= env.end else [step, env.number, 0.5, 0.5]
            assert state.tolist() == waits


# What a policy does wrong.


def _at(step: int, row: int, value: float) -> Changed:
    def change(actions: np.ndarray, number: int) -> np.ndarray:
        if number == step:
            actions[row, 1] = value
        return actions

    return Changed(change)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["multi2d-umaze", "pointmaze-umaze", "dfplan-ogbench-medium"])
def test_an_action_that_is_not_finite_ends_its_episode_alone(name: str, value: float) -> None:
    whole, cut = played(Straight(), name, 4), played(_at(8, 2, value), name, 4)
    assert cut.faults == (None, None, "an action was not finite", None)
    assert cut.steps[2] == 7 and not cut.rewards[2, 7:].any()
    assert np.array_equal(cut.rewards[2, :7], whole.rewards[2, :7])
    assert (cut.positions[2, 7:] == whole.positions[2, 7]).all()
    others = [0, 1, 3]
    for array in ("rewards", "positions", "steps"):
        assert np.array_equal(getattr(cut, array)[others], getattr(whole, array)[others])


@pytest.mark.parametrize("name", ["multi2d-umaze", "pointmaze-umaze", "dfplan-ogbench-medium"])
def test_an_action_out_of_bounds_is_clipped_and_named(name: str) -> None:
    whole = played(Straight(), name, 4)
    pushed = played(Changed(lambda actions, step: np.where(actions >= 1, 30, actions)), name, 4)
    assert set(pushed.faults) <= {None, "an action was out of bounds"} and any(pushed.faults)
    assert np.array_equal(pushed.rewards, whole.rewards)
    assert np.array_equal(pushed.positions, whole.positions)
    both = Changed(lambda actions, step: np.full_like(actions, 2.0 if step < 5 else np.nan))
    assert set(played(both, name, 2).faults) == {"an action was not finite"}


def test_rounding_is_no_fault_and_finished_rows_have_none() -> None:
    assert not any(
        played(Changed(lambda actions, step: actions * (1 + 1e-7)), "multi2d-umaze", 3).faults
    )
    task = named_task("dfplan-ogbench-medium")
    touch = played(DataController(task.maze), task, 5).first_touch

    class Afterwards(DataController):
        """NaN for every episode that is over."""

        asked = 0

        def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
            actions = super().act(observation, goal)
            actions[touch <= self.asked] = np.nan
            self.asked += 1
            return actions

    driven = played(Afterwards(task.maze), task, 5)
    assert len({*touch.tolist()}) > 2 and not any(driven.faults)
    assert np.array_equal(driven.first_touch, touch)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 2)), np.zeros((4, 3)), np.zeros(2), np.float64(0), np.zeros((1, 4, 2))]
)
def test_actions_of_a_wrong_shape_are_an_error(wrong: np.ndarray) -> None:
    with pytest.raises(ObservationError, match=r"Expected actions \[4, 2\].*got the shape \["):
        played(Changed(lambda actions, step: wrong), "multi2d-umaze", 4)


def test_errors_of_a_policy_come_through() -> None:
    class Raises(Straight):
        def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        played(Raises(), "multi2d-umaze", 2)


def test_times_are_parts_of_the_whole() -> None:
    driven = played(Straight(), "multi2d-umaze", 3)
    parts = driven.policy_seconds + driven.environment_seconds
    assert min(driven.policy_seconds, driven.environment_seconds) > 0
    assert 0.5 * driven.seconds < parts <= driven.seconds


def test_scores_are_those_of_the_task() -> None:
    task = named_task("dfplan-maze2d-umaze")
    driven = played(DataController(task.maze), task, 5)
    needed = np.full(5, 10)
    wanted = np.where(driven.success, 1000 / driven.first_touch, 0)
    assert driven.scores(needed) == pytest.approx(wanted) and wanted.any()
    one = Problems(driven.problems.starts, driven.problems.goals, driven.problems.parts)
    assert one.digest == driven.problems.digest
