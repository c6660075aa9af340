"""Episodes in groups: equal to episodes run by hand, and independent of other groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from dfplan.collect.controllers import DataController
from dfplan.envs.make import make
from dfplan.errors import ObservationError
from dfplan.evaluation import episodes as module
from dfplan.evaluation.episodes import (
    GROUP_SIZE,
    Actor,
    EpisodeBatch,
    EpisodeRunner,
    concatenate_episodes,
    run_episodes,
)
from dfplan.evaluation.protocols import Problems, Task, custom_problems, named_task, problems

SUITES = ["multi2d-umaze", "pointmaze-umaze", "ogbench-medium-navigate", "dfplan-maze2d-umaze"]
SUITES += ["dfplan-ogbench-medium", "ogbench-teleport-navigate"]


class Straight:
    """Pushes toward the goal; notes how it was called."""

    def __init__(self) -> None:
        self.seeds: list[int | None] = []
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def reset(self, seed: int | None = None) -> None:
        self.seeds.append(seed)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        assert goal is not None
        self.calls.append((observation.copy(), goal.copy()))
        force = 10 * (goal - observation[:, :2])
        if observation.shape[1] == 4:
            force -= observation[:, 2:]
        return np.clip(force, -1, 1)


class Changed(Straight):
    """The same policy with changed actions."""

    def __init__(self, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        super().__init__()
        self._change = change

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return self._change(super().act(observation, goal), len(self.calls))


def run(policy: Actor, task: Task | str, count: int, seed: int = 0) -> EpisodeBatch:
    task = named_task(task) if isinstance(task, str) else task
    return run_episodes(policy, task, problems(task, count), seed=seed, progress=False)


def same(one: EpisodeBatch, other: EpisodeBatch) -> bool:
    """Whether all but times agree, to the bit."""
    arrays = ("rewards", "positions", "steps")
    return one.errors == other.errors and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


@pytest.mark.parametrize("name", SUITES)
def test_batched_episodes_equal_episodes_run_by_hand(name: str) -> None:
    task, count = named_task(name), 5
    posed = problems(task, count)
    batch = run_episodes(DataController(task.maze), task, posed, seed=4, progress=False)
    assert batch.rewards.shape == (count, task.max_steps)
    assert batch.positions.shape == (count, task.max_steps + 1, 2)
    for row in range(count):
        env, policy = make(task.environment), DataController(task.maze)
        options: dict[str, Any] = {"start": posed.starts[row], "goal": posed.goals[row]}
        seed = None
        if posed.seeds is not None:
            seed, options = int(posed.seeds[row]), {}
            if posed.strata[row]:
                options = {"start_goal_pair": int(posed.strata[row])}
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
        assert batch.steps[row] == steps
        assert batch.rewards[row, :steps].tolist() == rewards
        assert not batch.rewards[row, steps:].any()
        assert np.array_equal(batch.positions[row, : steps + 1], np.float32(places))
        assert (batch.positions[row, steps:] == np.float32(places[-1])).all()
        assert batch.returns[row] == sum(rewards)
        assert batch.success[row] == any(rewards)
        first = rewards.index(1.0) + 1 if any(rewards) else task.max_steps + 1
        assert batch.steps_to_goal[row] == first
    assert batch.success.any()


@pytest.mark.parametrize("name", SUITES)
def test_episodes_end_at_the_goal_if_the_protocol_says_so(name: str) -> None:
    task = named_task(name)
    batch = run(DataController(task.maze), task, 10)
    assert batch.success.sum() > 3
    if task.protocol.ends_at_goal:
        wanted = np.minimum(batch.steps_to_goal, task.max_steps)
        assert (batch.steps == wanted).all() and (batch.returns == batch.success).all()
        assert batch.steps.min() < task.max_steps
    else:
        assert (batch.steps == task.max_steps).all() and batch.returns.max() > 10


@pytest.mark.parametrize("name", SUITES)
def test_groups_are_independent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_SIZE", 3)
    task = named_task(name)
    posed = problems(task, 8)
    runner, policy = EpisodeRunner(task, 3), DataController(task.maze)
    groups = [(first, posed.subset(slice(first, first + 3))) for first in (0, 3, 6)]
    forward = [runner.run(policy, group, first) for first, group in groups]
    backward = [runner.run(policy, group, first) for first, group in groups[::-1]][::-1]
    runner.close()
    assert all(map(same, forward, backward))
    assert same(
        concatenate_episodes(forward, posed), run_episodes(policy, task, posed, progress=False)
    )
    assert same(forward[0], run_episodes(policy, task, problems(task, 3), progress=False))


def test_a_policy_is_called_group_by_group() -> None:
    policy = Straight()
    task = named_task("multi2d-umaze")
    drawn = problems(task, GROUP_SIZE + 3)
    batch = run_episodes(policy, task, drawn, seed=5, progress=False)
    assert policy.seeds == [5, 5 + GROUP_SIZE]
    assert [len(states) for states, _ in policy.calls] == [GROUP_SIZE] * 300 + [3] * 300
    assert np.array_equal(policy.calls[0][0], drawn.starts[:GROUP_SIZE])
    assert np.array_equal(policy.calls[0][1], drawn.goals[:GROUP_SIZE])
    assert np.array_equal(policy.calls[300][0], drawn.starts[GROUP_SIZE:])
    assert batch.problems is drawn and len(batch) == GROUP_SIZE + 3


class Counted:
    """Rewards step ``end`` and terminates; no further step may follow."""

    action_space = Box(-1.0, 1.0, (2,))

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


def test_a_finished_episode_waits_at_its_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [Counted(1, 3), Counted(2, 7), Counted(3, 5)]
    left = iter(made)
    monkeypatch.setattr(module, "make", lambda environment, max_steps: next(left))
    task = named_task("ogbench-medium-navigate")
    policy, goals = Straight(), np.array([[100.0, 1], [100, 2], [100, 3]])
    done = run_episodes(policy, task, custom_problems(np.zeros((3, 4)), goals), progress=False)
    assert done.steps.tolist() == [3, 7, 5] == done.steps_to_goal.tolist()
    assert [env.at for env in made] == [3, 7, 5] and all(env.closed for env in made)
    assert done.positions[0, :6, 0].tolist() == [0, 1, 2, 3, 3, 3]
    assert len(policy.calls) == 7  # and no call once all are over
    for step, (states, aims) in enumerate(policy.calls):
        assert np.array_equal(aims, goals)
        for env, state, goal in zip(made, states, goals, strict=True):
            waits = [*goal, 0, 0] if step >= env.end else [step, env.number, 0.5, 0.5]
            assert state.tolist() == waits


# Errors of a policy.


def _at(step: int, row: int, value: float) -> Changed:
    def change(actions: np.ndarray, number: int) -> np.ndarray:
        if number == step:
            actions[row, 1] = value
        return actions

    return Changed(change)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["multi2d-umaze", "pointmaze-umaze", "dfplan-ogbench-medium"])
def test_an_action_that_is_not_finite_ends_only_its_episode(name: str, value: float) -> None:
    whole, cut = run(Straight(), name, 4), run(_at(8, 2, value), name, 4)
    assert cut.errors == (None, None, "an action was not finite", None)
    assert cut.steps[2] == 7 and not cut.rewards[2, 7:].any()
    assert np.array_equal(cut.rewards[2, :7], whole.rewards[2, :7])
    assert (cut.positions[2, 7:] == whole.positions[2, 7]).all()
    others = [0, 1, 3]
    for array in ("rewards", "positions", "steps"):
        assert np.array_equal(getattr(cut, array)[others], getattr(whole, array)[others])


@pytest.mark.parametrize("name", ["multi2d-umaze", "pointmaze-umaze", "dfplan-ogbench-medium"])
def test_an_action_out_of_bounds_is_clipped_and_reported(name: str) -> None:
    whole = run(Straight(), name, 4)
    pushed = run(Changed(lambda actions, step: np.where(actions >= 1, 30, actions)), name, 4)
    assert set(pushed.errors) <= {None, "an action was out of bounds"} and any(pushed.errors)
    assert np.array_equal(pushed.rewards, whole.rewards)
    assert np.array_equal(pushed.positions, whole.positions)
    both = Changed(lambda actions, step: np.full_like(actions, 2.0 if step < 5 else np.nan))
    assert set(run(both, name, 2).errors) == {"an action was not finite"}


def test_rounding_and_finished_episodes_give_no_error() -> None:
    assert not any(
        run(Changed(lambda actions, step: actions * (1 + 1e-7)), "multi2d-umaze", 3).errors
    )
    task = named_task("dfplan-ogbench-medium")
    steps_to_goal = run(DataController(task.maze), task, 5).steps_to_goal

    class Afterwards(DataController):
        """NaN for finished episodes."""

        calls = 0

        def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
            actions = super().act(observation, goal)
            actions[steps_to_goal <= self.calls] = np.nan
            self.calls += 1
            return actions

    batch = run(Afterwards(task.maze), task, 5)
    assert len({*steps_to_goal.tolist()}) > 2 and not any(batch.errors)
    assert np.array_equal(batch.steps_to_goal, steps_to_goal)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 2)), np.zeros((4, 3)), np.zeros(2), np.float64(0), np.zeros((1, 4, 2))]
)
def test_actions_of_a_wrong_shape_are_an_error(wrong: np.ndarray) -> None:
    with pytest.raises(ObservationError, match=r"\[4, 2\]"):
        run(Changed(lambda actions, step: wrong), "multi2d-umaze", 4)


def test_errors_of_a_policy_are_raised() -> None:
    class Raises(Straight):
        def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(Raises(), "multi2d-umaze", 2)


def test_policy_and_environment_times_add_up() -> None:
    batch = run(Straight(), "multi2d-umaze", 3)
    parts = batch.policy_seconds + batch.environment_seconds
    assert min(batch.policy_seconds, batch.environment_seconds) > 0
    assert 0.5 * batch.seconds < parts <= batch.seconds


def test_scores_are_those_of_the_task() -> None:
    task = named_task("dfplan-maze2d-umaze")
    batch = run(DataController(task.maze), task, 5)
    needed = np.full(5, 10)
    wanted = np.where(batch.success, 1000 / batch.steps_to_goal, 0)
    assert batch.scores(needed) == pytest.approx(wanted) and wanted.any()
    one = Problems(batch.problems.starts, batch.problems.goals, batch.problems.strata)
    assert one.digest == batch.problems.digest
