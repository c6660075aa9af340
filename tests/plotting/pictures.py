"""What tests read from pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from dfplan.mazes import Maze
from dfplan.plotting.maze import to_picture


def new_axes(size: float = 4.0) -> Axes:
    """Axes that fill a figure of ``size`` inches."""
    return Figure(figsize=(size, size)).add_axes((0, 0, 1, 1))


def pixels(axes: Axes, dpi: int = 100) -> np.ndarray:
    """RGB of the figure of the axes, from 0 to 1, [rows, columns, 3]."""
    figure: Any = axes.get_figure()
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def colors_at(
    axes: Axes, positions: np.ndarray, maze: Maze | None = None, dpi: int = 200
) -> np.ndarray:
    """RGB [N, 3] of the pixels at positions [N, 2] in the suite's coordinates."""
    image = pixels(axes, dpi)
    x, y = axes.transData.transform(to_picture(maze, positions)[:, ::-1]).T
    return image[(len(image) - y).astype(int), x.astype(int)]


def panels(figure: Figure) -> list[Axes]:
    """The axes that show a plane, without those of color bars."""
    return [axes for axes in figure.axes if axes.get_aspect() == 1]


def texts(figure: Figure) -> list[Text]:
    """The texts that are drawn. Labels of ticks outside the limits of their axes are not."""
    figure.draw_without_rendering()
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            outside |= {x.label1 for x in ticks if not low <= x.get_loc() <= high}
    found = [x for x in figure.findobj(Text) if x.get_visible() and x.get_text()]
    return [x for x in found if x not in outside and x.get_window_extent().width]
