"""Reliability diagrams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pictures import new_axes, texts

from dfplan.errors import DataError
from dfplan.plotting.reliability import plot_reliability, reliability_bins, reliability_figure

PREDICTED = np.array([0.05, 0.15, 0.15, 0.95, 1.0, 0.91, 0.98])
HAPPENED = np.array([False, True, False, True, True, False, True])


def test_bins_hold_means_and_shares() -> None:
    bins = reliability_bins(PREDICTED, HAPPENED)
    assert [each.count for each in bins] == [1, 2, 4]
    assert [each.observed for each in bins] == [0.0, 0.5, 0.75]
    assert [each.predicted for each in bins] == pytest.approx([0.05, 0.15, 0.96])


def test_calibrated_predictions_are_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(size=100_000)
    bins = reliability_bins(predicted, rng.uniform(size=100_000) < predicted)
    assert len(bins) == 10 and sum(each.count for each in bins) == 100_000
    for each in bins:
        assert each.observed == pytest.approx(each.predicted, abs=0.02)


@pytest.mark.parametrize("happened", [0, 3, 10])
def test_intervals_are_those_of_wilson(happened: int) -> None:
    count, z = 10, 1.96
    ax = plot_reliability(np.full(count, 0.5), np.arange(count) < happened, new_axes())
    (bar,) = ax.containers
    (points, _, (interval,)) = bar.lines
    assert points.get_xydata().tolist() == [[0.5, happened / count]]
    low, high = interval.get_segments()[0][:, 1]
    for end in (low, high):  # (p - q)^2 = z^2 q (1 - q) / n
        share = (happened / count - end) ** 2
        assert share == pytest.approx(z**2 * end * (1 - end) / count, abs=1e-9)
    assert -1e-9 < low <= happened / count <= high < 1 + 1e-9


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_diagram_has_a_diagonal_counts_and_a_legend(theme: str) -> None:
    ax = plot_reliability(PREDICTED, HAPPENED, new_axes(), theme=theme)
    assert ax.get_lines()[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "4"]
    assert len(ax.legend().get_texts()) == 2


def test_text_of_the_figure_is_readable() -> None:
    shown = texts(reliability_figure(PREDICTED, HAPPENED, title="Chance"))
    assert len(shown) > 10 and min(text.get_fontsize() for text in shown) >= 7


@pytest.mark.parametrize(
    "predicted, happened",
    [([], []), ([0.5, 1.5], [True, True]), ([-0.1], [True]), ([0.5], [True, False])],
)
def test_what_is_no_probability_is_refused(predicted: Any, happened: Any) -> None:
    with pytest.raises(DataError, match="probabilit"):
        reliability_bins(np.array(predicted, float), np.array(happened, bool))
