"""A benchmark's cells as arrays: planners with trackers on tasks, ranked within a protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dfplan.bench.records import Cell, EpisodeRow
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

CONTROLLER = "controller"
"""Name of the planner that is the data's own behavior; it is not ranked."""


@dataclass(frozen=True, eq=False)
class Result:
    """A planner with a tracker on one task, with all of its training seeds.

    Attributes:
        task: what was played.
        cells: one a training seed, in the order of seeds; all met the same problems.
    """

    task: Task
    cells: tuple[Cell, ...]

    @property
    def planner(self) -> str:
        """Name of the planner."""
        return self.cells[0].name.planner

    @property
    def tracker(self) -> str:
        """Name of its tracker."""
        return self.cells[0].name.tracker

    @property
    def label(self) -> str:
        """Planner and tracker, as tables name them."""
        return self.planner if self.tracker == "own" else f"{self.planner} · {self.tracker}"

    @property
    def is_controller(self) -> bool:
        """Whether it is the data's own behavior."""
        return self.planner == CONTROLLER

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the training."""
        return tuple(cell.name.seed for cell in self.cells)

    @property
    def episodes(self) -> int:
        """Of each training seed."""
        return self.cells[0].head.episodes

    @cached_property
    def scores(self) -> np.ndarray:
        """[S, E]."""
        return self._all("score")

    @cached_property
    def mean(self) -> statistics.Estimate:
        """The score."""
        return statistics.mean(self.scores)

    @cached_property
    def most(self) -> np.ndarray:
        """Scores that no policy can exceed, [S, E]."""
        return self._all("most")

    @cached_property
    def share(self) -> float:
        """Mean score over the mean of the upper bound; 0 where the bound is 0."""
        most = float(self.most.mean())
        return float(self.scores.mean()) / most if most else 0.0

    @cached_property
    def run_shares(self) -> np.ndarray:
        """The share of each training seed, [S]."""
        most = self.most.mean(axis=1)
        return np.asarray(np.where(most > 0, self.scores.mean(axis=1) / np.where(most, most, 1), 0))

    @cached_property
    def latched(self) -> np.ndarray | None:
        """Scores if every step after the first paid one were paid, [S, E].

        None where the score does not count paid steps.
        """
        if self.task.protocol.score_kind not in ("d4rl", "return"):
            return None
        sums, unused = self._all("latched"), np.zeros(self.scores.shape)
        return self.task.scores(sums, unused, unused)

    @cached_property
    def returns(self) -> np.ndarray:
        """True sums of rewards, [S, E]."""
        return self._all("reward")

    @cached_property
    def success_any(self) -> np.ndarray:
        """Whether the goal was ever reached, bool [S, E]."""
        return self._all("success_any").astype(bool)

    @cached_property
    def success_last(self) -> np.ndarray:
        """Whether the ball was there at the end, bool [S, E]."""
        return self._all("success_last").astype(bool)

    @cached_property
    def touch(self) -> np.ndarray:
        """First step at the goal, infinite where there was none; float [S, E]."""
        return np.array(
            [[row.first_touch or np.inf for row in cell.rows] for cell in self.cells], dtype=float
        )

    @property
    def rows(self) -> tuple[EpisodeRow, ...]:
        """All episodes of all seeds."""
        return tuple(row for cell in self.cells for row in cell.rows)

    def _all(self, what: str) -> np.ndarray:
        rows = [[getattr(row, what) for row in cell.rows] for cell in self.cells]
        return np.array(rows, dtype=float)


@dataclass(frozen=True, eq=False)
class Standing:
    """All results of one protocol.

    Attributes:
        protocol: which.
        tasks: those that were played, in the protocol's order.
        labels: planners with trackers, the data's own behavior first and then by their mean share
            of the upper bound over tasks; those that miss a task come last.
        results: by label and id of the task.
    """

    protocol: Protocol
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    results: dict[tuple[str, str], Result]

    def on(self, task: Task) -> list[Result]:
        """The results on one task, the data's own behavior first and then by score."""
        found = [result for (_, name), result in self.results.items() if name == task.id]
        return sorted(
            found, key=lambda each: (not each.is_controller, -each.mean.value, each.label)
        )

    def of(self, label: str) -> list[Result]:
        """The results of one label, task by task."""
        keys = [(label, task.id) for task in self.tasks]
        return [self.results[key] for key in keys if key in self.results]

    @property
    def ranked(self) -> list[str]:
        """The labels without the data's own behavior."""
        return [label for label in self.labels if not self.of(label)[0].is_controller]

    @property
    def leading(self) -> list[str]:
        """The first of :attr:`ranked` of each planner: that with its best tracker."""
        first: dict[str, str] = {}
        for label in self.ranked:
            first.setdefault(self.of(label)[0].planner, label)
        return list(first.values())

    def share(self, label: str) -> float:
        """Mean share of the upper bound over tasks."""
        return float(np.mean([result.share for result in self.of(label)]))

    def matrix(self, label: str) -> np.ndarray | None:
        """Shares of the upper bound of each training seed on each task, [R, M].

        None where a task is missing, or no training seed has them all.
        """
        mine = self.of(label)
        common = set.intersection(*(set(result.seeds) for result in mine))
        if len(mine) < len(self.tasks) or not common:
            return None
        columns = [result.run_shares[[seed in common for seed in result.seeds]] for result in mine]
        return np.stack(columns, axis=1)

    def controller_on(self, task: Task) -> Result | None:
        """The data's own behavior on a task, if it was played."""
        return next((each for each in self.on(task) if each.is_controller), None)

    def best_on(self, task: Task) -> Result | None:
        """The result with the highest mean on a task, the data's own behavior aside."""
        return next((each for each in self.on(task) if not each.is_controller), None)


