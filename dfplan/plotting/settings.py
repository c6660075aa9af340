"""Matplotlib with its default settings, so that pictures do not depend on the user's settings.

The user's style sheets, TeX and settings file apply only to the user's own figures.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

_VARIABLES = ("MATPLOTLIBRC", "MPLBACKEND")


def _import() -> None:
    """Import matplotlib, even if its settings file or the name of its backend is invalid."""
    try:
        import matplotlib.style
    except (ValueError, OSError) as error:
        warnings.warn(
            f"matplotlib cannot read its settings and uses its defaults ({error}). Check the file "
            "in MATPLOTLIBRC, matplotlibrc in the working folder or in ~/.config/matplotlib, and "
            "MPLBACKEND.",
            stacklevel=2,
        )
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]
        removed = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
        os.environ["MATPLOTLIBRC"] = os.devnull
        folder = Path.cwd()
        os.chdir(folder.anchor)  # matplotlib looks for a settings file in the working folder first
        try:
            import matplotlib.style  # noqa: F401
        finally:
            os.chdir(folder)
            del os.environ["MATPLOTLIBRC"]
            os.environ.update(removed)


_import()
_LOCK = RLock()


@contextmanager
def default_settings() -> Iterator[None]:
    """Use matplotlib's default settings inside the block, and restore the user's after it.

    Matplotlib's settings are global to the process, so only one thread at a time enters the block.
    """
    from matplotlib import style

    with _LOCK, style.context("default"):
        yield
