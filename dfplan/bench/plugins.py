"""A user's own planner by a dotted name such as ``mypackage.module:make``: found, tried, imported.

Whatever its module does when it is imported is to happen where it plays, and not to the benchmark.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import gettempdir
from typing import Any

from dfplan.bench.processes import leave_with, started
from dfplan.errors import ConfigError, unknown_name
from dfplan.files import scratch_folder

PATIENCE = 30.0
"""Seconds that a module may take to be imported if what is wrong with it is to be told at once."""

_IMPORT = "import sys; from dfplan.bench.plugins import tell_imports; tell_imports(*sys.argv[1:])"
_CANNOT = "Planner {!r}: module {!r} cannot be imported ({}). Run where it lies, or install it."


def require_importable(name: str) -> None:
    """Import a user's own planner in a process that this one survives whatever it does.

    What ends that process or keeps it for :data:`PATIENCE` seconds is not refused: where it plays,
    its rows say so.

    Raises:
        ConfigError: a module that cannot be imported, or that has no such attribute.
    """
    with scratch_folder(gettempdir(), "dfplan-import-") as folder:
        said = folder / "said"
        command = [sys.executable, "-c", _IMPORT, name, str(said), str(os.getpid())]
        with started(command) as process, suppress(TimeoutExpired):
            process.wait(PATIENCE)
        if said.exists():
            raise ConfigError(said.read_text(encoding="utf-8"))


def tell_imports(name: str, file: str, parent: str) -> None:
    """Write what importing a user's own raises into a file; what a process of ``parent`` does."""
    leave_with(int(parent))
    try:
        imported(name)
    except ConfigError as error:
        text = str(error).encode(errors="replace").decode()
        Path(file).write_text(text, encoding="utf-8")


def imported(name: str) -> Callable[..., Any]:
    """What a dotted name names; the module is imported into this process.

    Raises:
        ConfigError: a module that cannot be imported, or that has no such attribute.
    """
    module_name, _, attribute = name.partition(":")
    _look_here()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a user's own module does
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(_CANNOT.format(name, module_name, said)) from error
    make: Callable[..., Any] | None = getattr(module, attribute, None)
    if make is None:
        shown = [key for key, value in vars(module).items() if key[0] != "_" and callable(value)]
        raise unknown_name(f"attribute of {module_name}", attribute, shown)
    return make


def code_file(name: str) -> Path | None:
    """The file of a user's own module, which is not imported for it; None where it has none.

    Raises:
        ConfigError: there is no such module.
    """
    module_name = name.partition(":")[0]
    _look_here()
    # importlib.util.find_spec would import the packages that the module lies in.
    parts, path, spec = module_name.split("."), None, None
    for count in range(1, len(parts) + 1):
        part = ".".join(parts[:count])
        found = (finder.find_spec(part, path) for finder in sys.meta_path) if parts[0] else ()
        spec = next((each for each in found if each is not None), None)
        if spec is None:
            raise ConfigError(_CANNOT.format(name, module_name, f"there is no {part!r}"))
        path = spec.submodule_search_locations
    assert spec is not None  # a text has one part at least
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _look_here() -> None:
    if os.getcwd() not in sys.path:  # as python -m has it, and not the script dfplan
        sys.path.insert(0, os.getcwd())
