"""Reproduces D4RL's reference scores in dfplan's environments.

The published ``max`` is the return of a waypoint controller that is never reset. It plans its route
in the first episode. In later episodes it has already completed that route and drives straight to
the goal, even into walls. Its episodes are therefore independent, and the published mean of 100
episodes (the default of D4RL's script) should be within 3 standard errors of ours, including the
sampling errors of both.
"""

from __future__ import annotations

import numpy as np
import pytest

from dfplan.collect.waypoint import WaypointController
from dfplan.envs.maze2d import Maze2DEnv
from dfplan.suites import D4RL

RANDOM = {"umaze": 23.85, "medium": 13.13, "large": 6.70}
STALE = {"umaze": 161.86, "medium": 277.39, "large": 273.99}
PUBLISHED_EPISODES = 100


def controller_returns(maze: str, episodes: int, fresh: bool, seed: int) -> np.ndarray:
    env = Maze2DEnv(maze)
    controller = WaypointController(env.maze, np.random.default_rng(seed))
    returns = np.zeros(episodes)
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        goal = tuple(info["goal"].tolist())
        if fresh:
            controller.reset()
        for _ in range(D4RL.episode_steps[maze]):
            force0, force1, _ = controller.act(*observation.tolist(), goal)
            observation, reward, *_ = env.step(np.array([force0, force1]))
            returns[episode] += reward
    return returns


def random_returns(maze: str, episodes: int, seed: int) -> np.ndarray:
    env, rng = Maze2DEnv(maze), np.random.default_rng(seed)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        env.reset(seed=seed if episode == 0 else None)
        actions = rng.uniform(-1.0, 1.0, size=(D4RL.episode_steps[maze], 2))
        returns[episode] = sum(env.step(action)[1] for action in actions)
    return returns


def errors_away(published: float, returns: np.ndarray) -> float:
    """Difference of the mean of ``returns`` from the published mean, in standard errors."""
    error = returns.std(ddof=1) * np.sqrt(1 / len(returns) + 1 / PUBLISHED_EPISODES)
    return float((returns.mean() - published) / error)


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_random_actions_score_the_published_minimum(maze: str) -> None:
    assert abs(errors_away(RANDOM[maze], random_returns(maze, 100, seed=1))) < 3


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_the_stale_controller_scores_the_published_maximum(maze: str) -> None:
    returns = controller_returns(maze, 100, fresh=False, seed=1)
    assert abs(errors_away(STALE[maze], returns)) < 3


@pytest.mark.parametrize("maze", D4RL.episode_steps)
def test_a_controller_that_replans_scores_more_than_the_published_maximum(maze: str) -> None:
    returns = controller_returns(maze, 60, fresh=True, seed=1)
    assert errors_away(STALE[maze], returns) > 3
