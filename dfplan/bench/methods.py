"""Who plays: planners, policies and trackers by name, and a user's own by a dotted name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dfplan.bench.plugins import code_file, imported
from dfplan.collect.controllers import DataController
from dfplan.errors import ConfigError, unknown_name
from dfplan.evaluation.episodes import Actor
from dfplan.evaluation.protocols import Task
from dfplan.planning.policy import BringsTracker
from dfplan.planning.single import ForcingPlanner, PlannerSettings
from dfplan.planning.trackers import (
    DiffusedActions,
    Pursuit,
    TimedPD,
    Tracker,
    pursuit_gains,
    timed_gains,
)
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import checkpoint_path, load, load_inverse, pretrained_names
from dfplan.tokens.motion import Motion
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Planner

NO_TRACKER = "none"
"""The tracker of a policy, which needs none."""

OWN_TRACKER = "own"
"""The tracker that a user's planner brings."""

Made = Planner | Actor


@dataclass(frozen=True)
class Contender:
    """A planner or policy of the benchmark.

    Attributes:
        name: what it is asked for by.
        title: what tables call it.
        model: from what a task's planners are trained on to the name of its checkpoint; None where
            nothing is trained.
        make: from task, training seed and the checkpoint's path to the planner or policy.
        tracker: the name of the one that it is run with unless another is asked for.
        tolerance: distance from the plan at which it plans anew, in units of position; None for
            planning once.
        code: the file of a user's own module.
        one_goal: whether it knows only the goal that D4RL's data is paid for.
        plans_actions: whether its plans hold actions; None of a user's own, before it plans.
    """

    name: str
    title: str
    model: Callable[[str], str] | None
    make: Callable[[Task, int, Path | None], Made]
    tracker: str = "pursuit"
    tolerance: float | None = 1.0
    code: Path | None = None
    one_goal: bool = False
    plans_actions: bool | None = False

    @property
    def is_policy(self) -> bool:
        """Whether it acts by itself."""
        return self.tracker == NO_TRACKER

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own, by a dotted name."""
        return ":" in self.name

    @property
    def learns(self) -> bool:
        """Whether another training seed makes another of it; of a user's own it may."""
        return self.model is not None or self.is_own

    def checkpoint(self, task: Task, seed: int, folders: Sequence[Path]) -> Path | None:
        """Its checkpoint for a task and a training seed; None where it has none.

        Raises:
            ConfigError: there should be one, and it is neither shipped nor in one of ``folders``.
        """
        if self.model is None:
            return None
        return _found(f"planner {self.name!r}", self.model(task.data), seed, folders)

    def unfit(self, task: Task, tracker: str) -> str | None:
        """Why it cannot be run on a task with a tracker; None if it can."""
        if self.one_goal and task.random_goals:
            return "knows one goal"
        if self.is_policy != (tracker == NO_TRACKER):
            return "needs no tracker" if self.is_policy else "needs a tracker"
        if tracker == self.tracker:
            return None
        if tracker == "diffused" and self.plans_actions is False:
            return "plans no actions"
        needs_velocity = tracker in TRACKERS and TRACKERS[tracker].needs_velocity
        if needs_velocity and not task.maze.suite.has_velocity:
            return "follows velocities, which this suite does not show"
        return None


def _found(whose: str, name: str, seed: int, folders: Sequence[Path]) -> Path:
    """The file of a checkpoint, or the error that names what trains it."""
    stem = f"{name}-s{seed}" if seed else name
    for folder in folders:
        for path in (folder / f"{stem}.safetensors", folder / stem / "checkpoint.safetensors"):
            if path.is_file():
                return path
    if stem in pretrained_names():
        return checkpoint_path(stem)
    among = f" nor in {', '.join(map(str, folders))}" if folders else ""
    raise ConfigError(
        f"No checkpoint {stem!r} of {whose} is shipped{among}. Train it, dfplan "
        f"train {name} --settings.seed {seed} --out runs/{stem}, and name the folder: "
        "--checkpoints runs."
    )


def _rival(prefix: str) -> Callable[[str], str]:
    return lambda data: f"{prefix}-{data.removeprefix('maze2d-')}"


def _loaded(task: Task, seed: int, path: Any) -> Any:
    return load(path)  # there is one wherever a contender has a model


def _with(change: Callable[[PlannerSettings], PlannerSettings]) -> Callable[..., Made]:
    def make(task: Task, seed: int, path: Path | None) -> Made:
        planner: ForcingPlanner = _loaded(task, seed, path)
        return replace(planner, settings=change(planner.settings))

    return make


def _unguided(settings: PlannerSettings) -> PlannerSettings:
    return replace(settings, guidance=replace(settings.guidance, scale=0.0), polish=0)


def _searching(task: Task, seed: int, path: Path | None) -> Made:
    return TreePlanner(_loaded(task, seed, path), TreeSettings(evaluations=192))


def _own(data: str) -> str:
    return data


CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(
            "controller",
            "data's own controller",
            None,
            lambda task, seed, path: DataController(task.maze),
            NO_TRACKER,
        ),
        Contender("dfplan", "dfplan", _own, _loaded),
        Contender("dfplan-unguided", "dfplan without guidance and polish", _own, _with(_unguided)),
        Contender(
            "dfplan-mcg",
            "dfplan, Monte Carlo guidance (N=4)",
            _own,
            _with(lambda settings: replace(settings, futures=4)),
        ),
        Contender("dfplan-tree", "dfplan, tree search (192 evaluations)", _own, _searching),
        Contender(
            "full-sequence",
            "full-sequence diffusion, dfplan's network",
            _rival("full-sequence"),
            _loaded,
        ),
        Contender(
            "next-token",
            "next-token diffusion, dfplan's network",
            _rival("next-token"),
            _with(lambda settings: replace(settings, matrix="autoregressive")),
        ),
        Contender(
            "diffuser",
            "Diffuser, planning once",
            _rival("diffuser"),
            _loaded,
            "diffuser",
            tolerance=None,
            plans_actions=True,
        ),
        Contender(
            "diffuser-brief",
            "Diffuser, planning once, trained as many seconds as dfplan",
            _rival("diffuser-brief"),
            _loaded,
            "diffuser",
            tolerance=None,
            plans_actions=True,
        ),
        Contender(
            "diffuser-replan",
            "Diffuser, planning again",
            _rival("diffuser"),
            _loaded,
            "diffuser",
            plans_actions=True,
        ),
        Contender("bc", "behaviour cloning", _rival("bc"), _loaded, NO_TRACKER),
        Contender("iql", "IQL (d3rlpy)", _rival("iql"), _loaded, NO_TRACKER, one_goal=True),
        Contender("cql", "CQL (d3rlpy)", _rival("cql"), _loaded, NO_TRACKER, one_goal=True),
    )
}
"""Planners and policies by name."""


@dataclass(frozen=True)
class Follower:
    """A tracker of the benchmark.

    Attributes:
        title: what it is.
        model: as of a :class:`Contender`, of the checkpoint that it is made from: whose gains come
            from the data has them from the statistics of dfplan's own.
        make: from that checkpoint's path to a tracker.
        needs_velocity: whether velocities must be observed.
    """

    title: str
    model: Callable[[str], str] | None
    make: Callable[[Any], Tracker]
    needs_velocity: bool = False


def _motion(path: Path) -> Motion:
    return Checkpoint.load(path).statistics.motion


def _pursuit(path: Path) -> Tracker:
    motion = _motion(path)
    return Pursuit(pursuit_gains(motion), motion.max_step)


def _timed(path: Path) -> Tracker:
    motion = _motion(path)
    return TimedPD(*timed_gains(motion), dt=motion.dt)


TRACKERS: dict[str, Follower] = {
    "pursuit": Follower("pure pursuit of the path, gains fitted to the data", _own, _pursuit),
    "timed": Follower(
        "a PD law toward the plan in time, gains fitted to the data",
        _own,
        _timed,
        needs_velocity=True,
    ),
    "diffuser": Follower(
        "Diffuser's PD law in time, gains 1 and 1",
        _own,
        lambda path: TimedPD(1.0, 1.0, dt=_motion(path).dt),
        needs_velocity=True,
    ),
    "forcing": Follower(
        "the PD law in time of Diffusion Forcing's authors, gains 12.5 and 1.2 on the path",
        None,
        lambda path: TimedPD(12.5, 1.2, of_lines=True),
        needs_velocity=True,
    ),
    "inverse": Follower("inverse dynamics learned from the data", _rival("inverse"), load_inverse),
    "diffused": Follower("the plan's own actions", None, lambda path: DiffusedActions()),
}
"""Trackers by name."""


def tracker_checkpoint(tracker: str, task: Task, folders: Sequence[Path]) -> Path | None:
    """The checkpoint that a tracker is made from; None where it needs none.

    Raises:
        ConfigError: there should be one, and it is neither shipped nor in one of ``folders``.
    """
    model = TRACKERS[tracker].model if tracker in TRACKERS else None
    return None if model is None else _found(f"tracker {tracker!r}", model(task.data), 0, folders)


def named_contender(name: str) -> Contender:
    """The planner or policy of that name, or of a dotted one such as ``mypackage.module:make``.

    ``make(task, seed)`` takes a :class:`~dfplan.evaluation.protocols.Task` and a training seed, and
    returns a planner (:class:`dfplan.types.Planner`) or a policy with ``reset`` and ``act``
    (:class:`dfplan.evaluation.episodes.Actor`). A planner with ``tracker()`` brings its own; any
    other is run with pure pursuit. The task names the data to learn from and holds the maze; who
    looks at that is given the walls, and should say so. The module is not imported before it is
    asked to make one.

    Raises:
        ConfigError: an unknown name, or a module that is not found.
    """
    if ":" not in name:
        if name not in CONTENDERS:
            raise ConfigError(
                f"{unknown_name('planner', name, CONTENDERS)} One of your own is named by where "
                "it is made: mypackage.module:make."
            )
        return CONTENDERS[name]
    return Contender(
        name,
        name,
        None,
        lambda task, seed, path: imported(name)(task, seed),
        OWN_TRACKER,
        code=code_file(name),
        plans_actions=None,
    )


def follower(made: Planner, tracker: str, task: Task, folders: Sequence[Path]) -> Tracker:
    """The tracker of that name; a planner's own, or pure pursuit where it brings none."""
    if tracker not in TRACKERS and isinstance(made, BringsTracker):
        return made.tracker()
    name = following(made, tracker)
    return TRACKERS[name].make(tracker_checkpoint(name, task, folders))


def following(made: Planner, tracker: str) -> str:
    """The name of :func:`follower`'s."""
    if tracker in TRACKERS:
        return tracker
    return OWN_TRACKER if isinstance(made, BringsTracker) else "pursuit"
