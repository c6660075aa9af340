"""Plugins: a user's own planner, named such as ``mypackage.module:make``.

The benchmark's own process never imports a plugin, because importing may do anything to a process.
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

from dfplan.errors import ConfigError, unknown_name
from dfplan.files import scratch_folder
from dfplan.processes import child_process, exit_with_parent

IMPORT_TIMEOUT = 30.0
"""Seconds to wait for the trial import of a plugin."""

_IMPORT = "import sys; from dfplan.bench.plugins import try_import; try_import(*sys.argv[1:])"
_CANNOT = "Planner {!r}: module {!r} cannot be imported ({}). Run in its folder, or install it."


def require_importable(name: str) -> None:
    """Import a plugin in a child process, to report errors before anything is run.

    A plugin that ends that process, or takes longer than :data:`IMPORT_TIMEOUT`, is not refused:
    its runs will record the error.

    Raises:
        ConfigError: the module cannot be imported, or it has no such attribute.
    """
    with scratch_folder(gettempdir(), "dfplan-import-") as folder:
        message = folder / "message"
        command = [sys.executable, "-c", _IMPORT, name, str(message), str(os.getpid())]
        with child_process(command) as process, suppress(TimeoutExpired):
            process.wait(IMPORT_TIMEOUT)
        if message.exists():
            raise ConfigError(message.read_text(encoding="utf-8"))


def try_import(name: str, file: str, parent: str) -> None:
    """Import a plugin and write the error message, if any, to a file. Runs in the child process."""
    exit_with_parent(int(parent))
    try:
        import_plugin(name)
    except ConfigError as error:
        text = str(error).encode(errors="replace").decode()
        Path(file).write_text(text, encoding="utf-8")


def import_plugin(name: str) -> Callable[..., Any]:
    """Import a plugin's module into this process and return the named attribute.

    Raises:
        ConfigError: the module cannot be imported, or it has no such attribute.
    """
    module_name, _, attribute = name.partition(":")
    _add_working_folder()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(_CANNOT.format(name, module_name, reason)) from error
    make: Callable[..., Any] | None = getattr(module, attribute, None)
    if make is None:
        known = [key for key, value in vars(module).items() if key[0] != "_" and callable(value)]
        raise unknown_name(f"attribute of {module_name}", attribute, known)
    return make


def source_file(name: str) -> Path | None:
    """Find the source file of a plugin without importing it; None if it has none.

    Raises:
        ConfigError: there is no such module.
    """
    module_name = name.partition(":")[0]
    _add_working_folder()
    # importlib.util.find_spec would import the packages that contain the module.
    parts, path, spec = module_name.split("."), None, None
    for count in range(1, len(parts) + 1):
        part = ".".join(parts[:count])
        specs = (finder.find_spec(part, path) for finder in sys.meta_path) if parts[0] else ()
        spec = next((each for each in specs if each is not None), None)
        if spec is None:
            raise ConfigError(_CANNOT.format(name, module_name, f"there is no {part!r}"))
        path = spec.submodule_search_locations
    assert spec is not None  # split() gives at least one part
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _add_working_folder() -> None:
    if os.getcwd() not in sys.path:  # python -m adds it, the script dfplan does not
        sys.path.insert(0, os.getcwd())
