"""OGBench's ball against walls, simulated with those alone that it may touch."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from xml.etree import ElementTree

_AROUND = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
_NOWHERE = [1e6] * 3  # where no ball gets
_WALL = "block_"  # and the row and column of its cell
_SEEN_ONLY = ("asset", "light")
_FLAGS = {"midphase": "disable", "island": "disable"}  # the former knows no walls that move


class NearWalls:
    """The suite's model with nine walls, which go where the ball goes.

    A step of OGBench evaluates its dynamics twenty times, and each of these places every wall of
    the maze and searches them all for one that is touched. Here are walls in the cell that the
    ball is in and in the eight around it, in the suite's order; those that stand free lie far
    away. That is all that the ball may touch until its middle has moved by a cell's side less its
    radius, 3.3 units, of which it does a tenth in a step, so states come out the same to the bit.

    Args:
        xml: the suite's model, MuJoCo's XML.

    Attributes:
        model: MuJoCo's.
        data: its state.
    """

    def __init__(self, xml: str) -> None:
        mujoco = import_module("mujoco")
        suite = ElementTree.fromstring(xml)
        self._middles = {
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
        """Put the walls where those about cell (i, j) are."""
        if (i, j) != self._cell:
            self._cell = i, j
            self.model.geom_pos[self._first : self._first + len(_AROUND)] = [
                self._middles.get(f"{i + down}_{j + right}", _NOWHERE) for down, right in _AROUND
            ]


def _reduced(suite: ElementTree.Element) -> str:
    """The suite's XML with as many walls as there are around a ball, and nothing to look at."""
    walls = 0
    for parent in suite.iter():
        for part in list(parent):
            part.attrib.pop("material", None)
            wall = part.get("name", "").startswith(_WALL)
            if wall:
                part.set("name", f"wall_{walls}")
                walls += 1
            surplus = wall and walls > len(_AROUND)
            if surplus or part.tag in _SEEN_ONLY or part.get("contype") == "0":
                parent.remove(part)
    ElementTree.SubElement(next(suite.iter("option")), "flag", _FLAGS)
    ElementTree.SubElement(suite, "size", memory="64K")
    return ElementTree.tostring(suite, encoding="unicode")
