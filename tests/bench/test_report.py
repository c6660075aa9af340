"""What a reader of a report may rely on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench import summary
from dfplan.bench.records import Cell
from dfplan.bench.report import COLUMNS, terminal, write_report
from dfplan.bench.results import standings
from dfplan.errors import ConfigError, DataError
from dfplan.evaluation.protocols import TASKS

WriteCells = Callable[..., Path]
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and keeps what refers to something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                self.references.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def report(
    bench_cells: list[Cell], write_cells: WriteCells, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The texts of report.md and report.html."""
    folder = write_cells(tmp_path_factory.mktemp("bench"), bench_cells)
    paths = write_report(folder, "dfplan bench --out x")
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == ["cells", "report.html", "report.md"]
    return paths[0].read_text(encoding="utf-8"), paths[1].read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_nothing_else(report: tuple[str, str]) -> None:
    page = Page(report[1])
    assert not page.stack
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "link", "iframe", "object", "img"}
    assert "://" not in report[1] and "@import" not in report[1]
    assert set(re.findall(r"url\(#([^)]*)\)", report[1])) <= set(page.ids)
    assert page.tags >= {"svg", "table", "details"}


def test_the_same_cells_in_any_order_make_the_same_report(
    bench_cells: list[Cell], write_cells: WriteCells, report: tuple[str, str], tmp_path: Path
) -> None:
    folder = write_cells(tmp_path, bench_cells[::-1])
    paths = write_report(folder, "dfplan bench --out x")
    assert tuple(path.read_text(encoding="utf-8") for path in paths) == report
    assert terminal(bench_cells) == terminal(bench_cells[::-1])


