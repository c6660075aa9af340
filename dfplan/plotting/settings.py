"""Matplotlib without the user's settings, so that a picture is the same for everybody.

A user's style, TeX or file of settings is for figures of the user's own.
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
    """Import matplotlib, also where its file of settings or its backend's name is damaged."""
    try:
        import matplotlib.style
    except (ValueError, OSError) as error:
        warnings.warn(
            f"matplotlib cannot read its settings, which are left out ({error}). See the file that "
            "MATPLOTLIBRC names, matplotlibrc in the working folder or in ~/.config/matplotlib, "
            "and MPLBACKEND.",
            stacklevel=2,
        )
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]
        told = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
        os.environ["MATPLOTLIBRC"] = os.devnull
        folder = Path.cwd()
        os.chdir(folder.anchor)  # it looks for a file in the working folder first
        try:
            import matplotlib.style  # noqa: F401
        finally:
            os.chdir(folder)
            del os.environ["MATPLOTLIBRC"]
            os.environ.update(told)


_import()
_LOCK = RLock()


@contextmanager
def default_settings() -> Iterator[None]:
    """Matplotlib as it comes, until the block ends; then the user's settings hold again.

    They are the whole process's, so one thread at a time is in such a block.
    """
    from matplotlib import style

    with _LOCK, style.context("default"):
        yield
