"""Records of a benchmark: every episode as a line of JSON, and what the episodes cost.

A run is one method with one tracker and one training seed on one task. The folder ``cells/<task>/``
holds two files per run:

- ``<method>+<tracker>+<seed>.jsonl``: a header that says what was run, then one line per episode.
  The content depends on nothing else, so two runs on one machine write the same bytes.
- the same name with ``.json``: costs, provenance, and example plans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len
from pydantic_core import from_json

from dfplan.bench.provenance import Provenance
from dfplan.bench.schema import (
    RERUN,
    STORED_FIELDS,
    STORED_TRACKERS,
    Count,
    Duration,
    Number,
    PositiveCount,
    Stored,
    damaged,
    read_json,
    to_mapping,
)
from dfplan.errors import DataError
from dfplan.files import atomic_path, expand_path
from dfplan.record import Record

FORMAT = 2
"""Version of the files; other versions are refused."""

_TRACKERS = {stored: tracker for tracker, stored in STORED_TRACKERS.items()}
_NAME_FIELDS = ("protocol", "task", STORED_FIELDS["method"], "tracker", "seed")

Line = Annotated[list[Annotated[list[Number], Len(2, 2)]], Len(1)]


@dataclass(frozen=True, order=True)
class RunName(Stored):
    """Identifies a run.

    Attributes:
        protocol: id of a :class:`~dfplan.evaluation.protocols.Protocol`.
        task: id of one of its tasks.
        method: name of a method, or of a plugin, such as ``package.module:make``.
        tracker: name of the tracker that turns plans into actions; ``none`` for a policy;
            ``default`` for a plugin's own.
        seed: training seed.
    """

    protocol: str
    task: str
    method: str
    tracker: str
    seed: Count

    @property
    def stem(self) -> str:
        """Name of the run's files, without folder and suffix. It identifies a run of a task."""
        method = self.method.replace(":", "=")  # some file systems allow no colons
        tracker = STORED_TRACKERS.get(self.tracker, self.tracker)
        return re.sub(r"[^\w.+=-]", "_", f"{method}+{tracker}+{self.seed}")


@dataclass(frozen=True)
class RunHeader(Stored):
    """The first line of a run's episodes.

    Attributes:
        split: ``test``, or ``validation`` for tuning.
        problems_digest: sha256 of starts, goals and seeds.
        checkpoint_digest: sha256 of the method's checkpoint, or of a plugin's source file; None if
            there is neither.
        tracker_digest: sha256 of the tracker's checkpoint, if it has one.
    """

    name: RunName
    episode_count: Count
    split: str
    problems_digest: str
    checkpoint_digest: str | None
    tracker_digest: str | None = None


@dataclass(frozen=True)
class EpisodeRecord(Stored):
    """One episode.

    Attributes:
        episode: index among the task's problems, from 0.
        stratum: the suite's start-goal pair, or the stratum of path length, from 1; 0 if there is
            neither.
        start: the first observation, in the suite's coordinates.
        score: the episode's score under the protocol.
        upper_bound: upper bound on the score of any policy on this problem.
        episode_return: sum of rewards.
        latched_return: sum of rewards if every step after the first one at the goal were rewarded.
        steps_to_goal: first step, from 1, that ended at the goal; None if none did.
        steps: length of the episode.
        success_any: whether any step ended at the goal.
        success_last: whether the last step ended at the goal.
        error: what the method did wrong, if anything.
    """

    episode: Count
    stratum: Count
    start: tuple[Number, ...]
    goal: tuple[Number, Number]
    score: Number
    upper_bound: Number
    episode_return: Number
    latched_return: Number
    steps_to_goal: PositiveCount | None
    steps: Count
    success_any: bool
    success_last: bool
    error: str | None


@dataclass(frozen=True)
class Quantiles(Stored):
    """Quantiles of measured times.

    Attributes:
        p50, p95, p99: percentiles, in seconds.
        count: number of measurements.
    """

    p50: Duration
    p95: Duration
    p99: Duration
    count: Count


@dataclass(frozen=True)
class Cost(Stored):
    """What a run cost. None means unknown or not applicable.

    Attributes:
        plan: seconds per plan, for one problem, on one thread.
        step: seconds per step of the policy, for one episode, including its plans.
        evaluations: network evaluations per plan.
        training_seconds: CPU time of the training, summed over cores.
        training_steps: number of steps of the optimizer.
        peak_bytes: peak memory of the worker process.
        seconds: wall time of the episodes.
        policy_seconds: part of it that the method and its tracker took.
        environment_seconds: part of it that the environments took.
    """

    plan: Quantiles | None = None
    step: Quantiles | None = None
    evaluations: Duration | None = None
    parameters: Count | None = None
    training_seconds: Duration | None = None
    training_steps: Count | None = None
    peak_bytes: Count | None = None
    seconds: Duration = 0.0
    policy_seconds: Duration = 0.0
    environment_seconds: Duration = 0.0


@dataclass(frozen=True)
class Example(Record, Stored):
    """A plan and its execution, in the suite's coordinates.

    Attributes:
        episode: index of the episode.
        plan: points of the first plan, [P, 2]; None for a policy, which makes no plan.
        path: visited positions, from the start until shortly after the goal was reached; [S, 2].
    """

    episode: Count
    plan: Line | None
    path: Line


@dataclass(frozen=True)
class Run(Record):
    """All that is stored about one run; the examples are the problems with the longest paths."""

    header: RunHeader
    episodes: tuple[EpisodeRecord, ...]
    cost: Cost
    examples: tuple[Example, ...]
    provenance: Provenance

    @property
    def name(self) -> RunName:
        return self.header.name


