"""``dfplan plan``, ``dfplan video`` and ``dfplan evaluate``."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveInt

from dfplan.cli.arguments import Observation, Position, suite_or_maze
from dfplan.cli.rewards import parse_reward
from dfplan.envs.make import make
from dfplan.errors import ConfigError, MazeError, MissingSimulatorError
from dfplan.evaluation.episodes import run_episodes
from dfplan.evaluation.stock import stock_task, summarize
from dfplan.mazes import parse_maze
from dfplan.planning.diffuser import DiffuserPlanner
from dfplan.planning.episode import follow_plan, run_episode
from dfplan.planning.learned import LearnedPolicy
from dfplan.planning.policy import Policy
from dfplan.planning.settings import MUCH_NOISE, PlannerSettings
from dfplan.planning.simulation import simulate
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.success import Calibration, SuccessTest, success_probability, tracking_regions
from dfplan.planning.timing import arrival_times
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.plotting.figures import require_picture_path
from dfplan.plotting.frames import denoising_frames, episode_frames, tree_frames
from dfplan.plotting.videos import check_video_path, write_video
from dfplan.pretrained import load
from dfplan.sampling.matrices import SamplingSchedule
from dfplan.types import Plan

_ON_ITS_WAY = PlannerSettings(sampling=SamplingSchedule("pyramid"), route_noise=MUCH_NOISE)
"""The near future is denoised first, from the expected way with much noise. So a picture shows a
plan on its way."""


def plan(
    checkpoint: str,
    start: Observation,
    goal: Position,
    reward: str | None = None,
    out: Path = Path("plan.png"),
    planner: PlannerSettings = _ON_ITS_WAY,
    horizon: int | None = None,
    seed: int = 0,
    tracking: bool = False,
    width: float = 11.9,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Plan once, follow the plan, and draw both.

    The picture shows the plan on its way, half of it denoised, and how far it would move if it were
    made again. A body follows it in the environment, or in a simulation without a simulator. A
    simulated body and the calibration of the checkpoint say how likely it reaches the goal.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
        start: position in the coordinates of the data, as 1,1, or the whole observation, which a
            model of more than positions needs.
        goal: position, as 7,9.
        reward: what to maximize, as "100 * KeepOut([Disc([3, 3], 1)]) + Fast([5, 5])".
        out: picture to write: PNG, SVG or PDF.
        planner: settings of a Diffusion Forcing planner; by default the near future is denoised
            first, from the expected way with much noise. A planner of the near future has its own.
        horizon: environment steps; default: the planner chooses.
        seed: seed of the noise.
        tracking: whether to draw the tracking spread, too.
        width: of the picture in inches; 3.3 for a column of a paper.
        theme: colors, light or dark.
    """
    loaded = load(checkpoint)
    require_picture_path(out)
    if isinstance(loaded, LearnedPolicy):
        raise ConfigError(f"{checkpoint} is a policy. It makes no plans; use dfplan evaluate.")
    if isinstance(loaded, ForcingPlanner):
        if planner != _ON_ITS_WAY or loaded.settings.ahead is None:
            loaded = replace(loaded, settings=planner)
    elif planner != _ON_ITS_WAY:
        raise ConfigError(f"{checkpoint} is not a Diffusion Forcing planner. Leave out --planner.")
    terms = None if reward is None else parse_reward(reward)
    if terms is not None and isinstance(loaded, ForcingPlanner):
        maze = None if loaded.maze is None else parse_maze(loaded.maze)
        loaded = loaded.for_rewards(1.0 if maze is None else maze.suite.cell_size)

    trace = isinstance(loaded, ForcingPlanner)
    made = loaded.plan(
        np.array(start), np.array(goal), reward=terms, horizon=horizon, seed=seed, trace=trace
    )
    path, taken = _followed(loaded, made)
    radii, success = _simulated(loaded, made) if isinstance(loaded, ForcingPlanner) else (None, "")
    needed = ""
    if made.times is not None and made.goal is not None:
        radius = 0.0 if loaded.maze is None else parse_maze(loaded.maze).suite.goal_radius
        arrival = arrival_times(made.points, made.times, made.goal, radius)
        needed = f", the body needs {arrival[0]:.0f}"
    cost = f"{1e3 * made.seconds:.0f} ms, {made.evaluations} evaluations"
    chance = "" if made.arrival is None else f", arrival {made.arrival[0]:.0%}"
    print(f"horizon {made.steps[0]} steps{needed}, {taken}; {cost}{chance}{success}")
    shown = radii if tracking else None
    print(made.plot(out, executed=path, width=width, theme=theme, tracking=shown))


