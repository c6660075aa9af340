"""``dfplan bench report`` and ``dfplan bench compare``.

Imports are inside functions, so that the help is fast.
"""

from __future__ import annotations

from pathlib import Path


def report(folder: Path) -> None:
    """Write the report of a folder of results: report.md and report.html.

    Args:
        folder: folder of results.
    """
    from dfplan.bench.report import write_report

    for path in write_report(folder):
        print(path)


def compare_results(first: Path, second: Path) -> None:
    """Compare two folders of results: what changed, and is the change significant?

    Args:
        first: folder of results.
        second: another one, of the same protocols.
    """
    from dfplan.bench.compare import compare

    print(compare(first, second))