def episodes_text(header: RunHeader, episodes: Iterable[EpisodeRecord]) -> str:
    """Return the content of a run's ``.jsonl`` file."""
    first = {"format": FORMAT, **to_mapping(header.name), **to_mapping(header)}
    first["tracker"] = STORED_TRACKERS.get(header.name.tracker, header.name.tracker)
    del first["name"]
    return "".join([json.dumps(first, allow_nan=False) + "\n", *episode_lines(episodes)])


def episode_lines(episodes: Iterable[EpisodeRecord]) -> Iterator[str]:
    """Return the line of each episode in a run's ``.jsonl`` file."""
    for episode in episodes:
        yield json.dumps(to_mapping(episode), allow_nan=False) + "\n"


def metadata_text(cost: Cost, examples: Sequence[Example], provenance: Provenance) -> str:
    """Return the content of a run's ``.json`` file."""
    content = {
        "format": FORMAT,
        "cost": asdict(cost),
        "provenance": asdict(provenance),
        "examples": [asdict(example) for example in examples],
    }
    return json.dumps(content, allow_nan=False) + "\n"


def run_path(folder: str | Path, name: RunName) -> Path:
    """Return the path of a run's ``.jsonl`` file in the folder of a benchmark."""
    return Path(folder) / "cells" / name.task / f"{name.stem}.jsonl"


def run_paths(folder: str | Path, task: str = "*") -> list[Path]:
    """Return the paths of all runs in the folder of a benchmark, or of those of one task."""
    # Names of files that were not written completely start with a dot.
    return sorted(Path(folder).glob(f"cells/{task}/[!.]*.jsonl"))


def write_run(folder: str | Path, name: RunName, episodes: str, metadata: str) -> Path:
    """Write the texts of :func:`episodes_text` and :func:`metadata_text`; return the former's path.

    The metadata is written first, so a run that has its episodes is complete.
    """
    path = run_path(folder, name)
    for target, text in ((path.with_suffix(".json"), metadata), (path, episodes)):
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def read_header(path: str | Path) -> RunHeader:
    """Read the header of a run.

    Raises:
        DataError: the file is not a run, or has another format.
    """
    return _read_header(Path(path), _content(Path(path)).partition(b"\n")[0])


def read_episodes(path: str | Path) -> list[EpisodeRecord]:
    """Read the episodes of a ``.jsonl`` file; an incomplete last line is left out.

    Raises:
        DataError: the file cannot be read, or another line is damaged.
    """
    lines = _content(Path(path)).splitlines(keepends=True)
    return _read_episodes(Path(path), [line for line in lines if line.endswith(b"\n")])


def read_run(path: str | Path) -> Run:
    """Read a run by the path of its ``.jsonl`` file.

    Raises:
        DataError: a file is missing, damaged, or of another format.
    """
    path = Path(path)
    lines = _content(path).splitlines()
    header = _read_header(path, lines[0] if lines else b"")
    episodes = _read_episodes(path, lines)
    for number, episode in enumerate(episodes):
        if episode.episode != number:
            raise damaged(path, number + 2, f"expected episode {number}, got {episode.episode}")
    if len(episodes) != header.episode_count or not episodes:
        raise damaged(
            path, len(lines), f"expected {header.episode_count} episodes, got {len(episodes)}"
        )
    metadata_path = path.with_suffix(".json")
    content = _content(metadata_path)
    _require_format(metadata_path, content)
    metadata: _Metadata = read_json(_Metadata, metadata_path, 1, content)
    for example in metadata.examples:
        if example.episode >= len(episodes):
            raise damaged(metadata_path, 1, f"there is no episode {example.episode}")
    return Run(header, tuple(episodes), metadata.cost, metadata.examples, metadata.provenance)


def read_runs(folder: str | Path) -> list[Run]:
    """Read all runs in the folder of a benchmark, sorted by name.

    Raises:
        DataError: there is no run, or one cannot be read.
    """
    folder = expand_path(folder)
    paths = run_paths(folder)
    if not paths:
        raise DataError(
            f"Expected results of a benchmark in {folder}; there are none. Make them with "
            "dfplan bench --out."
        )
    runs = [read_run(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if path != (expected := run_path(folder, run.name)):
            raise DataError(f"{path} contains the run that belongs to {expected}. {RERUN}")
    return sorted(runs, key=lambda run: run.name)


@dataclass(frozen=True)
class _Metadata(Stored):
    """The content of a run's ``.json`` file."""

    format: int
    cost: Cost
    provenance: Provenance
    examples: tuple[Example, ...]


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"Expected a file of a benchmark at {path}; there is none. {RERUN}")
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). {RERUN}") from error


def _read_header(path: Path, line: bytes) -> RunHeader:
    content = _require_format(path, line)
    name = {key: content.pop(key) for key in _NAME_FIELDS if key in content}
    del content["format"]
    header: RunHeader = read_json(RunHeader, path, 1, json.dumps({"name": name, **content}))
    tracker = _TRACKERS.get(header.name.tracker, header.name.tracker)
    return replace(header, name=replace(header.name, tracker=tracker))


def _read_episodes(path: Path, lines: Sequence[bytes]) -> list[EpisodeRecord]:
    """Read the lines after the header."""
    return [
        read_json(EpisodeRecord, path, number, line) for number, line in enumerate(lines[1:], 2)
    ]


def _require_format(path: Path, line: bytes) -> dict[str, Any]:
    """Return the object in a first line, which names its format."""
    try:
        content = from_json(line)
    except ValueError as error:
        raise damaged(path, 1, error) from error
    if not isinstance(content, dict) or "format" not in content:
        raise damaged(path, 1, "expected an object with 'format'")
    if content["format"] != FORMAT:
        raise DataError(
            f"{path} has format {content['format']!r:.40}; this version of dfplan reads format "
            f"{FORMAT}. Run the benchmark into another folder."
        )
    return content
