"""Make all pictures and videos of the documentation, on a light or dark background.

The functions of ``dfplan.plotting`` draw on any axes, so they can be combined in one picture.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jsonargparse import auto_cli
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import dfplan
from dfplan import plotting
from dfplan.collect import generate
from dfplan.data import load_data
from dfplan.planning.rewards import Disc, KeepOut
from dfplan.planning.settings import MUCH_NOISE
from dfplan.plotting.figures import save
from dfplan.plotting.frames import denoising_frames, episode_frames, tree_frames
from dfplan.plotting.style import THEMES
from dfplan.plotting.videos import write_video

START, GOAL = np.array([1.0, 1.0, 0.0, 0.0]), np.array([7.0, 10.0])
MATRICES = ("full_sequence", "pyramid", "trapezoid", "autoregressive")


def main(
    out: Path = Path("runs/gallery"),
    theme: Literal["light", "dark"] = "light",
    videos: bool = True,
) -> None:
    """Make them.

    Args:
        out: output folder.
        theme: light or dark.
        videos: whether to make the videos too, which takes a minute.
    """
    planner = dfplan.load("maze2d-large").with_settings(route_noise=math.inf)
    pyramid = planner.with_settings(matrix="pyramid")
    denoised = pyramid.plan(START, GOAL, seed=3, trace=True)
    tree = dfplan.TreePlanner(planner).plan(START, GOAL, seed=0, trace=True)
    # Sampling stops early, so the far future of each plan stays noisy.
    early = pyramid.with_settings(stop_fraction=0.4, route_noise=MUCH_NOISE)
    # Only plans without a warm start have prediction regions.
    policy = dfplan.Policy(early, replan_every=40, warm_start=False)
    episode = dfplan.run_episode(dfplan.make("multi2d-large"), policy, seed=14)

    print(denoised.plot_denoising(out / "denoising.png", theme=theme))
    print(save(draw_uncertainty(planner, theme), out / "uncertainty.png"))
    print(save(draw_reward_gradients(planner, theme), out / "reward_gradient.png"))
    print(save(draw_levels(planner, theme), out / "levels.png"))
    stitched = dfplan.load("ogbench-giant-stitch").plan([0.0, 0.0], [52.0, 36.0], seed=0)
    print(stitched.plot(out / "long_plan.png", theme=theme))
    daring = dfplan.load("ogbench-teleport").with_settings(risk_aversion=0.0)
    print(daring.plan([0.0, 24.0], [36.0, 0.0], seed=0).plot(out / "futures.png", theme=theme))
    data = generate("large", 60_000, seed=0, path=out / "data.hdf5", progress=False)
    print(save(draw_data(data, theme), out / "data.png"))
    print(save(draw_trees(tree, theme), out / "tree.png"))
    if videos:
        print(write_video(out / "denoising.gif", denoising_frames(denoised, theme=theme)))
        print(write_video(out / "tree.gif", tree_frames(tree, theme=theme)))
        print(write_video(out / "episode.gif", episode_frames(episode, theme=theme)))


def draw_uncertainty(planner: dfplan.ForcingPlanner, theme: str) -> Figure:
    plan = planner.with_settings(refine_steps=0).plan(START, GOAL, seed=3)
    figure, axes = panels(theme, "Candidates", "Plan spread", "Ellipses over time")
    plotting.plot_candidates(plan, axes[0], theme=theme)
    explain(axes[0], "rank of the score, 0 is the best", theme)
    plotting.plot_spread(plan, axes[1], theme=theme)
    plotting.plot_plan(plan, axes[1], color="spread", candidates=False, theme=theme)
    explain(axes[1], "plan spread, in units of position", theme)
    plotting.plot_ellipses(plan, axes[2], theme=theme)
    explain(axes[2], "standard deviation, in units of position", theme)
    return figure


def draw_reward_gradients(planner: dfplan.ForcingPlanner, theme: str) -> Figure:
    no_guidance = replace(planner.settings.guidance, scale=0.0)
    plan = planner.with_settings(guidance=no_guidance, refine_steps=0).plan(START, GOAL, seed=3)
    disc = Disc((3.5, 4.8), 0.7)
    gradient, with_disc = (
        dfplan.reward_gradient(plan.candidates[0], planner.model, planner.settings, reward)
        for reward in (None, 10 * KeepOut([disc]))
    )
    figure, axes = panels(theme, "Gradient of the reward", "Gradient of a disc to keep out of")
    plotting.plot_regions([disc], axes[1], maze="large", theme=theme)
    for ax, arrows in zip(axes, (gradient, with_disc - gradient), strict=True):
        plotting.plot_plan(plan, ax, theme=theme)
        plotting.plot_reward_gradient(plan, arrows, ax, theme=theme)
        explain(ax, "gradient, in reward per unit of position", theme)
    return figure


def draw_levels(planner: dfplan.ForcingPlanner, theme: str) -> Figure:
    figure, axes = panels(theme, *(name.replace("_", " ") for name in MATRICES))
    for ax, name in zip(axes, MATRICES, strict=True):
        plan = planner.with_settings(matrix=name).plan(START, GOAL, seed=3, trace=True)
        plotting.plot_levels(plan, ax, theme=theme)
        explain(ax, "noise level", theme)
    return figure


def draw_trees(tree: dfplan.Plan, theme: str) -> Figure:
    stitch = dfplan.load("ogbench-giant-stitch").with_settings(route_noise=math.inf)
    search = dfplan.TreePlanner(stitch, dfplan.TreeSettings(evaluations=768))
    longer = search.plan([0.0, 0.0], [52.0, 36.0], seed=3, trace=True)
    figure, axes = panels(theme, "Segments in large", "Segments in giant, longer than a window")
    for ax, plan in zip(axes, (tree, longer), strict=True):
        plotting.plot_tree(plan, ax, theme=theme)
        explain(ax, "rank of the score, 0 is the best", theme)
    return figure


def draw_data(data: Path, theme: str) -> Figure:
    figure, (ax,) = panels(theme, "Positions in the data")
    plotting.plot_coverage(load_data(data).observations, ax, maze="large", theme=theme)
    explain(ax, "rows per square", theme)
    return figure


def explain(ax: Axes, label: str, theme: str) -> None:
    """Add the color bar of what was drawn last, and a legend of the marks."""
    look, drawn = THEMES[theme], [*ax.images, *ax.collections][-1]
    figure: Any = ax.get_figure()
    bar = figure.colorbar(drawn, ax=ax, orientation="horizontal", pad=0.02, aspect=40)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=look.ink, labelsize=8, length=2)
    bar.set_label(label, color=look.muted, fontsize=8)
    if ax.get_legend_handles_labels()[0]:
        place: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": 3}
        ax.legend(**place, fontsize=7, frameon=False, labelcolor=look.ink, columnspacing=1.0)


def panels(theme: str, *titles: str) -> tuple[Figure, list[Axes]]:
    look = THEMES[theme]
    figure = Figure(figsize=(4.6 * len(titles), 4.6), facecolor=look.background)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.12)
    axes = list(figure.subplots(1, len(titles), squeeze=False)[0])
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=look.ink)
    return figure, axes


if __name__ == "__main__":
    auto_cli(main)
