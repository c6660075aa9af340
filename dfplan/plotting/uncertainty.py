"""How much the candidates of a plan differ."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from dfplan.errors import DataError, require_numbers
from dfplan.plotting import marks
from dfplan.plotting.drawn_plan import prepare_axes
from dfplan.plotting.records import PlanLike
from dfplan.plotting.style import Theme

_MIN_SPREAD_SCALE = 0.05
"""Smallest end of the color scale of spread, so that rounding errors are not magnified."""


def plot_spread(
    plan: PlanLike, ax: Axes | None = None, *, index: int = 0, theme: str = "light"
) -> Axes:
    """Draw a tube around the plan; its radius is the spread of the candidates.

    The spread at a point is the root mean square distance from it to the candidates' lines. It
    depends on where the candidates pass, not on when.

    Args:
        plan: batch of plans.
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index or theme.
        DataError: an array has a wrong shape or is not finite.
    """
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    scale = spread_colors(drawn.spread, colors)
    marks.draw_spread(ax, drawn.points, drawn.spread, scale, drawn.suite, colors)
    return ax


def plot_ellipses(
    plan: PlanLike,
    ax: Axes | None = None,
    *,
    index: int = 0,
    every: int = 4,
    theme: str = "light",
) -> Axes:
    """Draw the candidates' positions at some times as ellipses.

    The ellipses show one and two standard deviations of the normal distribution that has the mean
    and covariance of the candidates. If the candidates split into two groups, an ellipse cannot
    show it; see :func:`dfplan.plotting.plot_candidates`.

    Args:
        plan: batch of plans with at least two candidates.
        ax: axes to draw on; default: pyplot's current axes.
        index: which plan of the batch.
        every: number of points from one ellipse to the next.
        theme: ``light`` or ``dark``.

    Raises:
        ConfigError: unknown index or theme, or ``every`` is below 1.
        DataError: fewer than two candidates, or an array has a wrong shape or is not finite.
    """
    require_numbers({"every": every}, integer=True, minimum=1)
    drawn, ax, colors = prepare_axes(plan, index, ax, theme)
    if len(drawn.candidates) < 2:
        raise DataError(
            f"Ellipses need at least two candidates; this plan has {len(drawn.candidates)}. Plan "
            "with PlannerSettings(candidates=16)."
        )
    times = np.arange(every, drawn.candidates.shape[1], every)
    positions = drawn.candidates[:, times]
    means, deviations = positions.mean(0), positions - positions.mean(0)
    covariances = np.einsum("cpi,cpj->pij", deviations, deviations) / (len(positions) - 1)
    widths = np.sqrt(np.trace(covariances, axis1=1, axis2=2)) * drawn.suite.cell_size
    marks.draw_ellipses(ax, means, covariances, spread_colors(widths, colors).to_rgba(widths))
    return ax


def spread_ticks(spread: np.ndarray) -> np.ndarray:
    """Round numbers from 0 to at least the maximum of ``spread`` [P]; also the scale's ends."""
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    return np.asarray(locator.tick_values(0, max(float(spread.max()), _MIN_SPREAD_SCALE)))


def spread_colors(spread: np.ndarray, theme: Theme) -> ScalarMappable:
    """Color scale for spread [P]."""
    return ScalarMappable(Normalize(0, spread_ticks(spread)[-1]), theme.spread)
