"""``dfplan view``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from dfplan.cli.arguments import Names


def view(
    mazes: Names | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
    export: Path | None = None,
    open: bool = False,
) -> None:
    """Start the web app, which shows plans while they are made; or write it as one HTML file.

    Args:
        mazes: names of shipped checkpoints, files or folders of trainings, with commas between;
            default: all shipped planners.
        host: address to listen on; default: only this machine.
        port: 0 for any free port.
        export: write an HTML file with recorded plans instead. It needs no server.
        open: open it in a browser.
    """
    # Here, because the help needs no planner.
    from dfplan.view.export import export_html
    from dfplan.view.planners import load_planners
    from dfplan.view.server import serve

    served = load_planners(mazes)
    if export is not None:
        print(export_html(export, served))
        address = export.resolve().as_uri()
        if open:
            webbrowser.open(address)
        return

    def ready(address: str) -> None:
        print(f"Open {address} (Ctrl-C ends it)", flush=True)
        if open:
            webbrowser.open(address)

    serve(served, host, port, ready)
