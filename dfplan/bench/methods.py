"""Methods of the benchmark: planners, policies and trackers by name, and plugins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dfplan.bench.plugins import import_plugin, source_file
from dfplan.collect.controllers import DataController
from dfplan.errors import ConfigError, unknown_name
from dfplan.evaluation.episodes import Actor
from dfplan.evaluation.protocols import Task
from dfplan.planning.graph import GraphPlanner
from dfplan.planning.planner import HasTracker
from dfplan.planning.single import ForcingPlanner
from dfplan.planning.trackers import (
    PlannedActions,
    TimedPD,
    Tracker,
    pursuit,
    timed_gains,
)
from dfplan.planning.tree import TreePlanner, TreeSettings
from dfplan.pretrained import checkpoint_path, load, load_inverse, pretrained_names
from dfplan.registry import Registry
from dfplan.suites import DEFAULT
from dfplan.tokens.motion import Motion
from dfplan.training.checkpoint import Checkpoint
from dfplan.types import Planner

NO_TRACKER = "none"
"""The tracker of a policy, which needs none."""

DEFAULT_TRACKER = "default"
"""A method's default tracker; for a plugin the one that it brings."""

PlannerOrPolicy = Planner | Actor


def _load(task: Task, seed: int, path: Any) -> Any:
    return load(path)  # a method with a checkpoint name always has a path


@dataclass(frozen=True)
class Method:
    """A planner or policy of the benchmark.

    Attributes:
        name: in commands and records.
        title: description for tables.
        checkpoint_name: function from the name of a task's data to the name of the checkpoint; None
            if nothing is trained.
        make: function from task, training seed and path of the checkpoint to the planner or policy;
            default: load the checkpoint.
        default_tracker: name of the tracker that is used unless another is requested.
        tolerance: distance from the plan at which it plans again, in units of position; None to
            plan once.
        source_file: the source file of a plugin; None for other methods.
        fixed_goal_only: whether it only knows the fixed goal of D4RL's rewards.
        plans_actions: whether its plans contain actions; None if unknown, for a plugin.
        trained: whether it uses the trained network of its checkpoint, and not only the statistics
            of the data.
    """

    name: str
    title: str
    checkpoint_name: Callable[[str], str] | None
    make: Callable[[Task, int, Path | None], PlannerOrPolicy] = _load
    default_tracker: str = "pursuit"
    tolerance: float | None = 1.0
    source_file: Path | None = None
    fixed_goal_only: bool = False
    plans_actions: bool | None = False
    trained: bool = True

    @property
    def is_policy(self) -> bool:
        """Whether it is a policy, which needs no tracker."""
        return self.default_tracker == NO_TRACKER

    @property
    def is_plugin(self) -> bool:
        """Whether it is a plugin, named by ``module:attribute``."""
        return ":" in self.name

    @property
    def has_seeds(self) -> bool:
        """Whether training seeds may differ; True for all plugins."""
        return (self.checkpoint_name is not None and self.trained) or self.is_plugin

    def checkpoint(self, task: Task, seed: int, folders: Sequence[Path]) -> Path | None:
        """Find the checkpoint for a task and a training seed; None if it needs none.

        Raises:
            ConfigError: the checkpoint is not shipped, and not in one of ``folders``.
        """
        return _find_checkpoint(f"planner {self.name!r}", self, task, seed, folders)

    def incompatibility(self, task: Task, tracker: str) -> str | None:
        """Return why the method cannot run on a task with a tracker; None if it can."""
        if self.fixed_goal_only and task.random_goals:
            return "only knows one fixed goal"
        if self.is_policy != (tracker == NO_TRACKER):
            return "needs no tracker" if self.is_policy else "needs a tracker"
        if tracker == self.default_tracker:
            return None
        if tracker == "planned-actions" and self.plans_actions is False:
            return "plans no actions"
        needs_velocity = tracker in TRACKERS and TRACKERS[tracker].needs_velocity
        if needs_velocity and not task.maze.suite.has_velocity:
            return f"tracker {tracker!r} needs velocities, which this suite does not show"
        return None


