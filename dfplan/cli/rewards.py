"""Rewards as text on the command line."""

from __future__ import annotations

import ast
from typing import Any

from dfplan.errors import ConfigError, lookup
from dfplan.planning.rewards import REWARDS, Box, ComposableReward, Disc

_REGIONS = {"Box": Box, "Disc": Disc}


def parse_reward(text: str) -> ComposableReward:
    """Make the reward of a text such as ``100 * KeepOut([Disc([3, 3], 1)]) + Fast([5, 5])``.

    The text may contain rewards and regions by name with their arguments, numbers, lists, ``+`` and
    ``*``. It is not run as a program.

    Raises:
        ConfigError: the text contains anything else, or a reward refuses its arguments.
    """
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, RecursionError) as error:
        raise ConfigError(f"A reward must be such as 'Fast([5, 5])'; {text!r}: {error}") from error
    if not isinstance(value, ComposableReward):
        raise ConfigError(f"A reward must be such as 'Fast([5, 5])'; got {text!r}.")
    return value


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        make = _REGIONS[name] if name in _REGIONS else lookup("reward", name, REWARDS)
        arguments = {each.arg: _value(each.value) for each in node.keywords if each.arg}
        return make(*map(_value, node.args), **arguments)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        left, right = _value(node.left), _value(node.right)
        return left + right if isinstance(node.op, ast.Add) else left * right
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    try:
        number = ast.literal_eval(node)
    except ValueError:
        number = None
    if isinstance(number, int | float):
        return number
    raise TypeError(f"{ast.unparse(node)!r} is neither a number, a list nor a reward")