def _followed(
    planner: ForcingPlanner | DiffuserPlanner, plan: Plan
) -> tuple[np.ndarray | None, str]:
    """The path of a body that follows a plan, and how many steps it took, as text."""
    longest = _longest_episode(plan)
    try:
        tracker = planner.tracker()
    except ConfigError:  # the actions of the data do not move a body
        return None, "not followed"
    try:
        world = make(planner.maze or "")
    except (MissingSimulatorError, ConfigError, MazeError):
        statistics = (
            planner.model.statistics if isinstance(planner, ForcingPlanner) else planner.statistics
        )
        try:
            episode = simulate(plan, statistics, tracker, steps=longest, episodes=1, seed=0)
        except ConfigError:  # it is not simulated
            return None, "not followed"
        return episode.positions[0, 0], "followed in a simulation"
    start = plan.observation[0] if world.suite.has_velocity else plan.points[0, 0]
    path = follow_plan(world, plan, start, tracker, longest)
    world.close()
    return path, f"{len(path) - 1} taken"


def _simulated(planner: ForcingPlanner, plan: Plan) -> tuple[np.ndarray | None, str]:
    """The tracking spread [P] of a plan, and its probability of success, as text.

    There is no probability unless simulated episodes were compared with real ones. A body with a
    low-level policy is not simulated.
    """
    statistics, steps = planner.model.statistics, _longest_episode(plan)
    try:
        episodes = simulate(plan, statistics, planner.tracker(), steps=steps, episodes=1, seed=0)
    except ConfigError:  # the actions of the data do not move a body, or it is not simulated
        return None, ""
    radii = tracking_regions(plan, episodes, planner.calibration)[0]
    measured = planner.calibration != Calibration()
    if planner.maze is None or plan.goal is None or not measured:
        return radii, ""
    test = SuccessTest(parse_maze(planner.maze).suite.goal_radius, steps)
    return radii, f", success {success_probability(planner, plan, test, seed=0)[0]:.0%}"


def _longest_episode(plan: Plan) -> int:
    """Steps in which a body that can follow the plan arrives."""
    return 2 * int(plan.steps[0]) + 100


