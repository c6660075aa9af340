"""Results of a benchmark as arrays, ranked within each protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dfplan.bench.records import EpisodeRecord, Run
from dfplan.errors import ConfigError, DataError
from dfplan.evaluation import statistics
from dfplan.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    Task,
    named_protocol,
    named_task,
    tasks_of,
)

_Groups = dict[tuple[str, str, str], list[Run]]


@dataclass(frozen=True, eq=False)
class Result:
    """A method with a tracker on one task, over all its training seeds.

    S is the number of training seeds, E the number of episodes per seed.

    Attributes:
        runs: one per training seed, in the order of seeds, all on the same problems.
    """

    task: Task
    method: str
    tracker: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """Method and tracker, as tables name them."""
        return self.method if self.tracker == "default" else f"{self.method} · {self.tracker}"

    @property
    def is_controller(self) -> bool:
        """Whether the method is the data's own controller, which is not ranked."""
        return self.method == "controller"

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.name.seed for run in self.runs)

    @property
    def episode_count(self) -> int:
        return self.runs[0].header.episode_count

    @cached_property
    def scores(self) -> np.ndarray:
        """Score of each episode, [S, E]."""
        return self.values("score")

    @cached_property
    def mean_score(self) -> statistics.Estimate:
        return statistics.mean(self.scores)

    @cached_property
    def share(self) -> float:
        """Mean score divided by the mean upper bound; 0 if the bound is 0."""
        bound = float(self.values("upper_bound").mean())
        return float(self.scores.mean()) / bound if bound else 0.0

    @cached_property
    def seed_shares(self) -> np.ndarray:
        """:attr:`share` of each training seed, [S]."""
        bound = self.values("upper_bound").mean(axis=1)
        shares = self.scores.mean(axis=1) / np.where(bound, bound, 1)
        return np.asarray(np.where(bound > 0, shares, 0))

    @cached_property
    def latched_scores(self) -> np.ndarray | None:
        """Scores if every step after the first one at the goal were rewarded, [S, E].

        None if the score does not use the return.
        """
        if self.task.protocol.score_kind not in ("normalized", "return"):
            return None
        returns, unused = self.values("latched_return"), np.zeros(self.scores.shape)
        return self.task.scores(returns, unused, unused)

    @property
    def episodes(self) -> tuple[EpisodeRecord, ...]:
        """All episodes of all training seeds."""
        return tuple(episode for run in self.runs for episode in run.episodes)

    def values(self, name: str) -> np.ndarray:
        """Return a field of :class:`~dfplan.bench.records.EpisodeRecord` as numbers, [S, E]."""
        values = [[getattr(episode, name) for episode in run.episodes] for run in self.runs]
        return np.array(values, dtype=float)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All results under one protocol.

    Attributes:
        tasks: the tasks that have results, in the protocol's order.
        labels: the labels of methods with trackers: the data's own controller first, then by mean
            share of the upper bound over tasks. Those without results on some task come last.
        results: the results by label and id of the task.
    """

    protocol: Protocol
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    results: dict[tuple[str, str], Result]

    def results_on(self, task: Task) -> list[Result]:
        """Return the results on a task: the data's own controller first, then by score."""
        results = [result for (_, name), result in self.results.items() if name == task.id]
        return sorted(
            results, key=lambda each: (not each.is_controller, -each.mean_score.value, each.label)
        )

    def results_of(self, label: str) -> list[Result]:
        """Return the results of a label, in the order of tasks."""
        found = (self.results.get((label, task.id)) for task in self.tasks)
        return [result for result in found if result is not None]

    @property
    def ranked(self) -> list[str]:
        """The labels without the data's own controller."""
        return [label for label in self.labels if not self.results_of(label)[0].is_controller]

    @property
    def complete(self) -> list[str]:
        """The labels in :attr:`ranked` with results on all tasks, from best to worst."""
        return [label for label in self.ranked if len(self.results_of(label)) == len(self.tasks)]

    @property
    def best(self) -> list[str]:
        """The labels in :attr:`complete` with the largest mean share of the upper bound."""
        return [
            label for label in self.complete if self.share(label) == self.share(self.complete[0])
        ]

    @property
    def best_trackers(self) -> list[str]:
        """The first label of each method in :attr:`ranked`: the method with its best tracker."""
        first: dict[str, str] = {}
        for label in self.ranked:
            first.setdefault(self.results_of(label)[0].method, label)
        return list(first.values())

    def share(self, label: str) -> float:
        """Mean share of the upper bound over tasks."""
        return float(np.mean([result.share for result in self.results_of(label)]))

    def seed_shares(self, label: str) -> np.ndarray | None:
        """Share of the upper bound for each training seed and task, [R, M].

        None if a task is missing, or no training seed has all tasks.
        """
        results = self.results_of(label)
        common = set.intersection(*(set(result.seeds) for result in results))
        if len(results) < len(self.tasks) or not common:
            return None
        columns = [
            result.seed_shares[[seed in common for seed in result.seeds]] for result in results
        ]
        return np.stack(columns, axis=1)


def leaderboards(runs: Iterable[Run]) -> list[Leaderboard]:
    """Group runs by protocol and rank them. The order of ``runs`` does not matter.

    Raises:
        ConfigError: a protocol or task is unknown.
        DataError: runs of one task have different problems, a run occurs twice, or a task belongs
            to another protocol.
    """
    groups: dict[str, _Groups] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: run.name):
        name = run.name
        try:
            named_protocol(name.protocol)
            named_task(name.task)
        except ConfigError as error:
            raise ConfigError(f"The run {name.stem} of {name.task}: {error}") from error
        groups[name.protocol][name.task, name.method, name.tracker].append(run)
    return [_leaderboard(PROTOCOLS[name], groups[name]) for name in PROTOCOLS if name in groups]


def _leaderboard(protocol: Protocol, groups: _Groups) -> Leaderboard:
    results: dict[tuple[str, str], Result] = {}
    first_runs: dict[str, Run] = {}
    for (name, method, tracker), runs in groups.items():
        task = named_task(name)
        if task.protocol is not protocol:
            raise DataError(
                f"Task {name} belongs to {task.protocol.id}, but a run names {protocol.id}."
            )
        for run in runs:
            other = first_runs.setdefault(name, run)
            if run.header.problems_digest != other.header.problems_digest:
                raise DataError(
                    f"{run.name.stem} and {other.name.stem} have different problems of {name} "
                    f"({run.header.problems_digest[:8]}, {other.header.problems_digest[:8]}), "
                    "which cannot share a table. Keep them in two folders."
                )
        if len({run.name.seed for run in runs}) < len(runs):
            raise DataError(f"A run of {runs[0].name.stem} on {name} occurs twice.")
        result = Result(task, method, tracker, tuple(runs))
        results[result.label, name] = result
    tasks = tuple(task for task in tasks_of(protocol) if task.id in first_runs)
    unranked = Leaderboard(protocol, tasks, (), results)

    def rank(label: str) -> tuple[bool, bool, float, str]:
        of_label = unranked.results_of(label)
        is_partial = len(of_label) < len(tasks)
        return not of_label[0].is_controller, is_partial, -unranked.share(label), label

    labels = sorted({label for label, _ in results}, key=rank)
    return Leaderboard(protocol, tasks, tuple(labels), results)
