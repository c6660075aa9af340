"""Colors of pictures, light and dark.

Clean tokens contrast with the floor and noisy tokens fade into it. Therefore pictures can be read
in color, in gray and by color-blind readers (plasma and viridis are made for them).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, ListedColormap, to_rgb

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
        goal: goals and jumps.
        warning: keep-out regions and positions in walls.
        level: noise levels, from clean to pure noise.
        spread: spread, from zero to the largest.
        visits: counts, from few to many.
    """

    background: str
    floor: str
    open_floor: str
    wall: str
    ink: str
    muted: str
    goal: str
    warning: str
    level: Colormap
    spread: Colormap
    visits: Colormap

    def paler(self, colors: np.ndarray, share: float) -> np.ndarray:
        """Blend colors [..., 4] with the floor; ``share`` is the share of the color, 0 to 1."""
        floor = np.array([*to_rgb(self.floor), 1.0])
        return np.asarray(floor + share * (colors - floor))


def _part(name: str, first: float, last: float) -> Colormap:
    """Cut a colormap of matplotlib to the part that contrasts with the floor."""
    return ListedColormap(matplotlib.colormaps[name](np.linspace(first, last, 256)), name=name)


LIGHT = Theme(
    background="#ffffff",
    floor="#ffffff",
    open_floor="#f3f4f6",
    wall="#d9dde4",
    ink="#22252b",
    muted="#6b7078",
    goal="#d7263d",
    warning="#e07b00",
    level=_part("plasma", 0.0, 0.9),
    spread=_part("viridis", 0.0, 0.93),
    visits=_part("GnBu", 0.25, 1.0),
)

DARK = Theme(
    background="#14161a",
    floor="#1b1e24",
    open_floor="#1b1e24",
    wall="#3a404b",
    ink="#f0f1f3",
    muted="#9aa1ac",
    goal="#ff5d6c",
    warning="#ffa53d",
    level=_part("plasma", 1.0, 0.22),
    spread=_part("viridis", 1.0, 0.22),
    visits=_part("GnBu", 0.9, 0.15),
)

THEMES = {"light": LIGHT, "dark": DARK}
"""Themes by name."""


def named_theme(name: str) -> Theme:
    """Return a theme; raise :class:`~dfplan.errors.ConfigError` for an unknown name."""
    return lookup("theme", name, THEMES)
