"""The HTML report in Chromium: its width, what is collapsed, and the grid of plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dfplan.bench.records import Run
from dfplan.bench.report import write_report
from dfplan.evaluation.protocols import TASKS

TASK = "ogbench-medium-navigate"
WIDTHS = [390, 1280]

Open = Callable[[int], Any]


@pytest.fixture(scope="module")
def url(make_run: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory,
        write_runs: Callable[..., Path]) -> str:  # fmt: skip
    """A report with wide tables, tied scores and long names."""
    tasks = [name for name in TASKS if name.startswith("ogbench")]
    methods = ("dfplan", "dfplan-twin", "mypackage.planners.experimental:make_planner")
    runs = [make_run(task, method) for task in tasks for method in methods]
    return write_report(write_runs(tmp_path_factory.mktemp("page"), runs))[1].as_uri()


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Open]:
    contexts = []

    def visit(width: int) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, is_mobile=width < 600
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_window(open_page: Open, width: int) -> None:
    page = open_page(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_tasks_are_collapsed_until_they_are_clicked(open_page: Open) -> None:
    page = open_page(1280)
    task = page.locator(f"#{TASK}")
    assert task.locator("h3").is_visible()
    assert not task.locator("table").first.is_visible()
    task.locator("summary").first.click()
    assert task.locator("table").first.is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_plans_of_a_problem_are_below_each_other(open_page: Open, width: int) -> None:
    page = open_page(width)
    page.locator(f"#{TASK} summary").first.click()
    rows = page.locator(f"#{TASK} .examples tbody tr").all()
    grid = [[cell.bounding_box() for cell in row.locator("svg").all()] for row in rows]
    assert len(grid) == 3 and {len(row) for row in grid} == {3}
    for column in zip(*grid, strict=True):
        assert max(box["x"] for box in column) - min(box["x"] for box in column) < 1
        assert [box["y"] for box in column] == sorted(box["y"] for box in column)
    for row in grid:
        assert max(box["y"] for box in row) - min(box["y"] for box in row) < 1
        assert all(0 < box["x"] < box["x"] + box["width"] <= width for box in row)