def video_denoising(
    checkpoint: str,
    start: Observation,
    goal: Position,
    out: Path = Path("denoising.gif"),
    planner: PlannerSettings = PlannerSettings(
        sampling=SamplingSchedule("pyramid"), route_noise=math.inf
    ),
    seed: int = 0,
    width: int = 960,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Make a video of a plan while it is denoised from pure noise, the near future first.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
        start: position in the coordinates of the data, as 1,1, or the whole observation, which a
            model of more than positions needs.
        goal: position, as 7,9.
        out: video to write, GIF or MP4 by its ending. MP4 needs dfplan[video].
        planner: settings of the planner.
        seed: seed of the noise.
        width: width of a frame in pixels.
        theme: colors, light or dark.
    """
    check_video_path(out)
    loaded = replace(_forcing(checkpoint), settings=planner)
    made = loaded.plan(np.array(start), np.array(goal), seed=seed, trace=True)
    print(write_video(out, denoising_frames(made, width=width, theme=theme)))


def video_tree(
    checkpoint: str,
    start: Observation,
    goal: Position,
    out: Path = Path("tree.gif"),
    search: TreeSettings = TreeSettings(),
    seed: int = 0,
    width: int = 960,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Make a video of a tree search, with segments from pure noise.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
        start: position in the coordinates of the data, as 1,1, or the whole observation, which a
            model of more than positions needs.
        goal: position, as 7,9.
        out: video to write, GIF or MP4 by its ending. MP4 needs dfplan[video].
        search: settings of the search.
        seed: seed of the noise.
        width: width of a frame in pixels.
        theme: colors, light or dark.
    """
    check_video_path(out)
    # Segments from pure noise branch; those from the expected way stay close to it.
    searcher = TreePlanner(_forcing(checkpoint).with_settings(route_noise=math.inf), search)
    made = searcher.plan(np.array(start), np.array(goal), seed=seed, trace=True)
    print(write_video(out, tree_frames(made, width=width, theme=theme)))


def video_episode(
    checkpoint: str,
    env: str | None = None,
    out: Path = Path("episode.gif"),
    # From pure noise the horizons differ much, and a plan with a short one would be clean when
    # sampling stops. With this noise every plan stays noisy in its far future.
    planner: PlannerSettings = PlannerSettings(
        sampling=SamplingSchedule("pyramid", stop_fraction=0.4), route_noise=MUCH_NOISE
    ),
    replan_every: PositiveInt = 40,
    seed: int = 0,
    width: int = 960,
    theme: Literal["light", "dark"] = "light",
) -> None:
    """Make a video of an episode with replanning.

    By default the plans stay noisy in the far future. At the end the whole path is shown.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
        env: a name such as maze2d-large or ogbench-giant, or a text file of # and O;
            default: the maze of the checkpoint's data.
        out: video to write, GIF or MP4 by its ending. MP4 needs dfplan[video].
        planner: settings of the planner.
        replan_every: environment steps between two plans.
        seed: seed of the episode and of the noise.
        width: width of a frame in pixels.
        theme: colors, light or dark.
    """
    check_video_path(out)
    loaded = replace(_forcing(checkpoint), settings=planner)
    if env is None and loaded.maze is None:
        raise ConfigError(f"{checkpoint} names no maze. Give an environment with --env.")
    world = make(loaded.maze or "" if env is None else suite_or_maze(env))
    # Regions are measured of plans without a warm start.
    policy = Policy(loaded, replan_every=replan_every, warm_start=False)
    played = run_episode(world, policy, seed=seed)
    world.close()
    print(write_video(out, episode_frames(played, width=width, theme=theme)))


def _forcing(checkpoint: str) -> ForcingPlanner:
    """Load a Diffusion Forcing planner."""
    loaded = load(checkpoint)
    if not isinstance(loaded, ForcingPlanner):
        raise ConfigError(f"{checkpoint} is not a Diffusion Forcing planner, as this video needs.")
    return loaded


def evaluate(
    checkpoint: str,
    env: str | None = None,
    episodes: PositiveInt = 50,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Run episodes with a planner or policy and print the scores.

    OGBench: episodes of each of its five start-goal pairs. Others: random starts and goals.

    Args:
        checkpoint: name of a shipped checkpoint, a file, or the folder of a training.
        env: a name such as maze2d-large or ogbench-giant, or a text file of # and O;
            default: the maze of the checkpoint's data.
        episodes: number of episodes; for OGBench, of each start-goal pair.
        seed: seed of the episodes and of the planner.
        out: picture of the first episode to write, for planners; for OGBench one for each
            start-goal pair (-2, -3 and so on).
    """
    if out is not None:
        require_picture_path(out)
    loaded = load(checkpoint)
    planner = None if isinstance(loaded, LearnedPolicy) else loaded
    if out is not None and planner is None:
        raise ConfigError(f"{checkpoint} is a policy and makes no plans to draw. Leave out --out.")
    environment = None if env is None else suite_or_maze(env)
    task, problems = stock_task(loaded.maze, environment, episodes, seed)
    actor = loaded if isinstance(loaded, LearnedPolicy) else Policy(loaded)
    batch = run_episodes(actor, task, problems, seed=seed)
    print(summarize(batch))
    if out is None or planner is None:
        return
    for number in range(len(problems) // episodes):  # the pairs take turns
        plan = planner.plan(problems.starts[number], problems.goals[number], seed=seed)
        name = out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}")
        print(plan.plot(name, executed=batch.positions[number, : batch.steps[number] + 1]))
