"""Reports: contents, marks, tables and formats."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dfplan.bench import summary
from dfplan.bench.figures import example_grid
from dfplan.bench.records import Run
from dfplan.bench.report import COLUMNS, terminal_report, write_report
from dfplan.bench.results import leaderboards
from dfplan.errors import ConfigError, DataError
from dfplan.evaluation.protocols import TASKS

WriteRuns = Callable[..., Path]
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
    bench_runs: list[Run], write_runs: WriteRuns, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str]:
    """The texts of report.md and report.html."""
    folder = write_runs(tmp_path_factory.mktemp("bench"), bench_runs)
    paths = write_report(folder)
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == ["cells", "report.html", "report.md"]
    return paths[0].read_text(encoding="utf-8"), paths[1].read_text(encoding="utf-8")


def test_html_is_well_formed_and_self_contained(report: tuple[str, str]) -> None:
    page = Page(report[1])
    assert not page.stack
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "link", "iframe", "object", "img"}
    assert "://" not in report[1] and "@import" not in report[1]
    assert set(re.findall(r"url\(#([^)]*)\)", report[1])) <= set(page.ids)
    assert page.tags >= {"svg", "table", "details"}


def test_the_order_of_runs_does_not_change_the_report(
    bench_runs: list[Run], write_runs: WriteRuns, report: tuple[str, str], tmp_path: Path
) -> None:
    folder = write_runs(tmp_path, bench_runs[::-1])
    paths = write_report(folder)
    assert tuple(path.read_text(encoding="utf-8") for path in paths) == report
    assert terminal_report(bench_runs) == terminal_report(bench_runs[::-1])


def test_names_are_escaped(
    make_run: Callable[..., Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    run = make_run("maze2d-umaze", "<b>mine|*", error="<script>x</script>")
    paths = write_report(write_runs(tmp_path, [run]))
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


def test_published_scores_that_do_not_compare_have_their_own_table(report: tuple[str, str]) -> None:
    tables = re.split(r"^(?:\*\*|<details><summary>)", report[0], flags=re.MULTILINE)
    other = [each for each in tables if "| unclear |" in each or "| latched |" in each]
    assert len(other) == 1
    assert "do not compare" in other[0].splitlines()[0]
    assert "| true |" not in other[0] and "pursuit" not in other[0]
    changed = [each for each in tables if "| changed |" in each]
    assert len(changed) == 1 and "| success |" not in changed[0]


def test_the_report_contains_provenance_and_digests(
    report: tuple[str, str], bench_runs: list[Run]
) -> None:
    source = bench_runs[0].provenance
    for text in report:
        assert source.command in text and source.cpu in text
        assert str(source.commit) in text and "All runs were made on one machine" in text
        for run in bench_runs:
            assert run.header.problems_digest in text and run.header.problems_digest[:8] in text
        assert "The plan is NaN." in text


def test_the_answer_is_first_and_the_provenance_last(
    report: tuple[str, str], bench_runs: list[Run]
) -> None:
    boards, source = leaderboards(bench_runs), bench_runs[0].provenance
    last_scores = summary.score_table(boards[-1].results_on(boards[-1].tasks[-1]))
    for text, first_row in zip(report, ("\n| ", "<tr"), strict=True):
        assert text.index(boards[0].best[0]) < text.index(first_row)
        provenance = (source.command, source.cpu, str(source.commit))
        assert text.rindex(last_scores.rows[-1][2]) < min(map(text.index, provenance))


def test_examples_are_a_grid_of_methods_and_problems(bench_runs: list[Run]) -> None:
    board = leaderboards(bench_runs)[0]
    task = board.tasks[0]
    results = board.results_on(task)
    grid = example_grid(task, results)
    assert grid is not None and len(grid.columns) == 3
    labels = {label for label, _ in grid.rows}
    best_trackers = [label for label in board.best_trackers if label in labels]
    assert labels == {"controller", *best_trackers}
    assert all(None not in row and len(row) == 3 for _, row in grid.rows)
    # A problem stays in its column, also if a method lacks another one.
    run = results[-1].runs[0]
    fewer = replace(results[-1], runs=(replace(run, examples=run.examples[1:]),))
    other = example_grid(task, [*results[:-1], fewer])
    assert other is not None and other.columns == grid.columns
    rows, before = dict(other.rows), dict(grid.rows)
    assert rows[fewer.label] == (None, *before[fewer.label][1:])
    without = [replace(each, runs=(replace(each.runs[0], examples=()),)) for each in results]
    assert example_grid(task, without) is None


def test_every_command_is_in_the_report(
    bench_runs: list[Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    odd = replace(bench_runs[1], provenance=replace(bench_runs[1].provenance, command="another"))
    folder = write_runs(tmp_path, [bench_runs[0], odd])
    for path in write_report(folder):
        text = path.read_text(encoding="utf-8")
        assert text.count("Command") == 2
        assert "`another`" in text or "<code>another</code>" in text


def test_runs_of_two_machines_are_named(
    bench_runs: list[Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    odd = replace(bench_runs[1], provenance=replace(bench_runs[1].provenance, cpu="Another"))
    folder = write_runs(tmp_path, [bench_runs[0], odd])
    text = write_report(folder)[0].read_text(encoding="utf-8")
    assert "differ in: machine" in text
    assert f"Another, 2 cores, Linux x86_64 | {odd.name.task}/{odd.name.stem} |" in text


def test_the_best_and_the_tied_are_marked(make_run: Callable[..., Run]) -> None:
    runs = [
        make_run("maze2d-large", "controller", tracker="default", late=0),
        make_run("maze2d-large", "good", late=10),
        make_run("maze2d-large", "twin", late=10),
        make_run("maze2d-large", "poor", late=90),
    ]
    # A twin that differs by chance alone, whichever of the two is ahead.
    good, rng = runs[1], np.random.default_rng(1)
    rows = tuple(
        replace(row, score=row.score + gap)
        for row, gap in zip(good.episodes, rng.permutation([-2.0, 1.9] * 10), strict=True)
    )
    runs[2] = replace(runs[2], episodes=rows)
    (board,) = leaderboards(runs)
    assert board.labels[0] == "controller"
    assert board.labels[1:] == ("good · pursuit", "twin · pursuit", "poor · pursuit")
    marks = summary.best_and_tied(board.results_on(TASKS["maze2d-large"]))
    assert marks == {"good · pursuit": "best", "twin · pursuit": "tied"}
    table = summary.overview_table(board)
    assert table.reference_rows == 3  # problems, bound, controller
    assert table.mark(3, 1) == "best" and table.mark(4, 1) == "tied" and not table.mark(5, 1)
    full = summary.score_table(board.results_on(TASKS["maze2d-large"]))
    needed = full.header.index("Episodes needed")
    assert not full.rows[2][needed] and int(full.rows[3][needed].replace(",", "")) > 20


def test_returns_are_shown_next_to_normalized_scores(make_run: Callable[..., Run]) -> None:
    for task, name in (("maze2d-large", "Return"), ("pointmaze-large", "Score")):
        run = make_run(task, "dfplan", late=10)
        (board,) = leaderboards([run])
        table = summary.score_table(board.results_on(TASKS[task]))
        line = dict(zip(table.header, table.rows[-1], strict=True))
        assert line[name].startswith(f"{np.mean([row.episode_return for row in run.episodes]):.1f}")
        assert ("Return" in line) == (name == "Return")


def test_equal_results_are_all_best(make_run: Callable[..., Run]) -> None:
    runs = [make_run("ogbench-medium-navigate", name) for name in ("a", "b")]
    (board,) = leaderboards(runs)
    marks = summary.best_and_tied(board.results_on(board.tasks[0]))
    assert set(marks.values()) == {"best"} and len(marks) == 2
    assert board.best == ["a · pursuit", "b · pursuit"]
    table = summary.overview_table(board)
    assert table.mark(2, 2) == table.mark(3, 2) == "best"


def test_statistics_of_one_task(bench_runs: list[Run]) -> None:
    board = leaderboards(bench_runs)[0]
    task = TASKS["maze2d-large"]
    results = board.results_on(task)
    result = next(each for each in results if each.label == "dfplan · pursuit")
    rows = [row for run in bench_runs for row in run.episodes if run in result.runs]
    assert result.seeds == (0, 1, 2) and result.scores.shape == (3, 20)
    share = np.mean([row.score for row in rows]) / np.mean([row.upper_bound for row in rows])
    table = summary.score_table(results)
    line = dict(zip(table.header, table.rows[2], strict=True))
    assert line["Method"] == "dfplan · pursuit" and line["n"] == "3 x 20"
    assert line["Score"].startswith(f"{np.mean([row.score for row in rows]):.1f} ± ")
    assert line["Share of bound"] == f"{100 * share:.1f}%"
    assert line["Success % [95%]"].startswith("100 [")
    controller = next(each for each in results if each.is_controller)
    gap = result.scores.mean() - controller.scores.mean()
    assert line["Against controller"].startswith(f"{gap:+.1f} ± ")


def test_latched_scores_are_scores_of_latched_returns(make_run: Callable[..., Run]) -> None:
    for task in ("maze2d-large", "ogbench-medium-navigate"):
        (board,) = leaderboards([make_run(task, "dfplan", late=10)])
        result = board.results_on(TASKS[task])[0]
        if task == "maze2d-large":
            assert result.latched_scores == pytest.approx(result.scores)
        else:
            assert result.latched_scores is None


def test_a_method_that_never_reaches_its_goal(make_run: Callable[..., Run]) -> None:
    (board,) = leaderboards([make_run("maze2d-umaze", "lost", late=500)])
    table = summary.score_table(board.results_on(board.tasks[0]))
    line = dict(zip(table.header, table.rows[1], strict=True))
    assert line["Steps to goal"] == "never" and line["Success % [95%]"].startswith("0 [0, ")


def test_a_score_above_its_bound_is_an_error(make_run: Callable[..., Run]) -> None:
    run = make_run("maze2d-umaze", "dfplan")
    assert summary.error_table(leaderboards([run])) is None
    row = replace(run.episodes[3], score=run.episodes[3].upper_bound + 1)
    edited = replace(run, episodes=(*run.episodes[:3], row, *run.episodes[4:]))
    table = summary.error_table(leaderboards([edited]))
    assert table is not None
    (line,) = table.rows
    assert "above its upper bound" in line[2] and line[3] == "1"


def test_tracker_table_has_a_cell_for_each_pair(bench_runs: list[Run]) -> None:
    board = leaderboards(bench_runs)[0]
    table = summary.tracker_table(board.results_on(board.tasks[0]))
    assert table is not None and table.header == ("Method", "default", "pd", "pursuit")
    assert [line[0] for line in table.rows] == ["dfplan", "diffuser", "cloning"]
    assert table.rows[1][3] == "" and table.rows[1][2]
    assert list(table.marks.values()).count("best") == 1


def test_tracker_table_over_tasks_needs_all_tasks(
    make_run: Callable[..., Run],
) -> None:
    tasks = ("maze2d-umaze", "maze2d-large")
    runs = [
        make_run(task, planner, tracker=tracker, late=late)
        for planner, tracker, late in (("a", "pd", 30), ("a", "pursuit", 0), ("b", "pd", 60))
        for task in tasks
    ]
    runs.append(make_run(tasks[0], "b", tracker="pursuit"))
    (board,) = leaderboards(runs)
    table = summary.tracker_table_over_tasks(board)
    assert table is not None and table.header == ("Method", "pd", "pursuit")
    shares = {label: f"{100 * board.share(label):.1f}%" for label in board.labels}
    assert table.rows == (
        ("a", shares["a · pd"], shares["a · pursuit"]),
        ("b", shares["b · pd"], ""),
    )
    assert table.marks == {(0, 2): "best"}
    assert board.best_trackers == ["a · pursuit", "b · pd"]
    (alone,) = leaderboards([run for run in runs if run.name.tracker == "pd"])
    assert summary.tracker_table_over_tasks(alone) is None


def test_strata_are_shown_if_there_are_any(bench_runs: list[Run]) -> None:
    d4rl, ogbench = leaderboards(bench_runs)
    assert summary.stratum_table(d4rl.results_on(d4rl.tasks[0])) is None
    table = summary.stratum_table(ogbench.results_on(ogbench.tasks[0]))
    assert table is not None and table.header[1:] == tuple(f"pair {part}" for part in range(1, 6))


def test_a_method_without_some_task_is_ranked_last(make_run: Callable[..., Run]) -> None:
    runs = [make_run(task, "poor", late=90) for task in ("maze2d-umaze", "maze2d-large")]
    runs.append(make_run("maze2d-large", "good"))
    (board,) = leaderboards(runs)
    assert board.labels == ("poor · pursuit", "good · pursuit")
    assert board.complete == board.best == ["poor · pursuit"]
    assert board.seed_shares("good · pursuit") is None
    assert summary.overview_table(board).rows[-1][1] == ""


def test_terminal_text_fits(bench_runs: list[Run]) -> None:
    text = terminal_report(bench_runs)
    assert max(map(len, text.splitlines())) <= 110
    assert "dfplan · pursuit" in text and "upper bound" in text and "±" in text


def test_requested_columns_are_shown(bench_runs: list[Run]) -> None:
    text = terminal_report(bench_runs, ("latched", "return", "plan"))
    words = {word for line in text.splitlines() for word in line.split()}
    assert {"Latched", "Return", "Plan"} <= words and not {"IQM", "Parameters"} & words
    assert "costs" not in terminal_report(bench_runs, ("score",))
    assert terminal_report(bench_runs, COLUMNS) != terminal_report(bench_runs)
    with pytest.raises(ConfigError, match="scroe"):
        terminal_report(bench_runs, ["scroe"])


def test_a_wide_table_is_split(make_run: Callable[..., Run]) -> None:
    tasks = [name for name in TASKS if name.startswith("ogbench")]
    text = terminal_report([make_run(task, "dfplan") for task in tasks])
    assert max(map(len, text.splitlines())) <= 110
    assert all(name.removeprefix("ogbench-") in text for name in tasks)


def test_different_problems_are_refused(make_run: Callable[..., Run]) -> None:
    runs = [make_run("maze2d-umaze", "a"), make_run("maze2d-umaze", "b", problems="1" * 64)]
    with pytest.raises(DataError, match=r"different problems of maze2d-umaze"):
        leaderboards(runs)


def test_a_single_episode_and_no_plans(
    make_run: Callable[..., Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    run = make_run("maze2d-umaze", "controller", tracker="default", episodes=1)
    folder = write_runs(tmp_path, [replace(run, examples=())])
    markdown, page = (path.read_text(encoding="utf-8") for path in write_report(folder))
    assert "controller" in markdown and not Page(page).stack


def test_validation_is_marked(
    make_run: Callable[..., Run], write_runs: WriteRuns, tmp_path: Path
) -> None:
    run = make_run("maze2d-umaze", "dfplan")
    tuned = replace(run, header=replace(run.header, split="validation"))
    text = write_report(write_runs(tmp_path, [tuned]))[0].read_text(encoding="utf-8")
    assert "Do not report" in text


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are none"):
        write_report(tmp_path)
