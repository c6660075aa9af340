"""The parser of one command."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionYesNo, ArgumentParser, Namespace, auto_cli

from dfplan.cli.yaml_guard import load_yaml, require_small
from dfplan.errors import ConfigError
from dfplan.files import expand_path

_LONGEST_MESSAGE = 2000  # characters
_PLAIN = (
    (
        r"Does not validate against any of the Union subtypes Subtypes: .* Errors: - (.*) "
        r"Given value type: <class '.*?'> Given value: ?(.*)",
        r"\1. Got value: \2",
    ),
    (r" - Expected a <class 'NoneType'>", ""),
    (r"Unable to load config (\S+) - .*", r"expected settings by name, or a file of them; got \1"),
    (r"Not of type PositiveInt: (.*) does not .*", r"expected a whole number above 0; got \1"),
    (r"Not of type PositiveInt: .*: (.*)", r"expected a whole number above 0; got \1"),
    (r"Not of type \w+: ", ""),
    (r"Expected a <class 'int'>", "expected a whole number"),
    (r"Expected a <class 'float'>", "expected a number"),
    (r"Expected a <class 'bool'>", "expected true or false"),
    (r"Expected a <class 'str'>", "expected text"),
    (r"Expected a <class '(?:\w+\.)*(\w+)'>", r"expected a \1"),
    (r"Expected a typing\.Literal\[(.*?)\]", r"expected one of \1"),
    (r"(; got .*)\. Got value: .*", r"\1"),
    (r"\. Got value: ", "; got "),
    (r'Parser key "([^"]*)":', r"\1:"),
)
"""Patterns in jsonargparse's messages, applied in this order, and what to say instead."""

_WRONG = re.compile(r"arguments: .*?(--[\w.-]+)|(?:[Oo]ption '|choice: '|Got value: )([\w.-]+)")


class Parser(ArgumentParser):
    """jsonargparse's parser, with one-line errors that suggest the closest name.

    A ``bool`` argument becomes the two flags ``--name`` and ``--no_name``. The parameter ``from_``
    is ``--from`` on the command line.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._file = ""  # the configuration file that is being read, for messages
        self._negative_number_matcher = re.compile(r"-\.?\d")  # also positions, as -1,7.5

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        if args and args[0].endswith("_"):  # a parameter whose name would be a keyword
            args = (*args, args[0].rstrip("_"))
        if kwargs.get("type") is bool:
            kwargs["action"] = ActionYesNo
            del kwargs["type"]
        return super().add_argument(*args, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help, without the markup of docstrings."""
        text = super().format_help(*args, **kwargs)
        text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", text)
        text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)
        return text.replace("``", "")

    def parse_args(self, args: Any = None, *others: Any, **kwargs: Any) -> Any:
        """Parse arguments; report also files that are not text and numbers that are too large."""
        try:
            return super().parse_args(args, *others, **kwargs)
        except UnicodeDecodeError as error:
            values = [value for given in args for value in (given, given.partition("=")[2])]
            files = ", ".join(value for value in values if os.path.isfile(value))
            self.error(f"Expected text in UTF-8 in {files}; {error}")
        except OverflowError as error:
            self.error(f"A number is too large in {max(args, key=len)}; {error}")

    def parse_path(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Parse a configuration file; errors name the file."""
        self._file = f"{path}: "
        try:
            require_small(expand_path(path))
            loaded = super().parse_path(path, *args, **kwargs)
        except UnicodeDecodeError as error:
            self.error(f"Expected a text file in UTF-8; {error}")
        except (TypeError, KeyError, ConfigError) as error:
            self.error(str(error), error)
        self._file = ""
        return loaded

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Parse the text of a configuration file, and check it for unknown keys.

        A later check would not know their names.
        """
        with suppress(yaml.YAMLError):  # the parser below reports it
            value = load_yaml(content)
            if not isinstance(value, dict):
                kind = "nothing" if value is None else type(value).__name__
                self.error(f"Expected lines such as 'name: value'; got {kind}")
        loaded = super().parse_string(content, *args, **kwargs)
        self.validate(loaded, skip_required=True)
        return loaded

    def validate(self, namespace: Any, *args: Any, **kwargs: Any) -> None:
        for name in self.groups or ():
            if not isinstance(value := namespace.get(name, {}), Namespace | dict):
                raise TypeError(f'Parser key "{name}": expected settings by name; got {value!r}')
        super().validate(namespace, *args, **kwargs)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Raise an error if the message cannot be written; the parent class ignores it."""
        (file or sys.stderr).write(message)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        parser = getattr(ex, "subcommand_parser", None) or self
        known = re.findall(r"(?:--)?[a-z][\w.-]*", parser.format_usage())
        by_key = {name.lstrip("-").rpartition(".")[2]: name for name in known}
        wrong = _WRONG.search(message)
        key = wrong[wrong.lastindex or 0].lstrip("-").rpartition(".")[2] if wrong else ""
        close = get_close_matches(key, by_key, n=1, cutoff=0.7)
        hint = f" Did you mean {by_key[close[0]]!r}?" if close else ""
        command = parser.prog.replace(" [options]", "")
        text = " ".join(message.split()).rstrip(".")
        for pattern, plain in _PLAIN:
            text = re.sub(pattern, plain, text)
        if len(text) > _LONGEST_MESSAGE:
            text = f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 2 :]}"
        self.exit(2, f"dfplan: error: {self._file}{text}.{hint} See '{command} --help'.\n")


def run_command(names: Sequence[str], command: Callable[..., Any], args: Sequence[str]) -> int:
    """Parse the arguments of one command, call it, and return its exit code; 0 if it has none.

    The signature and docstring of the command make the parser. ``args`` are all arguments of
    dfplan, first the names of the command, such as ``["data", "check"]``.
    """
    prog = " ".join(["dfplan", *names])
    given = _config_first(args[len(names) :])
    returned = auto_cli(command, args=given, prog=prog, parser_class=Parser)
    return returned if isinstance(returned, int) else 0


def _config_first(args: Sequence[str]) -> list[str]:
    """The arguments with ``--config FILE`` in front, so that all others overrule the file."""
    config: list[str] = []
    others: list[str] = []
    rest = iter(args)
    for arg in rest:
        if arg == "--config":
            config += [arg, *islice(rest, 1)]
        else:
            (config if arg.startswith("--config=") else others).append(arg)
    return others + config if config[-1:] == ["--config"] else config + others
