from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from dfplan.envs import register
from dfplan.errors import ConfigError
from dfplan.evaluation.protocols import TASKS, named_task, problems

TASK_IDS = sorted(TASKS)
FROZEN = ["5c3d8d4d", "2be35c79", "124348df", "f36b37a1", "45e8aad7", "e393a5ec"]


@pytest.mark.parametrize("name", TASK_IDS)
def test_task_agrees_with_its_environment(name: str) -> None:
    register()
    task = named_task(name)
    spec = gymnasium.spec(f"dfplan/{task.id}-v1")
    assert spec.max_episode_steps == task.max_steps
    goals = [gymnasium.make(spec).reset(seed=seed)[1]["goal"] for seed in range(3)]
    if task.goal is None:
        assert not np.array_equal(goals[0], goals[1])
    else:
        assert all(np.array_equal(goal, task.goal) for goal in goals)


@pytest.mark.parametrize("name", TASK_IDS)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_problems_follow_the_protocol(name: str, split: str) -> None:
    task = named_task(name, split)
    drawn = problems(task, 2000)
    positions = drawn.starts[:, :2]
    cells = np.round(positions).astype(int)
    assert np.abs(positions - cells).max() <= 0.1
    assert task.maze.contains(positions).all() and task.maze.contains(drawn.goals).all()
    assert {tuple(cell) for cell in cells} == {tuple(cell) for cell in task.maze.free_cells}
    assert drawn.starts[:, 2:].std(axis=0) == pytest.approx([0.1, 0.1], rel=0.1)
    if task.goal is None:
        assert len(np.unique(drawn.goals, axis=0)) == 2000
        assert np.abs(drawn.goals - np.round(drawn.goals)).max() <= 0.1
    else:
        assert (drawn.goals == task.goal).all()


@pytest.mark.parametrize("name", TASK_IDS)
def test_more_problems_only_append(name: str) -> None:
    task = named_task(name)
    few, many = problems(task, 100), problems(task, 500)
    assert np.array_equal(few.starts, many.starts[:100])
    assert np.array_equal(few.goals, many.goals[:100])
    assert few.digest != many.digest
    assert few.digest == problems(task, 100).digest


def test_no_two_tasks_splits_or_seeds_share_a_problem() -> None:
    sets = [
        problems(named_task(name, split), 500, seed)
        for name in TASK_IDS
        for split in ("test", "validation")
        for seed in (0, 1)
    ]
    starts = np.concatenate([drawn.starts for drawn in sets])
    assert len(np.unique(starts, axis=0)) == len(starts)
    assert len({drawn.digest for drawn in sets}) == len(sets)


def test_frozen_problems_stay_frozen() -> None:
    # Changing the draw invalidates every published row: do it only with a new task version.
    digests = [problems(named_task(name), 100).digest[:8] for name in TASK_IDS]
    assert digests == FROZEN


def test_wrong_names_and_counts_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'maze2d-large'"):
        named_task("maze2d-lage")
    with pytest.raises(ConfigError, match="Unknown split 'train'"):
        named_task("maze2d-large", "train")
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        problems(named_task("maze2d-large"), 0)
