"""How a plan is denoised: rows of its scheduling matrix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from dfplan.errors import ConfigError
from dfplan.plotting import marks
from dfplan.plotting.drawn_plan import DrawnPlan, prepare_axes, spaced_indices, visible_trace
from dfplan.plotting.maze import current_axes, to_picture
from dfplan.plotting.plans import draw_noisy_tokens, level_norm, mark_size
from dfplan.plotting.records import PlanLike
from dfplan.plotting.style import Theme, named_theme


def plot_denoising(
    plan: PlanLike,
    axes: Sequence[Axes] | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Sequence[Axes]:
    """Draw the denoising of a plan: evenly spaced rows of its scheduling matrix, one per axes.

    The plan is made with ``trace=True``. ``axes`` is an array or a sequence; axes without a row
    stay empty. Default: new axes of pyplot, at most six.

    Raises:
        DataError: the plan has no trace, or an array has a wrong shape or is not finite.
    """
    rows = visible_trace(plan, index)
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(1, min(6, len(rows)), squeeze=False)[1][0]
    flat = list(np.ravel(np.asarray(axes, dtype=object)))
    for ax, row in zip_longest(flat, spaced_indices(len(rows), len(flat))):
        if row is None:
            ax.set_axis_off()
        else:
            plot_denoising_step(plan, row, ax, index=index, norm=norm, width=width, theme=theme)
    return axes


def plot_denoising_step(
    plan: PlanLike,
    row: int,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    width: float | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the tokens after one row of the scheduling matrix, as :func:`plot_plan` does.

    Rows are counted from 0, negative ones from the last. The plan is made with ``trace=True``.
    ``norm`` is the color scale; the last collection of the axes has it.

    Raises:
        ConfigError: unknown row, index or theme.
        DataError: the plan has no trace, or an array has a wrong shape or is not finite.
    """
    rows = visible_trace(plan, index)
    if not -len(rows) <= row < len(rows):
        raise ConfigError(f"This plan was denoised in {len(rows)} rows; got row {row}.")
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    level, points = rows[row]
    scale = ScalarMappable(norm or level_norm(plan.max_level), colors.uncertainty)
    draw_denoising_step(
        ax, drawn, to_picture(drawn.maze, points), level, scale, mark_size(ax, width), colors
    )
    return ax


def draw_denoising_step(
    ax: Axes,
    drawn: DrawnPlan,
    points: np.ndarray,
    level: np.ndarray,
    scale: ScalarMappable,
    size: float,
    theme: Theme,
) -> None:
    """Draw tokens at points [P, 2] of the picture with noise ``level`` [P], start and goal."""
    marks.draw_ends(ax, points[0], drawn.goal, size, drawn.suite, theme)
    draw_noisy_tokens(ax, drawn, points, level, scale, size, theme)


def plot_levels(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    norm: Normalize | None = None,
    theme: str = "light",
) -> Axes:
    """Draw the scheduling matrix: the noise level of each point after each row.

    Points go from left to right, from the present to the future. Rows go from top to bottom, in the
    order of denoising. Both are counted from 0. The plan is made with ``trace=True``.

    Raises:
        DataError: the plan has no trace, or an array has a wrong shape or is not finite.
    """
    colors = named_theme(theme)
    levels = np.stack([level for level, _ in visible_trace(plan, index)])
    ax = current_axes(ax)
    rows, count = levels.shape
    image = ax.imshow(levels, extent=(-0.5, count - 0.5, rows - 0.5, -0.5), aspect="auto")
    image.set(cmap=colors.uncertainty, norm=norm or level_norm(plan.max_level))
    image.set_interpolation("nearest")
    ax.set_facecolor(colors.floor)
    ax.set_xlabel("point of the plan", color=colors.muted)
    ax.set_ylabel("row of the matrix", color=colors.muted)
    ax.tick_params(length=0, labelcolor=colors.ink)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
    for side in ax.spines.values():
        side.set_visible(False)
    return ax
