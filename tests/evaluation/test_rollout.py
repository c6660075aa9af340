from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from dfplan.errors import ConfigError, DfplanError, ObservationError
from dfplan.evaluation.controller import WaypointPolicy
from dfplan.evaluation.protocols import named_task, problems
from dfplan.evaluation.rollout import Actor, Rollouts, latency, rollout
from dfplan.types import Plan

TASK = named_task("multi2d-umaze", "validation")


class Straight:
    """Pushes toward the goal; notes how it was called."""

    def __init__(self) -> None:
        self.seeds: list[int | None] = []
        self.batches: list[int] = []

    def reset(self, seed: int | None = None) -> None:
        self.seeds.append(seed)

    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        assert goal is not None
        self.batches.append(len(observation))
        return 10 * (goal - observation[:, :2]) - observation[:, 2:]


def _play(policy: Actor, **options: int) -> Rollouts:
    return rollout(policy, TASK, problems(TASK, 7), progress=False, **options)


def test_record_is_what_was_played() -> None:
    drawn = problems(TASK, 7)
    policy = Straight()
    played = _play(policy, seed=5, chunk=3)
    assert policy.seeds == [5, 8, 11]
    assert policy.batches == [3] * 300 + [3] * 300 + [1] * 300
    assert played.digest == drawn.digest and len(played) == 7
    assert played.rewards.shape == (7, 300) and played.positions.shape == (7, 301, 2)
    assert played.positions[:, 0] == pytest.approx(drawn.starts[:, :2], abs=1e-6)
    distance = np.linalg.norm(played.positions[:, 1:] - drawn.goals[:, None], axis=2)
    clear = np.abs(distance - 0.5) > 1e-5  # positions are kept in single precision
    assert ((distance <= 0.5) == (played.rewards == 1))[clear].all()
    assert np.array_equal(played.returns, played.rewards.sum(axis=1))
    assert 0 < played.policy_seconds < played.seconds


@pytest.mark.parametrize("options", [{"workers": 2}, {"workers": 3, "chunk": 4}, {"chunk": 2}])
def test_workers_and_chunks_change_no_bit(options: dict[str, int]) -> None:
    alone = _play(WaypointPolicy(TASK.maze), seed=3)
    other = _play(WaypointPolicy(TASK.maze), seed=3, **options)
    assert np.array_equal(alone.rewards, other.rewards)
    assert np.array_equal(alone.positions, other.positions)


class Broken(Straight):
    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        return np.full((len(observation), 2), np.nan)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_through_and_leave_no_process(workers: int) -> None:
    with pytest.raises(ObservationError, match="action"):
        _play(Broken(), workers=workers)
    assert not multiprocessing.active_children()


class Killer(Straight):
    def act(self, observation: np.ndarray, goal: np.ndarray | None = None) -> np.ndarray:
        multiprocessing.active_children()[0].kill()
        return super().act(observation, goal)


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(DfplanError, match="has died"):
        _play(Killer(), workers=2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("option", ["workers", "chunk"])
def test_counts_must_be_positive(option: str) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        _play(Straight(), **{option: 0})


class Planner:
    """A straight line of ten points; one evaluation more each plan."""

    def __init__(self) -> None:
        self.calls = 0

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: object = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        self.calls += 1
        assert observation.shape == (4,) and goal is not None and goal.shape == (2,)
        points = np.linspace(observation[:2], goal, 10, dtype=np.float32)[None]
        return Plan(
            points=points,
            steps=np.array([9]),
            stride=1,
            level=np.zeros((1, 10), dtype=int),
            max_level=1,
            spread=np.zeros((1, 10), dtype=np.float32),
            candidates=points[:, None],
            scores=np.zeros((1, 1), dtype=np.float32),
            observation=observation[None],
            goal=goal[None],
            evaluations=self.calls,
            seconds=0.0,
        )


def test_latency_leaves_the_first_plan_out() -> None:
    planner = Planner()
    timing = latency(planner, problems(TASK, 7), 5)
    assert timing.evaluations.tolist() == [2, 3, 4, 5, 6]
    assert len(timing.seconds) == 5 and 0 < timing.p50 <= timing.p95
    with pytest.raises(ConfigError, match="1 to 7"):
        latency(planner, problems(TASK, 7), 8)
