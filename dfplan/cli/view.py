"""``dfplan view``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from dfplan.cli.arguments import (
    Names,
)
from dfplan.view.export import export_page
from dfplan.view.planning import serve_planners
from dfplan.view.server import serve


def view(
    mazes: Names | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
    export: Path | None = None,
    open: bool = False,
) -> None:
    """Serve a page that shows plans while they are made; or write one that needs no server.

    Args:
        mazes: checkpoints to plan with, commas between: names of shipped ones, files, or folders of
            runs; by default all shipped planners.
        host: where to listen; by default to this machine alone.
        port: 0 for any that is free.
        export: file to write instead, of recorded plans, which any browser opens as it is.
        open: whether to open a browser with it.
    """
    served = serve_planners(mazes)
    if export is not None:
        print(export_page(export, served))
        address = export.resolve().as_uri()
        if open:
            webbrowser.open(address)
        return

    def ready(address: str) -> None:
        print(f"Open {address} (Ctrl-C ends it)", flush=True)
        if open:
            webbrowser.open(address)

    serve(served, host, port, ready)
