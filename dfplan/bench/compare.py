"""Compare two benchmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfplan.bench.records import Run, RunName, read_runs
from dfplan.bench.results import leaderboards
from dfplan.bench.summary import format_estimate
from dfplan.bench.tables import Table, drop_columns, to_markdown
from dfplan.errors import ConfigError
from dfplan.evaluation import statistics

_SHOWN = 12

_Pairs = Sequence[tuple[Run, Run]]


def compare(before: str | Path, after: str | Path) -> str:
    """Compare two folders of a benchmark; return what changed, as Markdown.

    Runs are paired by protocol, task, method, tracker and training seed. A change of the score is
    not significant if the 95% bootstrap interval over the shared starts contains 0. Runs on
    different problems are not compared. If one has the first problems of the other, those are
    compared.

    Raises:
        ConfigError: the folders share no protocol, or a run has an unknown protocol.
        DataError: a folder contains no runs, or one that cannot be read.
    """
    olds, news = (_read(each) for each in (before, after))
    protocols = [sorted({name.protocol for name in each}) for each in (olds, news)]
    if not set(protocols[0]) & set(protocols[1]):
        raise ConfigError(
            f"Expected a common protocol; {before} contains {', '.join(protocols[0])} and {after} "
            f"contains {', '.join(protocols[1])}. Scores of different protocols do not compare."
        )
    pairs = [_shared_problems(olds[name], news[name]) for name in sorted(olds.keys() & news.keys())]
    comparable = [pair for pair in pairs if _same_problems(*pair)]
    parts = [f"# {before} and {after}", _verdict(comparable, len(pairs), olds, news)]
    for protocol in sorted({old.name.protocol for old, _ in comparable}):
        of_protocol = [pair for pair in comparable if pair[0].name.protocol == protocol]
        parts += [f"## {protocol}", to_markdown(_change_table(of_protocol))]
    if different := [pair for pair in pairs if not _same_problems(*pair)]:
        text = "These runs have other problems in the second folder, so they are not compared:"
        names = (
            f"{_describe(old.name)} ({old.header.problems_digest[:8]}, "
            f"{new.header.problems_digest[:8]})"
            for old, new in different
        )
        parts += ["## Different problems", text, _list(names)]
    for title, names_of in (("first", olds.keys() - news), ("second", news.keys() - olds)):
        if names_of:
            parts += [f"## Only in the {title}", _list(map(_describe, sorted(names_of)))]
    if (provenance := _provenance_table(pairs)).rows:
        parts += ["## Provenance", to_markdown(provenance)]
    return "\n\n".join(parts) + "\n"


def _read(folder: str | Path) -> dict[RunName, Run]:
    """Read the runs of a folder by name; raise the errors that a report would raise."""
    runs = read_runs(folder)
    leaderboards(runs)
    return {run.name: run for run in runs}


def _shared_problems(old: Run, new: Run) -> tuple[Run, Run]:
    """Cut the longer run to the length of the shorter one, if it starts with the same problems."""
    count = min(len(old.episodes), len(new.episodes))
    if len(old.episodes) == len(new.episodes) or any(
        (a.start, a.goal) != (b.start, b.goal)
        for a, b in zip(old.episodes[:count], new.episodes[:count], strict=True)
    ):
        return old, new
    return replace(old, episodes=old.episodes[:count]), replace(new, episodes=new.episodes[:count])


def _same_problems(old: Run, new: Run) -> bool:
    """Whether two runs from :func:`_shared_problems` have the same problems."""
    if old.header.episode_count == new.header.episode_count:
        return old.header.problems_digest == new.header.problems_digest
    return len(old.episodes) == len(new.episodes)


def _verdict(
    comparable: _Pairs, shared: int, olds: dict[RunName, Run], news: dict[RunName, Run]
) -> str:
    changes = [_difference(old, new) for old, new in comparable]
    significant = sum(not change.includes_zero for change in changes)
    identical = sum(old.episodes == new.episodes for old, new in comparable)
    other = len(comparable) - significant - identical
    text = (
        f"{len(comparable)} runs are in both folders with the same problems: {significant} changed "
        f"significantly, {other} not significantly, {identical} are identical."
    )
    lengths = {
        len(old.episodes)
        for old, _ in comparable
        if len(old.episodes) < max(len(folder[old.name].episodes) for folder in (olds, news))
    }
    if lengths:
        text += f" Only the first {' or '.join(map(str, sorted(lengths)))} problems are compared."
    if shared > len(comparable):
        text += f" {shared - len(comparable)} have different problems."
    single = [len(olds.keys() - news), len(news.keys() - olds)]
    if any(single):
        text += f" {single[0]} are only in the first folder, {single[1]} only in the second."
    if significant:
        text += " At a level of 5%, about one in twenty unchanged runs is reported as changed."
    return text


def _difference(old: Run, new: Run) -> statistics.Estimate:
    return statistics.paired_difference(_scores(new), _scores(old))


def _scores(run: Run) -> np.ndarray:
    return np.array([[episode.score for episode in run.episodes]])


def _change_table(pairs: _Pairs) -> Table:
    rows = []
    for old, new in pairs:
        change, name = _difference(old, new), new.name
        success = [100 * np.mean([each.success_any for each in run.episodes]) for run in (old, new)]
        rows.append(
            (
                name.task,
                name.method,
                name.tracker,
                str(name.seed),
                *(f"{_scores(run).mean():.1f}" for run in (old, new)),
                format_estimate(change, "+"),
                _change_verdict(old, new, change),
                f"{success[0]:.0f} → {success[1]:.0f}",
                _time_ratio(old, new),
            )
        )
    header = (
        "Task", "Method", "Tracker", "Seed", "Before", "After", "Difference", "Verdict",
        "Success %", "Plan time ratio",
    )  # fmt: skip
    return drop_columns(Table("", header, tuple(rows)))


def _change_verdict(old: Run, new: Run, change: statistics.Estimate) -> str:
    if old.episodes == new.episodes:
        return "identical"
    if change.includes_zero:
        return "not significant"
    return "better" if change.value > 0 else "worse"


def _time_ratio(old: Run, new: Run) -> str:
    before, after = old.cost.plan, new.cost.plan
    return "" if not before or not after or not before.p50 else f"{after.p50 / before.p50:.2f}"


def _provenance_table(pairs: _Pairs) -> Table:
    """Differences in the provenance of the shared runs."""
    counts = Counter(
        (name, first or "unknown", second or "unknown")
        for old, new in pairs
        for name, (first, second) in _facts(old, new).items()
        if first != second
    )
    rows = tuple((*differs, str(number)) for differs, number in counts.items())
    return Table("", ("Property", "First", "Second", "Number of runs"), rows)


def _facts(old: Run, new: Run) -> dict[str, list[str | None]]:
    both = old.provenance, new.provenance
    packages = sorted(both[0].versions.keys() | both[1].versions.keys())
    digests = [run.header.checkpoint_digest for run in (old, new)]
    return {
        "commit": [each.commit for each in both],
        "machine": [each.machine for each in both],
        **{name: [each.versions.get(name) for each in both] for name in packages},
        f"checkpoint of {new.name.task}, {new.name.method}, seed {new.name.seed}": [
            digest and digest[:8] for digest in digests
        ],
    }


def _describe(name: RunName) -> str:
    return f"{name.task}: {name.method} · {name.tracker}, seed {name.seed}"


def _list(names: Iterable[str]) -> str:
    lines = [f"- {name}" for name in names]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"- and {len(lines) - _SHOWN} more"]
    return "\n".join(lines)
