"""The command line: ``dfplan COMMAND ...``.

Only the module of the command that is given is imported, and only its parser is built.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dfplan.cli.streams import (
    any_closed_pipe,
    exit_on_sigterm,
    flush,
    print_error,
    repair_streams,
    short_warnings,
)

Command = Callable[..., Any]


class Group(NamedTuple):
    """Commands under one name.

    Attributes:
        help: one line.
        commands: each by name, as ``module:function`` of this package; or where such a mapping is
            found, as ``module:name``, if it takes imports to know them.
        for_path: the command if a file or folder of data is given in place of a name.
    """

    help: str
    commands: Mapping[str, Group | Command | str] | str
    for_path: str | None = None


COMMANDS = Group(
    "Plan in mazes with Diffusion Forcing.",
    {
        "plan": "plan:plan",
        "video": Group(
            "Make a video of a plan, a search or an episode.",
            {
                "denoising": "plan:video_denoising",
                "episode": "plan:video_episode",
                "tree": "plan:video_tree",
            },
        ),
        "view": "view:view",
        "evaluate": "plan:evaluate",
        "bench": Group(
            "Benchmark planners; without a command it is bench run.",
            {"run": "bench:run", "report": "results:report", "compare": "results:compare_results"},
        ),
        "train": Group(
            "Train a planner on a data file, or a preset; each preset is a command.",
            "train:COMMANDS",
            "train:train_data",
        ),
        "tune": "train:tune",
        "calibrate": "train:calibrate",
        "data": Group(
            "Collect, download, check or convert data.",
            {
                "generate": "data:generate",
                "download": "data:download",
                "list": "data:list_data",
                "info": "data:info",
                "check": "data:check",
                "convert": "data:convert",
                "checksum": "data:checksum",
            },
        ),
        "env": "environment:environment",
        "inspect": "inspect:inspect",
    },
)


def commands(
    group: Group = COMMANDS, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Command]]:
    """All commands that do something: their names, such as ``("data", "check")``, and functions."""
    for name, entry in _commands(group).items():
        if isinstance(entry, Group):
            yield from commands(entry, (*names, name))
        else:
            yield (*names, name), _load(entry) if isinstance(entry, str) else entry


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line with ``args``, by default those of the process.

    Returns:
        The exit code: 2 after an error that is not a fault of dfplan.
    """
    repair_streams()
    code = 0
    error: Exception | None = None
    try:
        with short_warnings(), exit_on_sigterm():
            code = _run(_with_default(sys.argv[1:] if args is None else args))
    except Exception as raised:
        error = _expected(raised)
    except KeyboardInterrupt:
        code = 130
        print_error("dfplan: interrupted")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    failure = flush(sys.stdout)
    error = error or failure
    if isinstance(error, BrokenPipeError) and (failure or any_closed_pipe(sys.stdout, sys.stderr)):
        return 1  # the reader of our output has closed it
    if error is None:
        return code
    about = "Not enough memory. " if isinstance(error, MemoryError) else ""
    print_error(f"dfplan: error: {about}{error}")
    return 2


def _expected(error: Exception) -> Exception:
    """The error, if its message is all that a user needs; else it is raised."""
    from dfplan.errors import DfplanError

    if isinstance(error, DfplanError | OSError | MemoryError):
        return error
    # PyTorch raises RuntimeError for it.
    if isinstance(error, RuntimeError) and re.search("allocate memory|out of memory", str(error)):
        return MemoryError(str(error))
    raise error


def _with_default(args: Sequence[str]) -> list[str]:
    """Insert ``run`` after ``bench`` if nothing follows, or a flag other than ``--help``."""
    args = list(args)
    flag = (args[1:2] or ["--out"])[0]
    if args[:1] == ["bench"] and flag.startswith("--") and flag != "--help":
        args.insert(1, "run")
    return args


def _run(args: Sequence[str]) -> int:
    """Run the command that ``args`` name, or print the help of a group, or the version."""
    names: list[str] = []
    entry: Group | Command | str = COMMANDS
    while isinstance(entry, Group):
        if args[len(names) :][:1] in ([], ["-h"], ["--help"]):
            print(_overview(names, entry), end="")
            return 0
        if args == ["--version"]:
            from dfplan import __version__

            print(f"dfplan {__version__}")
            return 0
        name, known = args[len(names)], _commands(entry)
        is_path = entry.for_path is not None and os.path.exists(name)
        if name not in known and not is_path:
            _refuse(names, name, known)
        if is_path and (name not in known or _is_data(name)):
            if name in known:
                _refuse_both(names, name)
            entry = entry.for_path or ""
            continue
        names.append(name)
        entry = known[name]
    from dfplan.cli.parser import run_command

    return run_command(names, _load(entry) if isinstance(entry, str) else entry, args)


def _commands(group: Group) -> Mapping[str, Group | Command | str]:
    commands = group.commands
    return _load(commands) if isinstance(commands, str) else commands


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), name)


def _overview(names: Sequence[str], group: Group) -> str:
    """The help of a group."""
    parser = ArgumentParser(" ".join(["dfplan", *names]), description=group.help)
    if not names:
        parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, entry in _commands(group).items():
        commands.add_parser(name, help=_help(entry))
    return parser.format_help()


def _help(entry: Group | Command | str) -> str:
    """The first line of a command's docstring, read without importing its module."""
    if isinstance(entry, Group):
        return entry.help
    if not isinstance(entry, str):
        return (entry.__doc__ or "").partition("\n")[0]
    module, _, name = entry.partition(":")
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    (docstring,) = (ast.get_docstring(node) or "" for node in functions if node.name == name)
    return docstring.partition("\n")[0]


def _is_data(path: str) -> bool:
    """Whether there is data at a path that exists, and not for example the folder of a run."""
    from dfplan.data.formats.minari_files import is_dataset

    return os.path.isfile(path) or is_dataset(Path(path))


def _refuse_both(names: Sequence[str], name: str) -> NoReturn:
    command = " ".join(["dfplan", *names])
    print_error(
        f"dfplan: error: {name!r} is a command of '{command}', and also data in this folder. For "
        f"the data write {os.path.join('.', name)}; for the command rename the data, or use "
        "another folder."
    )
    sys.exit(2)


def _refuse(names: Sequence[str], name: str, known: Mapping[str, object]) -> NoReturn:
    from dfplan.errors import did_you_mean

    hint = did_you_mean(name, known)
    command = " ".join(["dfplan", *names])
    what = f"Unknown command {name!r}"
    if names == ["train"]:
        what = f"{name!r} is neither a preset nor an existing file or folder of data"
    print_error(f"dfplan: error: {what}.{hint} See '{command} --help'.")
    sys.exit(2)
