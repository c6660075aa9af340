"""YAML of a reasonable size and without tags."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from dfplan.errors import ConfigError

_LARGEST_TEXT = 1 << 20  # bytes of what a person writes


def require_small(path: str | Path) -> None:
    """Refuse a configuration file that is too large, before it is read.

    Raises:
        ConfigError: it has more than 1 MiB.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size > _LARGEST_TEXT:
        raise ConfigError(f"Expected a text of at most {_LARGEST_TEXT} bytes; got {size}.")


_DEEPEST = 20
_MOST_VALUES = 10_000


class _Open:
    """A list or mapping of YAML that has begun and not ended: what is known of it so far."""

    def __init__(self, anchor: str | None, keys: set[str] | None) -> None:
        self.anchor = anchor
        self.keys = keys  # None for a list
        self.nodes = 1
        self.children = 0


def load_yaml(text: str) -> Any:
    """What jsonargparse makes of YAML, unless that is of an unreasonable size or has tags.

    An alias counts as all that it stands for.

    Raises:
        YAMLError: that, a key given twice, or no YAML.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # the name of a file may hold any bytes
        raise yaml.YAMLError(str(error)) from error
    if size > _LARGEST_TEXT:
        raise yaml.YAMLError(f"more than {_LARGEST_TEXT} bytes")
    sizes: dict[str | None, int] = {}  # of what has an anchor
    stack = [_Open(None, None)]
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = f"line {event.start_mark.line + 1}"
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"{line}: the tag {event.tag}; write plain values")
        if isinstance(event, yaml.NodeEvent):
            parent = stack[-1]
            if parent.keys is not None and parent.children % 2 == 0:
                key = getattr(event, "value", "")  # "" for a list or mapping, which is no key
                if key in parent.keys:
                    raise yaml.YAMLError(f"{line}: {key} is given twice")
                parent.keys.add(key)
            parent.children += 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"{line}: *{event.anchor} stands for itself, or for nothing")
            parent.nodes += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            parent.nodes += 1
            sizes[event.anchor] = 1
            if len(event.value) > _MOST_DIGITS and _NUMBER.fullmatch(event.value):
                raise yaml.YAMLError(f"{line}: a number of more than {_MOST_DIGITS} digits")
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            stack.append(_Open(event.anchor, set() if is_mapping else None))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            stack[-1].nodes += ended.nodes
            sizes[ended.anchor] = ended.nodes
        if len(stack) > _DEEPEST or stack[-1].nodes > _MOST_VALUES:
            raise yaml.YAMLError(
                f"{line}: more than {_MOST_VALUES} values, or more than {_DEEPEST} in each other"
            )
    try:
        return _USUAL_YAML(text)
    except ValueError as error:  # what only looks like a number
        raise yaml.YAMLError(str(error)) from error


_MOST_DIGITS = 250  # in any base a float holds as many
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXob_:.]*")
_USUAL_YAML = get_loader("yaml")
set_loader("yaml", load_yaml, exceptions=(yaml.YAMLError,))
