"""Where the panels, color bars and texts of a figure are.

Figures are laid out in inches, so that text has the same size for all mazes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfplan.plotting import marks
from dfplan.plotting.maze import Limits
from dfplan.plotting.style import Theme
from dfplan.suites import Suite

_SMALLEST_TEXT = 7.0
"""Typographic points; journals ask for no less."""

NARROW = 6.0
"""Figures that are narrower, in inches, have their panels below each other."""

NARROWEST_PANEL = 2.6
"""Panels beside each other are at least as wide, in inches."""


TICKS = 3.2
"""Lines of text for the ticks of a plane without a maze."""


@dataclass(frozen=True)
class Layout:
    """Panels of the same size, with a line of text above and a color bar below each.

    All lengths are in inches, except for ``text``, in typographic points.

    Attributes:
        panels: number of panels.
        columns: panels in a row.
        width: of a panel.
        height: of a panel.
        text: size of the text.
        bars: lines of text below each panel, for its color bar.
        legend: lines of the legend.
        titles: lines of text above each panel.
        ticks: lines of text left of and below each panel, for ticks.
    """

    panels: int
    columns: int
    width: float
    height: float
    text: float
    bars: float = 4.2
    legend: int = 1
    titles: float = 2.2
    ticks: float = 0.0

    @classmethod
    def fit(cls, panels: int, columns: int, width: float, limits: Limits, **lines: Any) -> Layout:
        """A figure of ``width`` inches, whose panels have the aspect ratio of ``limits``."""
        text = float(np.clip(0.95 * width, _SMALLEST_TEXT, 11.0))
        rows, across = limits[1] - limits[0], limits[3] - limits[2]
        margin = text / 72 * 1.5
        ticks = lines.get("ticks", 0.0) * text / 72
        inner = (width - 2 * margin - (columns - 1) * margin * 1.5) / columns - ticks
        height = min(inner * rows / across, 1.25 * inner)
        return cls(panels, columns, inner, height, text, **lines)

    @property
    def line(self) -> float:
        """Height of a line of text."""
        return self.text / 72

    @property
    def margin(self) -> float:
        """Distance to the edges of the figure."""
        return 1.5 * self.line

    @property
    def _gap(self) -> float:
        return 1.5 * self.margin

    @property
    def _across(self) -> float:
        """Width of a panel with its ticks."""
        return self.width + self.ticks * self.line

    @property
    def _cell(self) -> float:
        """Height of a panel with its title and its color bar."""
        return self.height + (self.titles + self.bars + self.ticks + 0.6) * self.line

    @property
    def size(self) -> tuple[float, float]:
        rows = -(-self.panels // self.columns)
        inner = self.columns * self._across + (self.columns - 1) * self._gap
        legend = (1.5 * self.legend + 0.8) * self.line
        return inner + 2 * self.margin, rows * self._cell + legend

    def axes(self, figure: Figure, box: tuple[float, float, float, float]) -> Axes:
        """Add axes at ``box``: left, bottom, width, height."""
        (width, height), (x, y, w, h) = self.size, box
        return figure.add_axes((x / width, y / height, w / width, h / height))

    def corner(self, panel: int) -> tuple[float, float]:
        """Left lower corner of a panel."""
        row, column = divmod(panel, self.columns)
        top = self.size[1] - row * self._cell - (self.titles + 0.6) * self.line
        left = self.margin + column * (self._across + self._gap)
        return left + self.ticks * self.line, top - self.height

    def panel(self, figure: Figure, panel: int) -> Axes:
        """Add the axes of a panel."""
        return self.axes(figure, (*self.corner(panel), self.width, self.height))

    def bar(self, figure: Figure, panel: int) -> Axes:
        """Add the axes of a panel's color bar."""
        x, y = self.corner(panel)
        below = y - (1.5 + self.ticks) * self.line
        return self.axes(figure, (x, below, self.width, 0.8 * self.line))

    def write(self, figure: Figure, panel: int, title: str, theme: Theme, text: str = "") -> None:
        """Write a title above a panel and its ticks, and a line of text below the title."""
        (width, height), (x, y) = self.size, self.corner(panel)
        x -= self.ticks * self.line
        above = y + self.height + (0.7 + 1.4 * bool(text)) * self.line
        style: dict[str, Any] = {"fontweight": "bold", "color": theme.ink}
        figure.text(x / width, above / height, title, fontsize=1.25 * self.text, **style)
        if text:
            below = y + self.height + 0.6 * self.line
            figure.text(x / width, below / height, text, fontsize=self.text, color=theme.muted)

    def draw_legend(
        self, figure: Figure, entries: dict[str, bool], suite: Suite | None, theme: Theme
    ) -> None:
        """Draw the legend of the ``entries`` that are drawn, in the lines that it may take."""
        names = [name for name, is_drawn in entries.items() if is_drawn]
        columns = -(-len(names) // self.legend)
        bottom = 0.7 * self.line
        marks.draw_legend(figure, names, bottom, self.text, columns, suite, theme)


def legend_lines(entries: dict[str, bool], width: float, text: float | None = None) -> int:
    """Lines that a legend needs in a figure of ``width`` inches.

    The text has ``text`` typographic points, by default those of a :class:`Layout`.
    """
    text = text or float(np.clip(0.95 * width, _SMALLEST_TEXT, 11.0))
    names = [name for name, is_drawn in entries.items() if is_drawn]
    for lines in range(1, len(names) + 1):
        columns = [names[first::1][:lines] for first in range(0, len(names), lines)]
        needed = sum(max(map(len, column)) * 0.56 + 4.5 for column in columns) * text / 72
        if needed <= width - 0.2:
            return lines
    return max(1, len(names))