def test_what_a_planner_is_called_is_only_text(
    make_cell: Callable[..., Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    cell = make_cell("maze2d-umaze", "<b>mine|*", fault="<script>x</script>")
    paths = write_report(write_cells(tmp_path, [cell]), "dfplan bench '<i>'")
    page = Page(paths[1].read_text(encoding="utf-8"))
    assert not page.stack and not page.tags & {"b", "i", "script"}
    assert r"mine\|\*" in paths[0].read_text(encoding="utf-8")


def test_protocols_share_no_table(report: tuple[str, str]) -> None:
    sections = re.split(r"^## ", report[0], flags=re.MULTILINE)
    d4rl, ogbench = (
        next(each for each in sections if each.startswith(name))
        for name in ("d4rl-maze2d-v1", "ogbench-pointmaze-v0")
    )
    assert "ogbench" not in d4rl and "giant" not in d4rl
    assert "maze2d" not in ogbench and "multi2d" not in ogbench
    assert "N(0, 0.1^2)" in d4rl and "noise (+- 1)" in ogbench


def test_published_figures_that_do_not_compare_stand_apart(report: tuple[str, str]) -> None:
    tables = re.split(r"^\*\*", report[0], flags=re.MULTILINE)
    other = [each for each in tables if "| unclear |" in each or "| latched |" in each]
    assert len(other) == 1
    assert "do not compare" in other[0].splitlines()[0]
    assert "| true |" not in other[0] and "pursuit" not in other[0]
    changed = [each for each in tables if "| changed |" in each]
    assert len(changed) == 1 and "| success |" not in changed[0]


def test_the_reader_sees_where_it_comes_from(
    report: tuple[str, str], bench_cells: list[Cell]
) -> None:
    source = bench_cells[0].provenance
    for text in report:
        assert "dfplan bench --out x" in text and source.cpu in text
        assert str(source.commit) in text and "All cells were played on one machine" in text
        for cell in bench_cells:
            assert cell.head.problems in text and cell.head.problems[:8] in text
        assert "The plan is NaN." in text


def test_every_command_that_played_a_cell_is_said(
    bench_cells: list[Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    odd = replace(bench_cells[1], provenance=replace(bench_cells[1].provenance, command="another"))
    folder = write_cells(tmp_path, [bench_cells[0], odd])
    for path in write_report(folder, bench_cells[0].provenance.command):
        text = path.read_text(encoding="utf-8")
        assert text.count("Other cells by") == 1
        assert "`another`" in text or "<code>another</code>" in text


def test_cells_from_two_machines_are_named(
    bench_cells: list[Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    odd = replace(bench_cells[1], provenance=replace(bench_cells[1].provenance, cpu="Another"))
    folder = write_cells(tmp_path, [bench_cells[0], odd])
    text = write_report(folder, "x")[0].read_text(encoding="utf-8")
    assert "differ in: machine" in text
    assert f"Another, 2 cores, Linux x86_64 | {odd.name.task}/{odd.name.stem} |" in text


def test_the_best_is_marked_and_so_is_what_is_near(make_cell: Callable[..., Cell]) -> None:
    cells = [
        make_cell("maze2d-large", "controller", tracker="own", late=0),
        make_cell("maze2d-large", "good", late=10),
        make_cell("maze2d-large", "twin", late=10),
        make_cell("maze2d-large", "poor", late=90),
    ]
    # A twin that differs by chance alone, whichever of the two is ahead.
    good, rng = cells[1], np.random.default_rng(1)
    rows = tuple(
        replace(row, score=row.score + gap)
        for row, gap in zip(good.rows, rng.permutation([-2.0, 1.9] * 10), strict=True)
    )
    cells[2] = replace(cells[2], rows=rows)
    (standing,) = standings(cells)
    assert standing.labels[0] == "controller · own".removesuffix(" · own")
    assert standing.labels[1:] == ("good · pursuit", "twin · pursuit", "poor · pursuit")
    marks = summary.marked(standing.on(TASKS["maze2d-large"]))
    assert marks == {"good · pursuit": "best", "twin · pursuit": "near"}
    table = summary.overview(standing)
    assert table.apart == 3  # problems, bound, controller
    assert table.mark(3, 1) == "best" and table.mark(4, 1) == "near" and not table.mark(5, 1)
    full = summary.in_full(standing, standing.on(TASKS["maze2d-large"]))
    needed = full.header.index("Episodes to tell")
    assert not full.lines[2][needed] and int(full.lines[3][needed].replace(",", "")) > 20


def test_raw_sums_stand_beside_normalized_ones(make_cell: Callable[..., Cell]) -> None:
    for task, name in (("maze2d-large", "Return"), ("pointmaze-large", "Score")):
        cell = make_cell(task, "dfplan", late=10)
        (standing,) = standings([cell])
        table = summary.in_full(standing, standing.on(TASKS[task]))
        line = dict(zip(table.header, table.lines[-1], strict=True))
        assert line[name].startswith(f"{np.mean([row.reward for row in cell.rows]):.1f}")
        assert ("Return" in line) == (name == "Return")


def test_equals_are_all_the_best(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell("ogbench-medium-navigate", name) for name in ("a", "b")]
    (standing,) = standings(cells)
    marks = summary.marked(standing.on(standing.tasks[0]))
    assert set(marks.values()) == {"best"} and len(marks) == 2


def test_figures_of_one_task(bench_cells: list[Cell]) -> None:
    standing = standings(bench_cells)[0]
    task = TASKS["maze2d-large"]
    found = standing.on(task)
    result = next(each for each in found if each.label == "dfplan · pursuit")
    rows = [row for cell in bench_cells for row in cell.rows if cell in result.cells]
    assert result.seeds == (0, 1, 2) and result.scores.shape == (3, 20)
    share = np.mean([row.score for row in rows]) / np.mean([row.most for row in rows])
    table = summary.in_full(standing, found)
    line = dict(zip(table.header, table.lines[2], strict=True))
    assert line["Planner"] == "dfplan · pursuit" and line["n"] == "3 x 20"
    assert line["Score"].startswith(f"{np.mean([row.score for row in rows]):.1f} ± ")
    assert line["Share of bound"] == f"{100 * share:.1f}%"
    assert line["Success % [95%]"].startswith("100 [")
    controller = standing.controller_on(task)
    assert controller is not None
    gap = result.scores.mean() - controller.scores.mean()
    assert line["Against controller"].startswith(f"{gap:+.1f} ± ")


def test_latched_is_the_protocols_score_of_the_latched_sum(make_cell: Callable[..., Cell]) -> None:
    for task in ("maze2d-large", "ogbench-medium-navigate"):
        (standing,) = standings([make_cell(task, "dfplan", late=10)])
        result = standing.on(TASKS[task])[0]
        if task == "maze2d-large":
            assert result.latched == pytest.approx(result.scores)
        else:
            assert result.latched is None


def test_who_never_arrives(make_cell: Callable[..., Cell]) -> None:
    (standing,) = standings([make_cell("maze2d-umaze", "lost", late=500)])
    table = summary.in_full(standing, standing.on(standing.tasks[0]))
    line = dict(zip(table.header, table.lines[1], strict=True))
    assert line["First touch"] == "never" and line["Success % [95%]"].startswith("0 [0, ")


def test_a_score_above_its_bound_is_pointed_at(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell("maze2d-umaze", "dfplan")
    assert summary.faults(standings([cell])) is None
    row = replace(cell.rows[3], score=cell.rows[3].most + 1)
    edited = replace(cell, rows=(*cell.rows[:3], row, *cell.rows[4:]))
    table = summary.faults(standings([edited]))
    assert table is not None
    (line,) = table.lines
    assert "above its bound" in line[2] and line[3] == "1"


def test_the_matrix_has_a_place_for_each_pair(bench_cells: list[Cell]) -> None:
    standing = standings(bench_cells)[0]
    table = summary.matrix(standing.on(standing.tasks[0]))
    assert table is not None and table.header == ("Planner", "own", "pd", "pursuit")
    assert [line[0] for line in table.lines] == ["dfplan", "diffuser", "cloning"]
    assert table.lines[1][3] == "" and table.lines[1][2]
    assert list(table.marks.values()).count("best") == 1


def test_the_matrix_over_tasks_holds_mean_shares_of_who_played_all(
    make_cell: Callable[..., Cell],
) -> None:
    tasks = ("maze2d-umaze", "maze2d-large")
    cells = [
        make_cell(task, planner, tracker=tracker, late=late)
        for planner, tracker, late in (("a", "pd", 30), ("a", "pursuit", 0), ("b", "pd", 60))
        for task in tasks
    ]
    cells.append(make_cell(tasks[0], "b", tracker="pursuit"))
    (standing,) = standings(cells)
    table = summary.matrix_over_tasks(standing)
    assert table is not None and table.header == ("Planner", "pd", "pursuit")
    shares = {label: f"{100 * standing.share(label):.1f}%" for label in standing.labels}
    assert table.lines == (
        ("a", shares["a · pd"], shares["a · pursuit"]),
        ("b", shares["b · pd"], ""),
    )
    assert table.marks == {(0, 2): "best"}
    assert standing.leading == ["a · pursuit", "b · pd"]
    (alone,) = standings([cell for cell in cells if cell.name.tracker == "pd"])
    assert summary.matrix_over_tasks(alone) is None


def test_parts_are_shown_where_there_are_some(bench_cells: list[Cell]) -> None:
    d4rl, ogbench = standings(bench_cells)
    assert summary.parts(d4rl.on(d4rl.tasks[0])) is None
    table = summary.parts(ogbench.on(ogbench.tasks[0]))
    assert table is not None and table.header[1:] == tuple(f"task {part}" for part in range(1, 6))


def test_a_planner_that_misses_a_task_is_ranked_last(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(task, "poor", late=90) for task in ("maze2d-umaze", "maze2d-large")]
    cells.append(make_cell("maze2d-large", "good"))
    (standing,) = standings(cells)
    assert standing.labels == ("poor · pursuit", "good · pursuit")
    assert standing.matrix("good · pursuit") is None
    assert summary.overview(standing).lines[-1][1] == ""


def test_the_terminals_text_fits(bench_cells: list[Cell]) -> None:
    text = terminal(bench_cells)
    assert max(map(len, text.splitlines())) <= 110
    assert "dfplan · pursuit" in text and "upper bound" in text and "±" in text


def test_columns_are_shown_that_are_asked_for(bench_cells: list[Cell]) -> None:
    text = terminal(bench_cells, ("latched", "return", "plan"))
    words = {word for line in text.splitlines() for word in line.split()}
    assert {"Latched", "Return", "Plan"} <= words and not {"touch", "Parameters"} & words
    assert "costs" not in terminal(bench_cells, ("score",))
    assert terminal(bench_cells, COLUMNS) != terminal(bench_cells)
    with pytest.raises(ConfigError, match="Unknown column 'scroe'"):
        terminal(bench_cells, ["scroe"])


def test_a_wide_table_goes_on_below(make_cell: Callable[..., Cell]) -> None:
    tasks = [name for name in TASKS if name.startswith("ogbench")]
    text = terminal([make_cell(task, "dfplan") for task in tasks])
    assert max(map(len, text.splitlines())) <= 110
    assert all(name.removeprefix("ogbench-") in text for name in tasks)


def test_other_problems_share_no_table(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell("maze2d-umaze", "a"), make_cell("maze2d-umaze", "b", problems="1" * 64)]
    with pytest.raises(DataError, match=r"met different problems of maze2d-umaze .*two folders"):
        standings(cells)


def test_a_single_episode_and_no_plans(
    make_cell: Callable[..., Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    cell = make_cell("maze2d-umaze", "controller", tracker="own", episodes=1)
    folder = write_cells(tmp_path, [replace(cell, examples=())])
    markdown, page = (path.read_text(encoding="utf-8") for path in write_report(folder, "x"))
    assert "controller" in markdown and not Page(page).stack


def test_validation_is_not_to_be_reported(
    make_cell: Callable[..., Cell], write_cells: WriteCells, tmp_path: Path
) -> None:
    cell = make_cell("maze2d-umaze", "dfplan")
    tuned = replace(cell, head=replace(cell.head, split="validation"))
    text = write_report(write_cells(tmp_path, [tuned]), "x")[0].read_text(encoding="utf-8")
    assert "not to be reported" in text


def test_no_cells(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are none"):
        write_report(tmp_path, "x")
