"""No code assumes how many numbers an observation, an action or a token has.

Layouts say which columns are what: :class:`dfplan.observations.ObservationLayout` for observations,
:class:`dfplan.tokens.layout.TokenLayout` for tokens. Points in the plane have two numbers.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "dfplan"
KNOW_WIDTHS = ("observations.py", "tokens/", "planning/trackers/", "plotting/", "envs/", "collect/")
"""The layouts themselves; trackers of points; pictures of the plane; the adapters of the suites."""

WIDTHS = (2, 4)
"""Of a position, and of a position with its velocity."""

POINTS = re.compile(r"(?i)\b\w*(position|point|goal|offset|place|path|line)s?\b")
"""Names of arrays of points in the plane, which have two columns everywhere."""


def constant(node: ast.expr | None) -> int | None:
    """The value of an integer in the source; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None


def selects_columns(node: ast.AST) -> bool:
    """Whether ``node`` takes columns by number: ``x[:, :2]``, ``x[..., 2:4]``, ``x[:, 2:]``.

    ``x[:, 1:]`` and ``x[:, :-1]`` are successive rows of a window; they assume no width.
    """
    if not (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple)):
        return False
    last = node.slice.elts[-1]
    if not isinstance(last, ast.Slice) or last.step is not None:
        return False
    bounds = [bound for bound in (last.lower, last.upper) if bound is not None]
    numbers = [constant(bound) for bound in bounds]
    return None not in numbers and any(abs(number or 0) > 1 for number in numbers)


def compares_width(node: ast.AST) -> bool:
    """Whether ``node`` compares the width of an array of anything but points with 2 or 4."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    texts = [ast.unparse(side) for side in sides]
    if not any("shape" in text or re.search(r"\bwidth", text) for text in texts):
        return False
    if any(POINTS.search(text) for text in texts):
        return False
    literals = [each for side in sides for each in numbers_of(side)]
    return any(number in WIDTHS for number in literals)


def numbers_of(side: ast.expr) -> list[int]:
    """The integers that ``side`` is, or the last of a shape, such as 2 in ``(count, 2)``."""
    if isinstance(side, ast.Tuple | ast.List | ast.Set):
        in_shape = any(constant(each) is None for each in side.elts)
        parts = side.elts[-1:] if in_shape else side.elts
        return [number for part in parts if (number := constant(part)) is not None]
    number = constant(side)
    return [] if number is None else [number]


def names_widths(node: ast.AST) -> bool:
    """Whether ``node`` is an assignment of widths alone, such as ``STATE = (4, 2)``."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    values = numbers_of(node.value) if isinstance(node.value, ast.Tuple) else []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    named = any(isinstance(target, ast.Name) and target.id.isupper() for target in targets)
    whole = isinstance(node.value, ast.Tuple) and len(values) == len(node.value.elts)
    text = " ".join(map(ast.unparse, targets))
    return bool(named and whole and set(values) <= {*WIDTHS} and not POINTS.search(text))


def assumptions(source: str) -> list[str]:
    """The places in ``source`` that assume a width, as ``line: code``."""
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if selects_columns(node) or compares_width(node) or names_widths(node)
    ]


@pytest.mark.parametrize(
    "source",
    [
        "x[:, :2]",
        "x[..., 2:4]",
        "x[:, 2:]",
        "x[rows, None, :-2]",
        "x.shape[1] == 4",
        "x.shape[-1] not in (2, 4)",
        "x.shape != (count, 2)",
        "np.shape(x) != (len(x), 2)",
        "if width == 2: pass",
        "layout.width in {2, 4}",
        "STATE = (4, 2)",
        "PLANE: tuple = (2,)",
    ],
)
def test_assumptions_are_found(source: str) -> None:
    assert assumptions(source)


@pytest.mark.parametrize(
    "source",
    [
        "x[:, 1:]",
        "x[:, :-1]",
        "x[:, :width]",
        "x[layout.position]",
        "x[2:4]",
        "x.shape[1] == layout.width",
        "x.ndim == 2",
        "positions.shape[-1] == 2",
        "GOAL = (2,)",
        "KINDS = (1, 2, 3)",
    ],
)
def test_nothing_else_is_found(source: str) -> None:
    assert not assumptions(source)


def test_no_other_code_assumes_a_width() -> None:
    found = {
        name: places
        for path in sorted(ROOT.rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith(KNOW_WIDTHS)
        and (places := assumptions(path.read_text()))
    }
    assert not found, found
