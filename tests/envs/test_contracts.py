"""Contracts that other libraries expect: Gymnasium's, and GoalEnv's of Gymnasium-Robotics."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.wrappers import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from dfplan.envs.make import NAMES, make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import ConfigError, DfplanError, ObservationError
from dfplan.mazes import Maze, parse_maze
from dfplan.suites import D4RL, SUITES

ROWS = ["#######", "#G....#", "#.###.#", "#.....#", "#######"]
OPEN = [row.replace("G", ".") for row in ROWS]
CUSTOM = [
    parse_maze(rows, name, suite=SUITES[suite])
    for rows, name in ((ROWS, "loop"), (OPEN, "open loop"))
    for suite in ("d4rl", "gymnasium")
]
ROOMS = [
    parse_maze(["#####", "#...#", "#...#", "#...#", "#####"], "room", suite=SUITES[suite])
    for suite in ("d4rl", "gymnasium")
]
EVERY: list[Any] = [*NAMES, *CUSTOM]
ONE_EACH = [
    "maze2d-umaze",
    "multi2d-umaze",
    "pointmaze-umaze",
    "ogbench-medium",
    "ogbench-teleport",
]
made_once = cache(make)
REGISTERED: list[Callable[[], gymnasium.Env[Any, Any]]] = [
    *(
        partial(gymnasium.make, f"dfplan/{kind}-{maze}-v1")
        for kind in ("maze2d", "multi2d")
        for maze in D4RL.episode_steps
    ),
    *(
        partial(gymnasium.make, "dfplan/maze2d-v1", maze=maze, max_episode_steps=40)
        for maze in (ROWS, "\n".join(ROWS), CUSTOM[0], np.array([[*row] for row in OPEN]) == "#")
    ),
    *(
        partial(gymnasium.make, "dfplan/maze2d-v1", maze="umaze", goal=goal)
        for goal in ((3, 1), np.array([2.9, 1.1]), np.ones(2, np.float32), "random", None)
    ),
]
MADE: list[Callable[[], gymnasium.Env[Any, Any]]] = [
    *(partial(make, maze) for maze in EVERY),
    partial(make, "pointmaze-umaze", max_steps=np.int64(7), render_mode="rgb_array"),  # type: ignore[arg-type]
    *REGISTERED,
]
COPIES: list[Callable[[Any], Any]] = [
    copy.deepcopy,
    lambda env: pickle.loads(pickle.dumps(env)),
    lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
    lambda env: copy.deepcopy(copy.deepcopy(env)),
]
SOME = (
    (make, "maze2d-umaze"),
    (make, CUSTOM[1]),
    (make, "pointmaze-umaze"),
    (make, "ogbench-teleport"),
)


def label(value: Any) -> str:
    if isinstance(value, partial):
        return "-".join([label(value.args[0]), *value.keywords])
    return f"{value.name}-{value.suite.name}" if isinstance(value, Maze) else str(value)


def forces(seed: int, steps: int, env: Any = None) -> np.ndarray:
    """Random actions, each held long enough to push the ball along walls."""
    size = 2 if env is None else env.action_space.shape[-1]
    held = np.random.default_rng(seed).uniform(-1, 1, (-(-steps // 40), size)).astype(np.float32)
    return np.repeat(held, 40, axis=0)[:steps]


def continuation(env: gymnasium.Env[Any, Any], seed: int, steps: int) -> list[Any]:
    """Everything that an environment returns for ``steps`` actions and for a new episode."""
    results: list[Any] = [env.step(action) for action in forces(seed, steps, env)]
    results += [env.action_space.sample(), env.reset()]
    results += [env.step(action) for action in forces(seed, 3, env)]
    return results


@pytest.mark.parametrize("made", MADE, ids=label)
def test_a_spec_written_as_json_makes_the_same_environment(made: Any) -> None:
    env = made()
    assert env.spec is not None
    text = env.spec.to_json()
    again: Any = gymnasium.make(EnvSpec.from_json(text))
    assert type(again) is type(env)
    assert again.spec.to_json() == text
    assert again.render_mode == env.render_mode
    assert again.observation_space == env.observation_space
    if isinstance(env, MazeEnv):
        assert again.maze == env.maze
        assert (again.name, again.max_steps) == (env.name, env.max_steps)
    for seed in (3, 4):
        for each in (again, env):
            each.action_space.seed(seed)
        np.testing.assert_equal(again.reset(seed=seed), env.reset(seed=seed))
        np.testing.assert_equal(continuation(again, seed, 12), continuation(env, seed, 12))
    for spec in (env.spec, pickle.loads(pickle.dumps(env.spec)), copy.deepcopy(env.spec)):
        assert spec == again.spec


def test_a_spec_makes_vector_environments() -> None:
    for maze in ("maze2d-umaze", CUSTOM[0], "pointmaze-umaze", "ogbench-medium"):
        spec = EnvSpec.from_json(make(maze).spec.to_json())  # type: ignore[union-attr]
        envs = gymnasium.make_vec(spec, num_envs=2)
        alone = make(maze)
        np.testing.assert_equal(
            {key: value[0] for key, value in envs.reset(seed=3)[0].items()}, alone.reset(seed=3)[0]
        )
        envs.close()


@pytest.mark.parametrize("made", MADE, ids=label)
def test_a_copy_continues_identically_and_independently(made: Any) -> None:
    env, undisturbed = made(), made()
    for each in (env, undisturbed):
        each.action_space.seed(1)
        each.reset(seed=1)
        for action in forces(0, 150, env):
            each.step(action)
    twin = copy.deepcopy(env)
    for action in forces(5, 60, env):
        env.step(action)
    env.reset(seed=9)
    expected = continuation(undisturbed, 2, 120)
    np.testing.assert_equal(continuation(twin, 2, 120), expected)


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("made", SOME, ids=lambda made: label(made[1]))
def test_every_kind_of_copy_continues_identically(made: Any, copied: Callable[[Any], Any]) -> None:
    env = made[0](made[1], render_mode="rgb_array", max_steps=50)
    fresh = copied(env)
    with pytest.raises(ResetNeeded):
        fresh.step(np.zeros(2))
    np.testing.assert_equal(fresh.reset(seed=0), env.reset(seed=0))
    for action in forces(1, 20):
        env.step(action)
    env.unwrapped.note = "a user's"
    caller = np.random.get_state()
    twin = copied(env)
    np.testing.assert_equal(np.random.get_state(), caller)
    assert twin.unwrapped.note == "a user's"
    assert twin.unwrapped is not env.unwrapped
    assert twin.spec == env.spec
    np.testing.assert_array_equal(twin.render(), env.render())
    theirs = continuation(twin, 3, 60)
    np.testing.assert_equal(continuation(env, 3, 60), theirs)


@pytest.mark.parametrize("made", SOME, ids=lambda made: label(made[1]))
def test_a_shallow_copy_does_not_share_the_simulator(made: Any) -> None:
    env = made[0](made[1])
    env.reset(seed=0)
    twin = copy.copy(env)
    theirs = continuation(twin, 3, 30)
    np.testing.assert_equal(continuation(env, 3, 30), theirs)


@pytest.mark.parametrize("maze", ["maze2d-umaze", "pointmaze-umaze", "ogbench-teleport"])
@pytest.mark.parametrize("wrap", [RecordEpisodeStatistics, "vector"])
def test_wrapped_environments_can_be_copied(maze: str, wrap: Any) -> None:
    if wrap == "vector":
        env: Any = gymnasium.vector.SyncVectorEnv([partial(make, maze)] * 2)
        actions = np.stack([forces(0, 30), forces(1, 30)], axis=1)
    else:
        env, actions = wrap(make(maze)), forces(0, 30)
    env.reset(seed=2)
    env.step(actions[0])
    twin = copy.deepcopy(env)
    theirs = [copy.deepcopy(twin.step(action)[:4]) for action in actions]
    ours = [copy.deepcopy(env.step(action)[:4]) for action in actions]
    np.testing.assert_equal(ours, theirs)


@pytest.mark.parametrize("maze", EVERY, ids=label)
def test_recomputed_rewards_equal_those_of_steps(maze: Any) -> None:
    env = make(maze, max_steps=10**6)
    start, goal = env.maze.cell_to_xy(env.maze.free_cells[:2])
    share = min(1.0, 1.05 * env.goal_radius / np.linalg.norm(start - goal))
    env.reset(seed=0, options={"start": goal + share * (start - goal), "goal": goal})
    rows = []
    actions = forces(3, 60, env)
    if env.suite.action_size == 2:  # toward the goal
        actions = np.sign(goal - start) * np.abs(actions)
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        places = observation["achieved_goal"], observation["desired_goal"]
        asked: Any
        for asked in (env, env.unwrapped):
            assert asked.compute_reward(*places, info) == reward
            assert asked.compute_terminated(*places, info) == terminated
            assert asked.compute_truncated(*places, info) == truncated
        assert np.shape(env.compute_reward(*places, info)) == ()
        rows.append((*places, reward, terminated))
    achieved, desired, rewards, ends = map(np.array, zip(*rows, strict=True))
    assert rewards.any()
    infos: list[Any] = [{}] * len(rows)
    np.testing.assert_array_equal(env.compute_reward(achieved, desired, infos), rewards)
    np.testing.assert_array_equal(env.compute_terminated(achieved, desired, infos), ends)
    assert env.compute_reward(achieved, desired[0], infos).shape == rewards.shape
    assert env.compute_reward(achieved[None], desired[None], None).shape == (1, len(rows))
    assert env.compute_reward(achieved[:0], desired[:0], []).shape == (0,)
    assert env.compute_reward(achieved, desired, infos).dtype == float
    assert env.compute_terminated(achieved, desired, infos).dtype == bool
    assert not env.compute_truncated(achieved, desired, infos).any()


@pytest.mark.parametrize("maze", [*ROOMS, "ogbench-medium"], ids=label)
@given(angle=st.floats(0.0, 6.3), ulps=st.integers(-4, 4), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_recomputed_rewards_equal_the_step_at_the_radius_itself(
    maze: str | Maze, angle: float, ulps: int, seed: int
) -> None:
    env = made_once(maze)
    start = env.maze.cell_to_xy(env.maze.free_cells[4])
    env.reset(seed=seed, options={"start": start})
    after = env.step(np.zeros(2, np.float32))[0]["achieved_goal"]
    off = env.goal_radius * np.array([np.cos(angle), np.sin(angle)])
    goal = after + off * (1.0 + ulps * 2.0**-53)
    env.reset(seed=seed, options={"start": start, "goal": goal})
    observation, reward, *_ = env.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(observation["achieved_goal"], after)
    assert env.compute_reward(after, goal, {}) == reward
    np.testing.assert_array_equal(env.compute_reward([after] * 3, [goal] * 3, {}), [reward] * 3)


def test_bad_goals_are_refused() -> None:
    for maze in ONE_EACH:
        env = make(maze)
        good = np.ones((3, 2))
        for achieved, desired in (
            (good, np.ones((2, 2))),
            (good, np.ones((3, 4))),
            (1.0, 1.0),
            (good * np.nan, good),
            ("here", good),
            (None, good),
        ):
            with pytest.raises(ObservationError, match="broadcast"):
                env.compute_reward(achieved, desired, {})


@pytest.mark.parametrize("maze", ["maze2d-umaze", "ogbench-medium"])
def test_hindsight_replay_learns_from_every_suite(maze: str) -> None:
    env = make(maze, max_steps=20)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*box observation space.*")
        check_for_sb3(env, warn=False)
    model = SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=50,
        batch_size=32,
        policy_kwargs={"net_arch": [8]},
        device="cpu",
        seed=0,
    )
    model.learn(60)
    assert model.replay_buffer is not None
    sample: Any = model.replay_buffer.sample(64)
    expected = env.compute_reward(
        sample.next_observations["achieved_goal"], sample.observations["desired_goal"], [{}] * 64
    )
    np.testing.assert_array_equal(sample.rewards[:, 0], expected)
    assert expected.any(), "some replayed goals must be reached"


@pytest.mark.parametrize("maze", ONE_EACH)
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint32, np.uint64])
def test_seeds_and_pairs_may_be_numpy_integers(maze: str, kind: Any) -> None:
    env, other = make(maze), make(maze)
    np.testing.assert_equal(env.reset(seed=kind(3)), other.reset(seed=3))
    np.testing.assert_array_equal(env.action_space.sample(), other.action_space.sample())
    assert env.np_random_seed == other.np_random_seed
    if env.start_goal_pairs:
        np.testing.assert_equal(
            env.reset(seed=3, options={"start_goal_pair": kind(2)}),
            other.reset(seed=3, options={"start_goal_pair": 2}),
        )
    if "2d" in maze:
        np.testing.assert_equal(env.unwrapped.reset(seed=kind(3)), other.unwrapped.reset(seed=3))


@pytest.mark.parametrize("maze", ONE_EACH)
def test_wrong_seeds_and_options_are_refused(maze: str) -> None:
    env = make(maze)
    for each in (env, env.unwrapped) if "2d" in maze else (env,):
        each.reset(seed=0)
        for seed in (-1, np.int64(-1), 1.0, np.float32(2), "3", [1], float("nan")):
            with pytest.raises(ConfigError, match="seed"):
                each.reset(seed=seed)  # type: ignore[arg-type]
        for options in ([], 3, "start", [("start", [1, 1])], {3: 1}):
            with pytest.raises(ConfigError, match="option"):
                each.reset(options=options)  # type: ignore[arg-type]
        each.reset(seed=2**200)
        each.reset(seed=np.uint64(2**64 - 1), options={})  # type: ignore[arg-type]


@pytest.mark.parametrize("maze", ONE_EACH)
def test_starts_and_goals_may_be_any_container_of_numbers(maze: str) -> None:
    env = make(maze)
    place = np.round(env.maze.cell_to_xy(env.maze.free_cells[0]) * 2) / 2  # exact in float32
    expected = env.reset(seed=0, options={"start": place, "goal": place})[0]
    frozen = place.copy()
    frozen.setflags(write=False)
    for place_as in (list(place), tuple(place), np.float32(place), torch.tensor(place), frozen):
        seen = env.reset(seed=0, options={"start": place_as, "goal": place_as})[0]
        np.testing.assert_equal(seen, expected)


@pytest.mark.parametrize("maze", ONE_EACH)
@given(value=st.lists(st.floats(-3, 3, width=16), min_size=2, max_size=2))
@settings(max_examples=15, deadline=None)
def test_an_action_may_be_any_container_of_numbers(maze: str, value: list[float]) -> None:
    env = made_once(maze)
    env.reset(seed=0)
    expected = env.step(np.array(value))
    frozen = np.array(value)
    frozen.setflags(write=False)
    kinds: tuple[Callable[[Any], Any], ...] = (
        list,
        tuple,
        lambda numbers: torch.tensor(numbers, dtype=torch.float64),
        lambda numbers: torch.tensor(numbers, dtype=torch.float64, requires_grad=True),
        lambda numbers: np.array(numbers)[::-1][::-1],
        lambda numbers: np.array(numbers, ">f8"),
        lambda numbers: [Fraction(number) for number in numbers],
        lambda _: frozen,
    )
    for kind in kinds:
        env.reset(seed=0)
        np.testing.assert_equal(env.step(kind(value)), expected)
    env.reset(seed=0)
    wrong: Any
    for wrong in (
        value[:1],
        [*value, 0.0],
        [value],
        [np.nan, 0.0],
        [np.inf, 0.0],
        [10**400, 0],
        "ab",
        {},
        None,
        np.ma.array(value, mask=[True, False]),
        np.array(value, complex),
        [str(number) for number in value],
    ):
        with pytest.raises(ObservationError, match="action"):
            env.step(wrong)
    np.testing.assert_equal(env.step(np.array(value)), expected)


@pytest.mark.parametrize("maze", [*ONE_EACH, *CUSTOM[:2]], ids=label)
def test_returned_arrays_are_independent_of_the_environment(maze: Any) -> None:
    env, other = make(maze), make(maze)
    results: list[Any] = [env.reset(seed=0)]
    other.reset(seed=0)
    kept = copy.deepcopy(results)
    for action in forces(1, 40):
        results.append(env.step(action))
        kept.append(copy.deepcopy(results[-1]))
        np.testing.assert_equal(other.step(action), results[-1])
    np.testing.assert_equal(results, kept)
    for *_, info in results:
        for array in info.values():
            if isinstance(array, np.ndarray):
                array[...] = 77.0
    for observation, *_ in results:
        for array in observation.values():
            array[...] = 77.0
    np.testing.assert_equal(env.step(np.ones(2)), other.step(np.ones(2)))
    np.testing.assert_equal(env.reset(), other.reset())


@pytest.mark.parametrize("maze", [*ONE_EACH, *CUSTOM[:2]], ids=label)
def test_an_environment_continues_after_its_end_and_closes_twice(maze: Any) -> None:
    env = make(maze, max_steps=2, render_mode="rgb_array")
    goal = env.maze.cell_to_xy(env.maze.free_cells[0])
    env.reset(seed=0, options={"start": goal, "goal": goal})
    for _ in range(5):
        observation, _, terminated, truncated, _ = env.step(np.zeros(2))
        assert observation in env.observation_space
    assert truncated and terminated == env.terminates
    env.close()
    env.close()
    picture = env.render()
    assert picture is not None and picture.dtype == np.uint8
    env.close()


def test_vector_environments_raise_the_same_errors() -> None:
    envs = gymnasium.vector.SyncVectorEnv([partial(make, "pointmaze-umaze")] * 2)
    with pytest.raises(DfplanError):
        envs.reset(options={"strat": [0, 0]})
    envs.reset(seed=0)
    assert envs.call("compute_reward", np.zeros((5, 2)), np.zeros((5, 2)), None)[0].shape == (5,)