def _find_checkpoint(
    user: str, entry: Method | TrackerEntry, task: Task, seed: int, folders: Sequence[Path]
) -> Path | None:
    """Return the file of a checkpoint, or raise the error that names the command to train it."""
    if entry.checkpoint_name is None:
        return None
    name = entry.checkpoint_name(task.data)
    stem = f"{name}-s{seed}" if seed else name
    for folder in folders:
        for path in (folder / f"{stem}.safetensors", folder / stem / "checkpoint.safetensors"):
            if path.is_file():
                return path
    if stem in pretrained_names():
        return checkpoint_path(stem)
    searched = f" or in {', '.join(map(str, folders))}" if folders else ""
    raise ConfigError(
        f"Found no checkpoint {stem!r} for {user} in the package{searched}. Train it, dfplan "
        f"train {name} --settings.seed {seed} --out runs/{stem}, and name the folder: "
        "--checkpoints runs."
    )


def _prefixed(prefix: str) -> Callable[[str], str]:
    """Names of the checkpoints of a method by the name of the data; dfplan's have no prefix."""
    return lambda data: f"{prefix}-{data.removeprefix(DEFAULT.prefix + '-')}" if prefix else data


def _with_settings(**changes: Any) -> Callable[..., PlannerOrPolicy]:
    def make(task: Task, seed: int, path: Path | None) -> PlannerOrPolicy:
        planner: ForcingPlanner = _load(task, seed, path)
        return planner.with_settings(replans=0, **changes)  # no table shows a spread

    return make


def _without_guidance(task: Task, seed: int, path: Path | None) -> PlannerOrPolicy:
    planner: ForcingPlanner = _load(task, seed, path)
    guidance = replace(planner.settings.guidance, scale=0.0)
    return planner.with_settings(guidance=guidance, refine_steps=0, route_noise=math.inf, replans=0)


def _graph(task: Task, seed: int, path: Path | None) -> PlannerOrPolicy:
    planner: ForcingPlanner = _load(task, seed, path)
    return GraphPlanner(planner.model.statistics, maze=planner.maze)


def _tree_search(task: Task, seed: int, path: Path | None) -> PlannerOrPolicy:
    return TreePlanner(_load(task, seed, path), TreeSettings(evaluations=192))


def _controller(task: Task, seed: int, path: Path | None) -> PlannerOrPolicy:
    return DataController(task.maze)


_OWN = _prefixed("")
_PURE_NOISE: dict[str, Any] = {"route_noise": math.inf}
_DIFFUSER: dict[str, Any] = {"default_tracker": "diffuser", "plans_actions": True}
_OFFLINE: dict[str, Any] = {"default_tracker": NO_TRACKER, "fixed_goal_only": True}
_ENTRIES = (
    Method("controller", "the controller that collected the data", None, _controller, NO_TRACKER),
    Method("dfplan", "dfplan", _OWN, _with_settings()),
    Method("graph", "the roadmap of the data, without a network", _OWN, _graph, trained=False),
    Method("dfplan-noise", "dfplan from pure noise", _OWN, _with_settings(**_PURE_NOISE)),
    Method(
        "dfplan-unguided",
        "dfplan from pure noise, without guidance and refinement",
        _OWN,
        _without_guidance,
    ),
    Method(
        "dfplan-mcg",
        "dfplan from pure noise, Monte Carlo guidance (N=4)",
        _OWN,
        _with_settings(mc_samples=4, **_PURE_NOISE),
    ),
    Method(
        "dfplan-actions",
        "dfplan, its planned actions executed without a controller",
        lambda data: f"{data}-actions",
        default_tracker="planned-actions",
        plans_actions=True,
    ),
    Method("dfplan-tree", "dfplan, tree search (192 evaluations)", _OWN, _tree_search),
    Method(
        "full-sequence",
        "full-sequence diffusion from pure noise, dfplan's network",
        _prefixed("full-sequence"),
        _with_settings(**_PURE_NOISE),
    ),
    Method(
        "next-token",
        "next-token diffusion from pure noise, dfplan's network",
        _prefixed("next-token"),
        _with_settings(matrix="autoregressive", **_PURE_NOISE),
    ),
    Method(
        "diffuser", "Diffuser, planning once", _prefixed("diffuser"), tolerance=None, **_DIFFUSER
    ),
    Method(
        "diffuser-brief",
        "Diffuser, planning once, trained as many seconds as dfplan",
        _prefixed("diffuser-brief"),
        tolerance=None,
        **_DIFFUSER,
    ),
    Method("diffuser-replan", "Diffuser, planning again", _prefixed("diffuser"), **_DIFFUSER),
    Method("bc", "behaviour cloning", _prefixed("bc"), default_tracker=NO_TRACKER),
    Method("iql", "IQL (d3rlpy)", _prefixed("iql"), **_OFFLINE),
    Method("cql", "CQL (d3rlpy)", _prefixed("cql"), **_OFFLINE),
)

