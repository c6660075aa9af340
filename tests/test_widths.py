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

POINTS = re.compile(r"\b\w*(position|point|goal)s?\b", re.IGNORECASE)
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
    index = node.slice if isinstance(node, ast.Subscript) else None
    last = index.elts[-1] if isinstance(index, ast.Tuple) and index.elts else None
    if not isinstance(last, ast.Slice) or last.step is not None:
        return False
    bounds = [bound for bound in (last.lower, last.upper) if bound is not None]
    numbers = [constant(bound) for bound in bounds]
    return None not in numbers and any(abs(number or 0) > 1 for number in numbers)


def compares_width(node: ast.AST) -> bool:
    """Whether ``node`` requires a width of 2 or 4 of an array of anything but points.

    ``x.shape[1] < 2`` requires a position, but no width.
    """
    exact = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], exact):
        return False
    sides = [node.left, *node.comparators]
    measured = [side for side in sides if is_width(side)]
    literals = [number for side in sides for number in numbers_of(side)]
    of_points = any(POINTS.search(ast.unparse(side)) for side in measured)
    return bool(measured) and not of_points and any(number in WIDTHS for number in literals)


def is_width(node: ast.expr) -> bool:
    """Whether ``node`` is a shape, a part of one, or a number that is called a width."""
    if isinstance(node, ast.Subscript):
        return is_width(node.value)
    called = node.func if isinstance(node, ast.Call) else node
    name = getattr(called, "attr", getattr(called, "id", ""))
    return bool(re.fullmatch(r"shape|(\w+_)?width", name))


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
        "x.shape[1] < 2",
        "len(x.shape) == 2",
        "positions.shape[-1] == 2",
        "GOAL = (2,)",
        "KINDS = (1, 2, 3)",
    ],
)
def test_nothing_else_is_found(source: str) -> None:
    assert not assumptions(source)


FILES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*.py"))]
OTHERS = [name for name in FILES if not name.startswith(KNOW_WIDTHS)]


@pytest.mark.parametrize("package", sorted({name.partition("/")[0] for name in OTHERS}))
def test_no_other_code_assumes_a_width(package: str) -> None:
    found = {
        name: places
        for name in OTHERS
        if name.partition("/")[0] == package and (places := assumptions((ROOT / name).read_text()))
    }
    assert not found
