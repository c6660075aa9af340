"""Stock episodes of one planner: the task, its problems, and the summary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfplan.collect.controllers import DataController
from dfplan.envs.make import make
from dfplan.errors import ConfigError
from dfplan.evaluation.episodes import EpisodeBatch, run_episodes
from dfplan.evaluation.protocols import custom_problems
from dfplan.evaluation.statistics import wilson_interval
from dfplan.evaluation.stock import STOCK, stock_task, summarize
from dfplan.mazes import named_maze, parse_maze
from dfplan.suites import D4RL, GYMNASIUM, Suite

ROOM = ["#####", "#OOO#", "#O#O#", "#OOO#", "#####"]


@pytest.mark.parametrize(
    ("known", "asked", "wanted"),
    [
        ("ogbench-giant", None, "ogbench-giant"),
        ("large", None, "maze2d-large"),
        ("pointmaze-large", None, "pointmaze-large"),
        (None, "maze2d-umaze", "maze2d-umaze"),
        ("umaze", "multi2d-medium", "multi2d-medium"),
    ],
)
def test_the_default_is_the_maze_of_the_planner(
    known: str | None, asked: str | None, wanted: str
) -> None:
    text = None if known is None else named_maze(known).text
    task, posed = stock_task(text, asked, 2, 0)
    env = make(wanted)
    assert (task.id, task.maze, task.max_steps) == (wanted, env.maze, env.max_steps)
    assert task.protocol is STOCK
    assert len(posed) == 2 * max(1, env.start_goal_pairs)
    assert posed.strata.tolist() == ([1, 2, 3, 4, 5] * 2 if env.start_goal_pairs else [0, 0])
    assert task.maze.is_free(posed.starts[:, :2]).all()


@pytest.mark.parametrize("suite", [D4RL, GYMNASIUM])
def test_a_custom_maze(suite: Suite) -> None:
    room = parse_maze(ROOM, name="room", suite=suite)
    task, posed = stock_task(room.text, room, 4, 3)
    assert task.id == "room" and task.environment == room and len(posed) == 4
    assert stock_task(room.text, None, 4, 3)[1].digest == posed.digest
    assert (
        stock_task(None, room, 4, 3)[1].digest
        == posed.digest
        != stock_task(None, room, 4, 4)[1].digest
    )
    done = run_episodes(DataController(task.maze), task, posed, progress=False)
    assert done.success.all() and (done.steps == 1000).all()


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'ogbench'.*'d4rl'"):
        stock_task(named_maze("ogbench-giant").text, "maze2d-umaze", 1, 0)
    with pytest.raises(ConfigError, match="does not name its maze"):
        stock_task(None, None, 1, 0)
    with pytest.raises(ConfigError, match="'maze2d-umaze'"):
        stock_task(None, "maze2d-umazee", 1, 0)
    for count in (0, -3):
        with pytest.raises(ConfigError, match=f"at least 1; got {count}"):
            stock_task(None, "maze2d-umaze", count, 0)


def _batch() -> EpisodeBatch:
    task, _ = stock_task(None, "ogbench-medium", 1, 0)
    task = replace(task, id="maze", max_steps=100)
    posed = replace(
        custom_problems(np.zeros((4, 2)), np.zeros((4, 2))), strata=np.array([1, 1, 2, 2])
    )
    rewards = np.zeros((4, 100), dtype=np.float32)
    rewards[[0, 1, 2], [9, 19, 59]] = 1, 2, 3
    return EpisodeBatch(
        task=task,
        problems=posed,
        rewards=rewards,
        positions=np.zeros((4, 101, 2), dtype=np.float32),
        steps=np.full(4, 100),
        errors=(None,) * 4,
        seconds=9.0,
        policy_seconds=2.0,
        environment_seconds=3.0,
    )


def test_summary() -> None:
    done = _batch()
    share = wilson_interval(done.success[None])
    assert summarize(done).splitlines() == [
        f"maze: 4 episodes, success 75.0% (95% interval {share.low:.1%} to {share.high:.1%}), "
        "return 1.5",
        "pair 1: success 100.0%",
        "pair 2: success 50.0%",
        "mean steps to the goal in successful episodes: 30",
        "policy 5.00 ms per step",
    ]
    none = replace(
        done,
        rewards=np.zeros_like(done.rewards),
        problems=custom_problems(done.problems.starts, done.problems.goals),
        errors=("an action was not finite", None, "an action was not finite", None),
        steps=np.array([0, 50, 0, 50]),
    )
    text = summarize(none)
    assert "pair" not in text and "steps to" not in text and "success 0.0%" in text
    assert "2 episodes in which an action was not finite" in text
    assert "policy 20.00 ms per step" in text


def test_summary_without_steps() -> None:
    done = replace(_batch(), steps=np.zeros(4, dtype=int), rewards=np.zeros((4, 100)))
    assert "success 0.0%" in summarize(done) and "nan" not in summarize(done)
