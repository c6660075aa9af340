"""Colors of pictures, light and dark.

Uncertainty has one scale of colors: blue is certain and orange is not, in both themes. What is more
certain also has more contrast to the floor, so that pictures can be read in gray, and color-blind
readers tell blue from orange. What is no uncertainty has other colors: ranks are cyan to gray,
counts green to blue. Every color of these scales has a contrast of at least 3 to the floor and to
the walls. Areas, such as regions and tubes, are paler, so that lines on them can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb

from dfplan.errors import lookup
from dfplan.record import Record


@dataclass(frozen=True)
class Theme(Record):
    """The colors of a picture.

    Attributes:
        background: color around the maze.
        open_floor: floor if no maze is known.
        ink: main text, starts, executed paths.
        muted: secondary text, scales, candidates.
        goal: goals, jumps, and the newest segments of a tree.
        warning: keep-out regions, and positions in walls.
        uncertainty: noise levels, from clean to pure noise, and plan spread, from zero up.
        ranks: lines that are compared, from the best to the worst.
        visits: counts, from few to many.
        gradient: lengths of gradients, from zero to the longest.
    """

    background: str
    floor: str
    open_floor: str
    wall: str
    ink: str
    muted: str
    goal: str
    warning: str
    uncertainty: Colormap
    ranks: Colormap
    visits: Colormap
    gradient: Colormap

    def paler(self, colors: np.ndarray, share: float) -> np.ndarray:
        """Blend colors [..., 4] with the floor; ``share`` is the share of the color, 0 to 1."""
        floor = np.array([*to_rgb(self.floor), 1.0])
        return np.asarray(floor + share * (colors - floor))


def _scale(*colors: str) -> Colormap:
    """A colormap through these colors."""
    return LinearSegmentedColormap.from_list("scale", colors)


LIGHT = Theme(
    background="#ffffff",
    floor="#ffffff",
    open_floor="#f3f4f6",
    wall="#dfe3e9",
    ink="#22252b",
    muted="#6b7078",
    goal="#d7263d",
    warning="#00776b",
    uncertainty=_scale("#0b1f5c", "#3a3f9f", "#7a3f9c", "#a8436f", "#b8542f"),
    ranks=_scale("#007d8f", "#767b83"),
    visits=_scale("#33826f", "#2a5d86", "#0b1f5c"),
    gradient=_scale("#c0606a", "#d7263d"),
)

DARK = Theme(
    background="#14161a",
    floor="#1b1e24",
    open_floor="#1b1e24",
    wall="#333944",
    ink="#f0f1f3",
    muted="#9aa1ac",
    goal="#ff5d6c",
    warning="#3fd0b0",
    uncertainty=_scale("#d6e4ff", "#a9b4f5", "#c08fe0", "#d97aa8", "#d97a3a"),
    ranks=_scale("#35c3d6", "#9097a3"),
    visits=_scale("#5f97ad", "#9ccbe6", "#e6f7ff"),
    gradient=_scale("#c27a82", "#ff5d6c"),
)

THEMES = {"light": LIGHT, "dark": DARK}
"""Themes by name."""


def named_theme(name: str) -> Theme:
    """Return a theme; raise :class:`~dfplan.errors.ConfigError` for an unknown name."""
    return lookup("theme", name, THEMES)
