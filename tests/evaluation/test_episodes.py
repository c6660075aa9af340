"""Stock episodes: the same for every policy, scored as the suite pays, and over when they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from dfplan.envs.suites import make
from dfplan.errors import ConfigError
from dfplan.evaluation import episodes as episodes_module
from dfplan.evaluation.episodes import Episodes, play, success_interval, suite_for
from dfplan.mazes import FRAMES, Maze, named_maze, parse_maze

OPEN = ["#######", "#OOOOO#", "#OOOOO#", "#OOOOO#", "#######"]
ROOM = parse_maze(OPEN, name="room")
ROOMS = [ROOM, parse_maze(OPEN, name="room", frame=FRAMES["gymnasium"])]

each_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.frame.name))


@dataclass
class Straight:
    """Drives straight at the goal, and notes how it was asked."""

    resets: list[int | None] = field(default_factory=list)
    asked: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def reset(self, seed: int | None = None) -> None:
        self.resets.append(seed)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        assert goal is not None
        self.asked.append((observation.copy(), goal.copy()))
        force = 10 * (goal - observation[:, :2])
        if observation.shape[1] == 4:
            force -= 1.5 * observation[:, 2:]
        return np.clip(force, -1, 1).astype(np.float32)


class Still(Straight):
    """Stays where it is: the force that takes the velocity away, or none."""

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        force = -observation[:, 2:] / 0.2382 if observation.shape[1] == 4 else observation * 0
        return np.clip(force, -1, 1).astype(np.float32)


def played(policy: Any, room: Maze | str, episodes: int, **how: Any) -> Episodes:
    return play(policy, room, episodes, progress=False, **how)


@each_room
def test_every_policy_meets_the_same_episodes_whatever_ran_before(room: Maze) -> None:
    first = played(Still(), room, 3)
    np.random.seed(5)
    played(Still(), room, 2, seed=9)
    second = played(Straight(), room, 3)
    more = played(Still(), room, 4)
    np.testing.assert_array_equal(first.observations, second.observations)
    np.testing.assert_array_equal(first.goals, second.goals)
    np.testing.assert_array_equal(first.observations, more.observations[:3])
    np.testing.assert_array_equal(first.goals, more.goals[:3])


def test_splits_and_seeds_share_no_start() -> None:
    starts = [
        tuple(row)
        for how in ({}, {"split": "validation"}, {"seed": 1}, {"split": "validation", "seed": 1})
        for row in played(Still(), ROOM, 3, **how).observations
    ]
    assert len(set(starts)) == len(starts) == 12


@each_room
def test_straight_at_the_goal_arrives_and_standing_still_does_not(room: Maze) -> None:
    env = make(room)
    driven = played(Straight(), room, 6)
    away = np.linalg.norm(driven.observations[:, :2] - driven.goals, axis=1)
    assert driven.success.all()
    assert (driven.steps[away > env.goal_radius] > 0).all() and (driven.steps < 300).all()
    assert (driven.returns > env.max_steps - 300).all()
    still = played(Still(), room, 6)
    on_goal = away <= env.goal_radius
    np.testing.assert_array_equal(still.success, on_goal)
    np.testing.assert_array_equal(still.steps, np.where(on_goal, 0, env.max_steps))
    assert not still.returns[~on_goal].any() and not on_goal.all()


@each_room
def test_rewards_steps_and_path_are_those_of_playing_by_hand(room: Maze) -> None:
    policy = Straight()
    driven = played(policy, room, 2, seed=4)
    assert policy.resets == [4]
    for row in range(2):
        env = make(room)
        options = {"start": driven.observations[row], "goal": driven.goals[row]}
        observation, info = env.reset(seed=0, options=options)
        rewards, path, successes = [], [observation["achieved_goal"]], [info["success"]]
        over = False
        while not over:
            action = policy.act(observation["observation"][None], driven.goals[row][None])[0]
            observation, reward, terminated, truncated, info = env.step(action)
            rewards.append(reward)
            path.append(observation["achieved_goal"])
            successes.append(info["success"])
            over = terminated or truncated
        assert driven.returns[row] == pytest.approx(sum(rewards))
        assert driven.steps[row] == successes.index(True)
        if row == 0:
            assert len(driven.paths) == 1
            np.testing.assert_allclose(driven.paths[0], path, atol=1e-12)


class Counted:
    """Pays its number a step, reaches the goal at ``reached`` and ends at ``end``, and then no
    step may come."""

    tasks = 0
    name = "counted"

    def __init__(self, number: int, end: int, reached: int | None) -> None:
        self.number, self.end, self.reached, self.at, self.closed = number, end, reached, 0, False

    def _observation(self) -> dict[str, np.ndarray]:
        state = np.array([self.at, self.number, 0.5, 0.5])
        return {"observation": state, "desired_goal": np.array([100.0, self.number])}

    def reset(self, *, seed: int, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        assert options == {}
        return self._observation(), {"success": self.reached == 0}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.at < self.end, "a step after the end"
        self.at += 1
        over, success = self.at == self.end, self.at == self.reached
        return (
            self._observation(),
            float(self.number),
            over and success,
            over and not success,
            {"success": success},
        )

    def close(self) -> None:
        self.closed = True


def test_an_episode_that_is_over_stands_and_is_stepped_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [Counted(1, 3, 3), Counted(2, 7, None), Counted(3, 5, 2), Counted(4, 4, 0)]
    left = iter(made)
    monkeypatch.setattr(episodes_module, "make", lambda suite: next(left))
    policy = Straight()
    done = played(policy, "counted", 4)
    assert done.success.tolist() == [True, False, True, True]
    assert done.steps.tolist() == [3, 7, 2, 0]
    assert done.played.tolist() == [3, 7, 5, 4]
    assert done.returns.tolist() == [3, 14, 15, 16]
    assert [env.at for env in made] == [3, 7, 5, 4] and all(env.closed for env in made)
    np.testing.assert_array_equal(done.paths[0][:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(done.observations[:, 0], 0)
    # One call for all at each step; who is over waits at its goal.
    assert [len(observation) for observation, _ in policy.asked] == [4] * 7
    for step, (observation, goal) in enumerate(policy.asked):
        for env, state, aim in zip(made, observation, goal, strict=True):
            waits = [*aim, 0, 0] if step >= env.end else [step, env.number, 0.5, 0.5]
            assert state.tolist() == waits


@pytest.fixture
def ogbench() -> Callable[[], Any]:
    pytest.importorskip("ogbench")
    return lambda: make("ogbench-medium")


def test_ogbench_is_played_task_by_task_from_its_own_cells(ogbench: Callable[[], Any]) -> None:
    env = ogbench()
    policy = Straight()
    done = played(policy, "ogbench-medium", 2)
    assert done.tasks.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert policy.resets == [0] * 5 and len(done.paths) == 5 and len(done) == 10
    for task, start, goal in zip(done.tasks, done.observations, done.goals, strict=True):
        infos = env.unwrapped.task_infos[task - 1]
        for position, cell in ((start, infos["init_ij"]), (goal, infos["goal_ij"])):
            assert tuple(env.maze.xy_to_cell(position)) == tuple(cell)
    assert len({tuple(start) for start in done.observations}) == 10
    np.random.seed(1)
    again = played(Still(), "ogbench-medium", 2)
    np.testing.assert_array_equal(done.observations, again.observations)
    np.testing.assert_array_equal(done.goals, again.goals)
    assert not again.success.any() and (again.steps == env.max_steps).all()
    for task in range(5):
        np.testing.assert_array_equal(done.paths[task][0], done.observations[2 * task])


def test_the_text_says_what_was_played() -> None:
    done = Episodes(
        name="maze",
        tasks=np.array([1, 1, 2, 2]),
        success=np.array([True, True, True, False]),
        steps=np.array([10, 20, 60, 110]),
        played=np.array([100, 100, 100, 100]),
        returns=np.array([1.0, 2.0, 3.0, 0.0]),
        observations=np.zeros((4, 4)),
        goals=np.zeros((4, 2)),
        paths=(),
        seconds=9.0,
        policy_seconds=2.0,
    )
    low, high = success_interval(done.success)
    assert done.text().splitlines() == [
        f"maze: 4 episodes, success 75.0% (95% interval {low:.1%} to {high:.1%}), return 1.5",
        "task 1: success 100.0%",
        "task 2: success 50.0%",
        "steps to the goal, where it was reached: 30",
        "policy 5.00 ms a step",
    ]
    none = replace(done, tasks=np.zeros(4, dtype=int), success=np.zeros(4, dtype=bool)).text()
    assert "task" not in none and "steps to" not in none and "success 0.0%" in none


@pytest.mark.parametrize(
    ("reached", "of", "low", "high"),
    [
        # (p + z^2/2n -+ z sqrt(pq/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959964, by hand
        (8, 10, 0.49016, 0.94332),
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (50, 100, 0.40383, 0.59617),
    ],
)
def test_the_interval_is_wilsons(reached: int, of: int, low: float, high: float) -> None:
    assert success_interval(np.arange(of) < reached) == pytest.approx((low, high), abs=2e-5)


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Unknown split 'tset'\. Did you mean 'test'"):
        played(Still(), ROOM, 1, split="tset")
    for count in (0, -3):
        with pytest.raises(ConfigError, match=f"at least 1; got {count}"):
            played(Still(), ROOM, count)
    with pytest.raises(ConfigError, match="Did you mean 'maze2d-umaze'"):
        played(Still(), "maze2d-umazee", 1)


def test_the_cost_is_of_all_steps_that_the_policy_was_asked_for() -> None:
    cell = parse_maze(["###", "#O#", "###"], name="cell")
    done = played(Still(), cell, 2)  # both start on their goal
    assert not done.steps.any() and done.played.tolist() == [1000, 1000]
    assert f"policy {done.policy_seconds / 2:.2f} ms a step" in done.text()


def test_a_planner_is_played_in_its_own_frame_alone() -> None:
    assert suite_for("ogbench-giant", None) == named_maze("ogbench-giant")
    assert suite_for(None, "maze2d-umaze") == "maze2d-umaze"
    assert suite_for(named_maze("umaze").ascii, "maze2d-large") == "maze2d-large"
    with pytest.raises(ConfigError, match=r"frame 'ogbench'.*'d4rl'"):
        suite_for("ogbench-giant", "maze2d-umaze")
    with pytest.raises(ConfigError, match="does not say what maze"):
        suite_for(None, None)