METHODS: Registry[Method] = Registry("method", {method.name: method for method in _ENTRIES})
"""Planners and policies by name."""


@dataclass(frozen=True)
class TrackerEntry:
    """A tracker of the benchmark.

    Attributes:
        title: description for tables.
        checkpoint_name: as in :class:`Method`, for the checkpoint that the tracker is made from.
            Gains that are fitted to the data come from the statistics of dfplan's checkpoint.
        make: function from the path of that checkpoint to a tracker.
        needs_velocity: whether it needs observed velocities.
    """

    title: str
    checkpoint_name: Callable[[str], str] | None
    make: Callable[[Any], Tracker]
    needs_velocity: bool = False


def _motion(path: Path) -> Motion:
    return Checkpoint.load(path).statistics.motion


def _timed(path: Path) -> Tracker:
    motion = _motion(path)
    return TimedPD(*timed_gains(motion), dt=motion.dt)


TRACKERS: Registry[TrackerEntry] = Registry(
    "tracker",
    {
        "pursuit": TrackerEntry(
            "pure pursuit of the path, gains fitted to the data",
            _OWN,
            lambda path: pursuit(_motion(path)),
        ),
        "timed": TrackerEntry(
            "PD control toward the plan's point for each time step, gains fitted to the data",
            _OWN,
            _timed,
            needs_velocity=True,
        ),
        "diffuser": TrackerEntry(
            "Diffuser's PD control in time, gains 1 and 1",
            _OWN,
            lambda path: TimedPD(1.0, 1.0, dt=_motion(path).dt),
            needs_velocity=True,
        ),
        "forcing": TrackerEntry(
            "PD control in time as published with Diffusion Forcing, gains 12.5 and 1.2 on the "
            "path",
            None,
            lambda path: TimedPD(12.5, 1.2, finite_differences=True),
            needs_velocity=True,
        ),
        "inverse": TrackerEntry(
            "inverse dynamics learned from the data", _prefixed("inverse"), load_inverse
        ),
        "planned-actions": TrackerEntry(
            "the plan's own actions", None, lambda path: PlannedActions()
        ),
    },
)
"""Trackers by name."""


def tracker_checkpoint(tracker: str, task: Task, folders: Sequence[Path]) -> Path | None:
    """Find the checkpoint that a tracker is made from; None if it needs none.

    Raises:
        ConfigError: the checkpoint is not shipped, and not in one of ``folders``.
    """
    if tracker not in TRACKERS:
        return None
    return _find_checkpoint(f"tracker {tracker!r}", TRACKERS[tracker], task, 0, folders)


def named_method(name: str) -> Method:
    """Return the method with that name, or a plugin such as ``mypackage.module:make``.

    A plugin's ``make(task, seed)`` takes a :class:`~dfplan.evaluation.protocols.Task` and a
    training seed. It returns a planner (:class:`dfplan.types.Planner`) or a policy with ``reset``
    and ``act`` (:class:`dfplan.evaluation.episodes.Actor`). A planner with a method ``tracker()``
    brings its own tracker; any other is run with pure pursuit. The task names the data to learn
    from. It also holds the maze: a method that uses it knows the walls, and should say so. The
    module is not imported here, but when the method is made.

    Raises:
        ConfigError: the name is unknown, or the module is not found.
    """
    if ":" not in name:
        if name not in METHODS:
            raise ConfigError(
                f"{unknown_name('planner', name, METHODS)} Name your own planner by its module and "
                "function: mypackage.module:make."
            )
        return METHODS[name]
    return Method(
        name,
        name,
        None,
        lambda task, seed, path: import_plugin(name)(task, seed),
        DEFAULT_TRACKER,
        source_file=source_file(name),
        plans_actions=None,
    )


def make_tracker(planner: Planner, tracker: str, task: Task, folders: Sequence[Path]) -> Tracker:
    """Make the tracker with that name; for ``default`` the planner's own, else pure pursuit."""
    if tracker not in TRACKERS and isinstance(planner, HasTracker):
        return planner.tracker()
    name = resolve_tracker(planner, tracker)
    return TRACKERS[name].make(tracker_checkpoint(name, task, folders))


def resolve_tracker(planner: Planner, tracker: str) -> str:
    """Return the name of the tracker that :func:`make_tracker` makes."""
    if tracker in TRACKERS:
        return tracker
    return DEFAULT_TRACKER if isinstance(planner, HasTracker) else "pursuit"
