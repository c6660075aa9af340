"""Make every picture and film of the documentation, for one maze, on light or on dark.

Each is drawn by a function of ``dfplan.plotting`` on axes of one's own, so they go over one another
and into figures of one's own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import dfplan
from dfplan import plotting
from dfplan.collect import generate
from dfplan.data import load_data
from dfplan.planning.rewards import Disc, KeepOut
from dfplan.plotting.figures import save
from dfplan.plotting.frames import denoising_frames, episode_frames, tree_frames
from dfplan.plotting.style import THEMES
from dfplan.plotting.videos import write_video

START, GOAL = np.array([1.0, 1.0, 0.0, 0.0]), np.array([7.0, 10.0])
MATRICES = ("full_sequence", "pyramid", "trapezoid", "autoregressive")


def main(
    out: Path = Path("runs/gallery"),
    theme: Literal["light", "dark"] = "light",
    films: bool = True,
) -> None:
    """Make them.

    Args:
        out: folder to write them to.
        theme: light or dark.
        films: whether to make the films too, which takes a minute.
    """
    planner = dfplan.load("maze2d-large")
    pyramid = with_settings(planner, matrix="pyramid")
    fog = with_settings(planner, matrix="pyramid", rows=0.4)
    free = replace(planner.settings.guidance, scale=0.0)
    unguided = with_settings(planner, guidance=free, refine_steps=0)
    disc = Disc((3.5, 4.8), 0.7)
    raw = unguided.plan(START, GOAL, seed=3)
    sampled = with_settings(planner, refine_steps=0).plan(START, GOAL, seed=3)
    whole = pyramid.plan(START, GOAL, seed=3, trace=True)
    tree = dfplan.TreePlanner(planner).plan(START, GOAL, seed=0, trace=True)
    env = dfplan.make("multi2d-large")
    drive = dfplan.run_episode(env, dfplan.Policy(fog, replan_every=40), seed=8)

    print(drive.plot(out / "plan.png", theme=theme))
    print(whole.plot_denoising(out / "denoising.png", theme=theme))

    figure, axes = page(theme, 3, "Sampled futures", "Spread", "Ellipses over time")
    plotting.plot_candidates(sampled, axes[0], theme=theme)
    plotting.plot_spread(sampled, axes[1], theme=theme)
    plotting.plot_plan(sampled, axes[1], color="spread", theme=theme)
    plotting.plot_ellipses(sampled, axes[2], theme=theme)
    plotting.plot_plan(sampled, axes[2], candidates=False, theme=theme)
    print(save(figure, out / "uncertainty.png"))

    figure, axes = page(theme, 2, "Pull of the reward", "Pull of a disc to keep out of")
    pull = planner.reward_gradient(raw.candidates[0])
    away = planner.reward_gradient(raw.candidates[0], 10 * KeepOut([disc])) - pull
    plotting.plot_regions([disc], axes[1], maze="large", theme=theme)
    for ax, arrows in zip(axes, (pull, away), strict=True):
        plotting.plot_reward_gradient(raw, arrows, ax, theme=theme)
        plotting.plot_plan(raw, ax, theme=theme)
    print(save(figure, out / "pull.png"))

    figure, axes = page(theme, 2, "A tree of plans", "Where the data has been")
    plotting.plot_tree(tree, axes[0], theme=theme)
    data = load_data(generate("large", 60_000, seed=0, path=out / "data.hdf5", progress=False))
    plotting.plot_coverage(data.observations, axes[1], maze="large", theme=theme)
    print(save(figure, out / "tree.png"))

    figure, axes = page(theme, len(MATRICES), *(name.replace("_", " ") for name in MATRICES))
    for ax, name in zip(axes, MATRICES, strict=True):
        plan = with_settings(planner, matrix=name).plan(START, GOAL, seed=3, trace=True)
        plotting.plot_levels(plan, ax, theme=theme)
    print(save(figure, out / "levels.png"))

    if films:
        made = {
            "denoising": denoising_frames(whole, theme=theme),
            "tree": tree_frames(tree, theme=theme),
            "drive": episode_frames(drive, theme=theme),
        }
        for name, frames in made.items():
            print(write_video(out / f"{name}.gif", frames))


def with_settings(planner: dfplan.ForcingPlanner, **changes: object) -> dfplan.ForcingPlanner:
    return replace(planner, settings=replace(planner.settings, **changes))


def page(theme: str, panels: int, *titles: str) -> tuple[Figure, list[Axes]]:
    look = THEMES[theme]
    figure = Figure(figsize=(4 * panels, 3.15), facecolor=look.page)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    axes = list(figure.subplots(1, panels))
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=look.ink)
    return figure, axes


if __name__ == "__main__":
    auto_cli(main)