def standings(cells: Iterable[Cell]) -> list[Standing]:
    """Group cells by protocol, and rank; their order does not matter.

    Raises:
        ConfigError: an unknown protocol or task.
        DataError: cells of one task met different problems, one is there twice, or a task is of
            another protocol.
    """
    groups: dict[str, dict[tuple[str, str, str], list[Cell]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cell in sorted(cells, key=lambda cell: cell.name):
        name = cell.name
        try:
            named_protocol(name.protocol)
            named_task(name.task)
        except ConfigError as error:
            raise ConfigError(f"The cell {name.stem} of {name.task}: {error}") from error
        groups[name.protocol][name.task, name.planner, name.tracker].append(cell)
    found = {name: named_protocol(name) for name in groups}
    return [_standing(found[name], groups[name]) for name in PROTOCOLS if name in found]


def _standing(protocol: Protocol, groups: dict[tuple[str, str, str], list[Cell]]) -> Standing:
    results: dict[tuple[str, str], Result] = {}
    met: dict[str, Cell] = {}
    for (name, _, _), cells in groups.items():
        task = named_task(name)
        if task.protocol is not protocol:
            raise DataError(f"Task {name} is of {task.protocol.id}, but a cell says {protocol.id}.")
        for cell in cells:
            other = met.setdefault(name, cell)
            if cell.head.problems != other.head.problems:
                raise DataError(
                    f"{cell.name.stem} and {other.name.stem} met different problems of {name} "
                    f"({cell.head.problems[:8]}, {other.head.problems[:8]}), which share no table. "
                    "Keep them in two folders."
                )
        if len({cell.name.seed for cell in cells}) < len(cells):
            raise DataError(f"A cell of {cells[0].name.stem} on {name} is there twice.")
        result = Result(task, tuple(cells))
        results[result.label, name] = result
    tasks = tuple(task for task in tasks_of(protocol) if task.id in met)
    unranked = Standing(protocol, tasks, (), results)

    def rank(label: str) -> tuple[bool, bool, float, str]:
        mine = unranked.of(label)
        is_partial = len(mine) < len(tasks)
        return not mine[0].is_controller, is_partial, -unranked.share(label), label

    labels = sorted({label for label, _ in results}, key=rank)
    return Standing(protocol, tasks, tuple(labels), results)
