"""Colors of pictures, on light and on dark.

What is certain stands out from the floor and what is noise fades into it, so a picture says the
same in color, to the colour-blind (plasma and viridis are made for them) and in grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, ListedColormap, to_rgb

from dfplan.errors import unknown_name
from dfplan.record import Record


@dataclass(frozen=True)
class Theme(Record):
    """The colors of a picture.

    Attributes:
        page: around the maze.
        floor: of the maze.
        bare: floor where no maze is known.
        wall: of the maze.
        ink: letters, starts, executed paths.
        muted: lesser letters, scales, candidates.
        goal: goals and jumps.
        warning: what is wrong.
        level: from certain to pure noise.
        spread: from none to most.
        visits: from few to many.
    """

    page: str
    floor: str
    bare: str
    wall: str
    ink: str
    muted: str
    goal: str
    warning: str
    level: Colormap
    spread: Colormap
    visits: Colormap

    def paler(self, colors: np.ndarray, share: float) -> np.ndarray:
        """Colors [..., 4] as they show on the floor when only so much of them is left."""
        floor = np.array([*to_rgb(self.floor), 1.0])
        return np.asarray(floor + share * (colors - floor))


def _part(name: str, first: float, last: float) -> Colormap:
    """Of a perceptually uniform map what the floor does not swallow."""
    return ListedColormap(matplotlib.colormaps[name](np.linspace(first, last, 256)), name=name)


LIGHT = Theme(
    page="#ffffff",
    floor="#ffffff",
    bare="#f3f4f6",
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
    page="#14161a",
    floor="#1b1e24",
    bare="#1b1e24",
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
    """The theme of that name; :class:`~dfplan.errors.ConfigError` if there is none."""
    if name not in THEMES:
        raise unknown_name("theme", name, THEMES)
    return THEMES[name]
