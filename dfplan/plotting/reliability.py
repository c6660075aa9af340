"""How often what was predicted with a probability happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfplan.errors import DataError
from dfplan.plotting.drawn_plan import check_array
from dfplan.plotting.maze import current_axes
from dfplan.plotting.output import PaperFigure
from dfplan.plotting.settings import default_settings
from dfplan.plotting.style import named_theme
from dfplan.record import Record

_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Predictions between two probabilities.

    Attributes:
        predicted: mean predicted probability.
        observed: share that happened.
        count: number of predictions.
    """

    predicted: float
    observed: float
    count: int


def reliability_bins(predicted: np.ndarray, happened: np.ndarray) -> list[ReliabilityBin]:
    """Predictions in ten bins of equal width; empty bins are left out.

    Args:
        predicted: probabilities, [N].
        happened: whether it happened, bool [N].

    Raises:
        DataError: the shapes differ, or a probability is not between 0 and 1.
    """
    predicted = check_array("probabilities", predicted, (len(happened),))
    if not len(predicted) or predicted.min() < 0 or predicted.max() > 1:
        raise DataError(
            "Expected at least one probability, all between 0 and 1; got "
            f"{len(predicted)} numbers"
            + (f" from {predicted.min():g} to {predicted.max():g}." if len(predicted) else ".")
        )
    place = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    return [
        ReliabilityBin(
            float(predicted[place == bin].mean()),
            float(np.mean(happened[place == bin])),
            int((place == bin).sum()),
        )
        for bin in np.unique(place)
    ]


def plot_reliability(
    predicted: np.ndarray,
    happened: np.ndarray,
    ax: Axes | None = None,
    *,
    theme: str = "light",
) -> Axes:
    """Draw a reliability diagram: observed against predicted probability, with 95% intervals.

    The interval of a bin is Wilson's. Predictions are calibrated if the points are on the diagonal.

    Args:
        predicted: probabilities, [N].
        happened: whether it happened, bool [N].
        ax: axes to draw on.
        theme: ``light`` or ``dark``.

    Raises:
        DataError: see :func:`reliability_bins`.
    """
    colors, ax, bins = named_theme(theme), current_axes(ax), reliability_bins(predicted, happened)
    x, y, count = np.array([(each.predicted, each.observed, each.count) for each in bins]).T
    z = 1.96
    middle = (y + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(y * (1 - y) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    ax.plot([0, 1], [0, 1], color=colors.muted, lw=0.8, ls=(0, (4, 2)), label="calibrated")
    low, high = np.maximum(y - (middle - half), 0), np.maximum(middle + half - y, 0)
    blue = colors.uncertainty(0.0)
    ax.errorbar(x, y, [low, high], fmt="o", ms=4, color=blue, lw=1, label="observed, 95%")
    for each in bins:
        ax.annotate(
            f"{each.count}",
            (each.predicted, each.observed),
            xytext=(5, -9),
            textcoords="offset points",
            color=colors.muted,
            fontsize=7,
        )
    # Room for the counts to the right of the points, and below them.
    ax.set(xlim=(-0.02, 1.12), ylim=(-0.08, 1.06), aspect="equal")
    ax.set_facecolor(colors.floor)
    ax.set_xlabel("predicted probability", color=colors.ink, fontsize=8)
    ax.set_ylabel("share that happened", color=colors.ink, fontsize=8)
    ax.tick_params(colors=colors.ink, labelsize=7)
    return ax


@default_settings()
def reliability_figure(predicted: np.ndarray, happened: np.ndarray, *, title: str) -> Figure:
    """A figure of 3.3 inches with a reliability diagram; see :func:`plot_reliability`."""
    figure = PaperFigure(figsize=(3.3, 3.3), layout="constrained")
    ax = plot_reliability(predicted, happened, figure.add_subplot())
    ax.set_title(title, fontsize=8)
    ax.legend(fontsize=7, frameon=False, loc="upper left")
    return figure
