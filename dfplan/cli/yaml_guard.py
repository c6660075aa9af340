"""A guard in front of jsonargparse's YAML loader: limits of size, and no tags."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from dfplan.errors import ConfigError

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 20
_MAX_VALUES = 10_000
_MAX_DIGITS = 250  # a float has no more of them in any base
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]*")


def require_small(path: str | Path) -> None:
    """Check the size of a configuration file before it is read.

    Raises:
        ConfigError: it has more than 1 MiB.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size > _MAX_BYTES:
        raise ConfigError(f"Expected a text of at most {_MAX_BYTES} bytes; got {size}.")


@dataclass
class _Collection:
    """A list or mapping whose end has not been read."""

    anchor: str | None
    keys: set[str] | None  # None for a list
    values: int = 1  # also nested ones; an alias counts as many as its anchor
    children: int = 0  # direct ones; of a mapping both keys and values


def load_yaml(text: str) -> Any:
    """Load YAML as jsonargparse does, but refuse what a configuration file never needs.

    Raises:
        YAMLError: the text is no YAML; it is too large, too deep or has too many values; it has
            tags, a key twice, or a number with too many digits.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # from the name of a file, which may hold any bytes
        raise yaml.YAMLError(str(error)) from error
    if size > _MAX_BYTES:
        raise yaml.YAMLError(f"more than {_MAX_BYTES} bytes")
    _check(text)
    try:
        return _load(text)
    except ValueError as error:  # a value that only looks like a number
        raise yaml.YAMLError(str(error)) from error


def _check(text: str) -> None:
    sizes: dict[str | None, int] = {}  # values by anchor
    stack = [_Collection(None, None)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = f"line {event.start_mark.line + 1}"
        parent = stack[-1]
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"{line}: the tag {event.tag}; write plain values")
        if isinstance(event, yaml.NodeEvent):
            if parent.keys is not None and parent.children % 2 == 0:
                key = getattr(event, "value", "")  # "" for a list or mapping as a key
                if key in parent.keys:
                    raise yaml.YAMLError(f"{line}: the key {key} twice")
                parent.keys.add(key)
            parent.children += 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"{line}: *{event.anchor} refers to itself or to nothing")
            parent.values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            parent.values += 1
            sizes[event.anchor] = 1
            if len(event.value) > _MAX_DIGITS and _NUMBER.fullmatch(event.value):
                raise yaml.YAMLError(f"{line}: a number of more than {_MAX_DIGITS} digits")
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            stack.append(_Collection(event.anchor, set() if is_mapping else None))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            stack[-1].values += ended.values
            sizes[ended.anchor] = ended.values
        if len(stack) > _MAX_DEPTH or stack[-1].values > _MAX_VALUES:
            raise yaml.YAMLError(
                f"{line}: more than {_MAX_VALUES} values, or nested deeper than {_MAX_DEPTH}"
            )


_load = get_loader("yaml")
set_loader("yaml", load_yaml, exceptions=(yaml.YAMLError,))
