"""Policies do not go back to places that they have passed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dfplan
from dfplan.envs.dynamics import PointMass
from dfplan.mazes import named_maze
from dfplan.planning.passed import PassedPlaces
from dfplan.planning.rewards import PassThrough, Short
from dfplan.planning.route import TimedLine
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.warm_start import FollowedLine

IN_AND_OUT = TimedLine(np.array([[0.0, 0.0], [0.0, 8.0], [0.0, 0.0]]), np.array([0.0, 80, 160]))


def positions_along(line: TimedLine, count: int) -> np.ndarray:
    return line.at(np.linspace(0.0, line.duration, count))


def test_a_line_that_comes_back_is_followed_in_order() -> None:
    line, left = FollowedLine(IN_AND_OUT), IN_AND_OUT.length
    for position in positions_along(IN_AND_OUT, 161):
        line.move(position + 0.05)
        rest = line.rest(position)
        assert rest is not None and rest.length <= left + 0.3
        left = rest.length
    assert left < 0.5


def test_a_body_far_from_its_line_has_no_rest() -> None:
    line = FollowedLine(IN_AND_OUT)
    assert line.rest(np.array([50.0, 0.0])) is None


def test_what_is_passed_is_left_out() -> None:
    places = torch.tensor([[0.0, 4.0], [0.0, 8.0]])
    reward = 10.0 * PassThrough(places, points_per_line=3) + Short()
    passed, line = PassedPlaces(reward), FollowedLine(IN_AND_OUT)
    passed.start(2)
    lines = [line, None]
    found = []
    for position in positions_along(IN_AND_OUT, 161):
        passed.move(np.stack([position, position]), lines)
        found.append(int(passed.counts[0, 0]))
    assert (np.diff(found) >= 0).all() and found[0] == 0 and found[-1] == 2
    assert 30 <= found.index(1) <= 41 and 70 <= found.index(2) <= 81
    assert passed.counts[1, 0] == 0, "without a line nothing is passed"
    assert passed.left(1) is reward
    assert passed.group(np.array([1, 0])).tolist() == [1]
    steps, points = torch.arange(3.0), torch.tensor([[[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]])
    left = passed.left(0)
    assert left is not None
    torch.testing.assert_close(left(points, steps), Short()(points, steps))
    passed.counts[0, 0] = 1
    left = passed.left(0)
    wanted = 10.0 * PassThrough(places[1:], points_per_line=3) + Short()
    assert left is not None
    torch.testing.assert_close(left(points, steps), wanted(points, steps))
    passed.forget(np.array([True, False]))
    assert passed.left(0) is reward


def test_a_place_that_the_plan_does_not_pass_is_not_passed() -> None:
    passed, line = PassedPlaces(PassThrough(torch.tensor([[4.0, 8.0]]))), FollowedLine(IN_AND_OUT)
    passed.start(1)
    for position in positions_along(IN_AND_OUT, 161):
        line.move(position)
        passed.move(position[None], [line])
    assert not passed.counts.any()


def test_noise_passes_nothing_that_is_far_away() -> None:
    rng = np.random.default_rng(0)
    passed = PassedPlaces(PassThrough(torch.tensor([[0.0, 8.0]])))
    line = FollowedLine(IN_AND_OUT, step=0.1)
    passed.start(1)
    for position in positions_along(IN_AND_OUT, 161)[:50]:
        seen = position + rng.normal(0, 0.2, 2)
        line.move(seen)
        passed.move(seen[None], [line])
    assert not passed.counts.any()


@pytest.mark.parametrize("reward", [None, Short(), lambda states, steps: states.sum((1, 2))])
def test_other_rewards_have_nothing_to_pass(reward: object) -> None:
    passed = PassedPlaces(reward)  # type: ignore[arg-type]
    passed.start(2)
    passed.move(np.zeros((2, 2)), [None, None])
    assert not passed.any and passed.left(0) is reward
    assert passed.group(np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("replan_every", [None, 15])
def test_a_policy_passes_a_place_and_comes_back(replan_every: int | None) -> None:
    planner = dfplan.load("maze2d-umaze")
    assert isinstance(planner, ForcingPlanner)
    via, goal = np.array([3.0, 1.0]), np.array([1.0, 1.2])
    reward = 100.0 * PassThrough(torch.from_numpy(via[None]))
    policy = dfplan.Policy(
        planner.for_rewards(), reward=reward, goal=goal, replan_every=replan_every, seed=0
    )
    ball = PointMass(named_maze("umaze"))
    ball.set_state(np.array([1.0, 1.0]), np.zeros(2))
    path = [np.array([1.0, 1.0, 0.0, 0.0])]
    for _ in range(230):
        path.append(np.array(ball.advance(*policy.act(path[-1]).astype(float).tolist())))
    line = np.array(path)[:, :2]
    at_via, at_goal = (np.linalg.norm(line - place, axis=1) < 0.5 for place in (via, goal))
    assert at_via.any() and at_goal[at_via.argmax() :].any()
    assert at_goal[-1], "it does not go there again"


def test_a_new_episode_of_one_row_has_passed_nothing() -> None:
    planner = dfplan.load("maze2d-umaze")
    assert isinstance(planner, ForcingPlanner)
    place = np.array([3.0, 1.0])
    reward = 100.0 * PassThrough(torch.from_numpy(place[None]))
    goal, every = np.array([1.0, 1.0]), {"replan_every": 1, "warm_start": False}
    policy = dfplan.Policy(planner.for_rewards(), reward=reward, goal=goal, seed=0, **every)
    near, far = np.array([3.0, 1.1, 0.0, 0.0]), np.array([3.0, 2.6, 0.0, 0.0])

    def detours(start: np.ndarray, begins: bool) -> bool:
        policy.predict(np.stack([start, near]), episode_start=np.array([begins, False]))
        assert policy.plan is not None
        return bool((np.linalg.norm(policy.plan.points[0] - place, axis=1) < 0.5).any())

    for _ in range(2):
        policy.act(np.stack([near, near]))
    assert not detours(far, False), "it has passed the place"
    assert detours(far, True)
