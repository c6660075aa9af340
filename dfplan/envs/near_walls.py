"""A smaller model of an OGBench maze, with only the walls that the ball may touch."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from xml.etree import ElementTree

_OFFSETS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
_FAR_AWAY = [1e6] * 3  # out of the ball's reach
_WALL = "block_"  # prefix of the suite's names of walls, before row and column of the cell
_VISUAL = ("asset", "light")
_FLAGS = {"midphase": "disable", "island": "disable"}  # midphase does not support moving walls


class NearWalls:
    """The suite's model with nine walls that move with the ball.

    A step of OGBench evaluates the dynamics twenty times, and each evaluation checks all walls of
    the maze for contact. This model has walls for the ball's cell and the eight cells around it, in
    the suite's order; walls of free cells are moved far away. The ball can touch no other wall
    until it has moved by the side of a cell less its radius, 3.3 units, and a step moves it by a
    tenth of that, so states are equal to the suite's bit for bit.

    Args:
        xml: the suite's model in MuJoCo's XML.

    Attributes:
        model: the MuJoCo model.
        data: its state.
    """

    def __init__(self, xml: str) -> None:
        mujoco = import_module("mujoco")
        suite = ElementTree.fromstring(xml)
        self._centers = {
            geom.get("name", "").removeprefix(_WALL): [
                float(number) for number in geom.get("pos", "").split()
            ]
            for geom in suite.findall("worldbody/geom")
        }
        self.model: Any = mujoco.MjModel.from_xml_string(_reduced(suite))
        self.data: Any = mujoco.MjData(self.model)
        self._first = self.model.geom("wall_0").id
        self._cell: tuple[int, int] | None = None

    def surround(self, i: int, j: int) -> None:
        """Move the walls to those around cell (i, j)."""
        if (i, j) != self._cell:
            self._cell = i, j
            self.model.geom_pos[self._first : self._first + len(_OFFSETS)] = [
                self._centers.get(f"{i + down}_{j + right}", _FAR_AWAY) for down, right in _OFFSETS
            ]


def _reduced(suite: ElementTree.Element) -> str:
    """The suite's XML with nine walls and without parts that are only visible."""
    walls = 0
    for parent in suite.iter():
        for part in list(parent):
            part.attrib.pop("material", None)
            wall = part.get("name", "").startswith(_WALL)
            if wall:
                part.set("name", f"wall_{walls}")
                walls += 1
            surplus = wall and walls > len(_OFFSETS)
            if surplus or part.tag in _VISUAL or part.get("contype") == "0":
                parent.remove(part)
    ElementTree.SubElement(next(suite.iter("option")), "flag", _FLAGS)
    ElementTree.SubElement(suite, "size", memory="64K")
    return ElementTree.tostring(suite, encoding="unicode")
