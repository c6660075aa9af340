"""Records that pass between the rooms, and the five signatures that everything hangs on.

Shape alphabet: ``B`` batch, ``T`` tokens, ``D`` features of a token, ``K`` noise levels, ``M``
rows of a scheduling matrix, ``C`` candidates, ``N`` sampled futures, ``P`` points of a plan.
A noise level is an integer: 0 is clean, K is pure noise. Positions are in the environment's own
units and frame (for Maze2D: D4RL's, one unit a cell).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from dfplan.errors import DataError
from dfplan.record import Record

if TYPE_CHECKING:
    import torch

    from dfplan.plotting.output import Output
    from dfplan.plotting.videos import Film


@dataclass(frozen=True)
class FileStamp:
    """What a file looked like at some moment, to tell later whether it was changed.

    Attributes:
        path: of the file.
        size: in bytes.
        mtime_ns: when its content was last changed, in nanoseconds; tools such as ``cp -p`` set it.
        ctime_ns: when anything of it was last changed, which no tool sets.
        inode: changes where another file takes its place.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class Recording(Record):
    """A data file as it is: nothing left out, nothing mended, nothing added.

    Its arrays may be mapped from the file; those that it is made with are not copied
    (:func:`dfplan.data.from_arrays` copies). A row is an observation, the action taken there and
    what the environment paid for it.

    Attributes:
        observations: position, then velocity where it was recorded; float32 or float64 [N, 2] or
            [N, 4].
        actions: float32 or float64 [N, 2].
        episodes: first row of each episode or stream of the file; int64 [E], from 0 upwards.
        source: where it came from, for messages and checkpoints.
        rewards: float [N], or None.
        goals: the goal pursued at each row; float [N, 2], or None.
        terminals: where the environment said that the episode was over; bool [N], or None.
        timeouts: where the file marks an end for another reason; bool [N], or None.
        bare_ends: episodes whose last row is an observation alone, what follows their last action;
            its action and reward are zeros. Bool [E], or None for no such episode.
        maze: the maze as text where the file names it.
        mapped: the files that arrays are mapped from, when they were read. The arrays change
            with them; see :func:`dfplan.data.storage.require_unchanged`.
    """

    observations: np.ndarray
    actions: np.ndarray
    episodes: np.ndarray
    source: str
    rewards: np.ndarray | None = None
    goals: np.ndarray | None = None
    terminals: np.ndarray | None = None
    timeouts: np.ndarray | None = None
    bare_ends: np.ndarray | None = None
    maze: str | None = None
    mapped: tuple[FileStamp, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True)
class Trajectories(Record):
    """Recorded motion: one flat array a field, cut into continuous segments.

    The arrays may be mapped from a file; rows outside of every segment are not to be looked at.

    Attributes:
        observations: position, then velocity where it was recorded; float32 or float64 [N, 2] or
            [N, 4].
        actions: float32 or float64 [N, 2].
        rewards: as stored in the file; float [N], or None where it has none.
        goals: the goal that the collecting controller pursued; float [N, 2], or None.
        segments: first and one-past-last index of each continuous stretch; int64 [S, 2].
        fingerprint: sha256 of observations, actions and segments.
        source: where the data came from, for messages and checkpoints.
        maze: the maze as text where the file names it; only drawn, never learned from.
        mapped: as in :class:`Recording`.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray | None
    goals: np.ndarray | None
    segments: np.ndarray
    fingerprint: str
    source: str
    maze: str | None = None
    mapped: tuple[FileStamp, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True)
class SearchTree(Record):
    """Every plan that a tree search made, for a batch of B problems.

    Nodes are in the order in which they were made; node 0 is the root, which is no plan. A tree
    that has fewer than N nodes ends in ones that are none, as the root's parent is none: -1.

    Attributes:
        parent: node that each was made from; int [B, N].
        points: the plans, as :attr:`Plan.points`; float32 [B, N, P, 2].
        scores: higher is better; float32 [B, N], ``-inf`` where there is no plan.
        visits: how often the search came by each; int [B, N].
    """

    parent: np.ndarray
    points: np.ndarray
    scores: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class Moment(Record):
    """Plans on their way from noise: what one row of the scheduling matrix left.

    Attributes:
        row: its number, from 1...
        rows: ...to this one.
        level: noise level of each point's token; int [B, C, P].
        points: where the points seem to be; float32 [B, C, P, 2].
    """

    row: int
    rows: int
    level: np.ndarray
    points: np.ndarray


Watch = Callable[[Moment], None]
"""Called while a plan is made, after each row; what it raises ends the planning."""


@dataclass(frozen=True)
class Plan(Record):
    """What a planner intends, for a batch of B problems.

    Attributes:
        points: planned positions, ``stride`` environment steps apart, the first the current
            one; after arrival the last is repeated. Float32 [B, P, 2].
        steps: environment steps until the plan's end; int [B].
        stride: environment steps between two points.
        level: noise level left on each point's token when sampling stopped; int [B, P].
        max_level: K, the level that is pure noise.
        spread: root mean square distance from each point to the sampled futures (the candidates'
            lines), in units of position; float32 [B, P].
        candidates: the plans that were compared; float32 [B, C, P, 2].
        scores: score of each candidate, higher is better (see the planner); float32 [B, C].
        observation: what was planned from; float32 [B, 4].
        goal: where to; float32 [B, 2], or None for a plan by reward alone.
        trace: the denoising of the chosen candidate: one (level int [B, P], points float32
            [B, P, 2]) a row of the scheduling matrix; empty unless asked for.
        evaluations: network evaluations a problem cost, one a sequence of tokens.
        seconds: wall time of the call.
        maze: the maze as text, only for drawing; None where it is not known.
        velocities: planned velocity at each point, where the planner plans it; float32
            [B, P, 2], or None.
        past: what the positions of a noisy past were, by the planner's estimate, as far apart as
            the points; the last is the first point. Float32 [B, H, 2], or None.
        actions: planned action at each point, where the planner plans it; float32 [B, P, 2], or
            None.
        tree: the search that it was found by, where it was asked for; or None.
    """

    points: np.ndarray
    steps: np.ndarray
    stride: int
    level: np.ndarray
    max_level: int
    spread: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    observation: np.ndarray
    goal: np.ndarray | None
    evaluations: int
    seconds: float
    trace: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    maze: str | None = None
    velocities: np.ndarray | None = None
    past: np.ndarray | None = None
    actions: np.ndarray | None = None
    tree: SearchTree | None = None

    def __len__(self) -> int:
        return len(self.points)

    def plot(
        self,
        path: Output,
        *,
        executed: np.ndarray | None = None,
        row: int = 0,
        theme: str = "light",
        format: str | None = None,
    ) -> Path | Any:
        """Draw problem ``row``: maze, start, goal, tokens by noise level and by spread.

        Single pictures, on axes of your own, are drawn by :mod:`dfplan.plotting`.

        Args:
            path: picture to write (PNG, SVG or PDF by its ending), or a file that is open for
                bytes, such as :class:`io.BytesIO`.
            executed: positions that were really visited, float [S, 2], drawn over the plan.
            row: which problem of the batch.
            theme: ``light`` or ``dark``.
            format: ``png``, ``svg`` or ``pdf``, instead of the ending; of a file by default PNG.

        Returns:
            The path or file that was written.

        Raises:
            ConfigError: unknown ending, format or theme, no such row, or a file that takes no
                bytes.
            DataError: positions of another shape, or not finite.
            OSError: the picture cannot be written; nothing is left behind.
        """
        from dfplan.plotting.figures import checked_path, plan_figure, save

        checked_path(path, format)
        return save(plan_figure(self, row=row, executed=executed, theme=theme), path, format)

    def plot_denoising(
        self,
        path: Output,
        *,
        row: int = 0,
        panels: int = 6,
        theme: str = "light",
        format: str | None = None,
    ) -> Path | Any:
        """Draw the denoising of problem ``row`` as a strip, near future certain first.

        The plan must have been made with ``trace=True``.

        Args:
            path: picture to write, as in :meth:`plot`.
            row: which problem of the batch.
            panels: pictures in the strip.
            theme: ``light`` or ``dark``.
            format: as in :meth:`plot`.

        Returns:
            The path or file that was written.

        Raises:
            ConfigError: what :meth:`plot` raises it for, or ``panels`` below 1.
            DataError: the plan has no trace.
            OSError: the picture cannot be written; nothing is left behind.
        """
        from dfplan.plotting.figures import checked_path, denoising_figure, save

        checked_path(path, format)
        figure = denoising_figure(self, row=row, panels=panels, theme=theme)
        return save(figure, path, format)

    def animate(self, *, row: int = 0, width: int = 640, theme: str = "light") -> Film:
        """Problem ``row`` as a film that plays in a notebook: its search, or its denoising.

        The plan must have been made with ``trace=True``.

        Args:
            row: which problem of the batch.
            width: of a frame, in pixels.
            theme: ``light`` or ``dark``.

        Raises:
            ConfigError: unknown theme, or no such row.
            DataError: the plan has neither tree nor trace.
        """
        from dfplan.plotting.videos import Film, denoising_frames, tree_frames

        frames = denoising_frames if self.tree is None else tree_frames
        return Film(tuple(frames(self, row=row, width=width, theme=theme)))

    def _repr_html_(self) -> str:
        from dfplan.plotting.figures import page_html, plan_figure

        return page_html(plan_figure(self))


@dataclass(frozen=True)
class Rollout(Record):
    """A drive through an environment, and the plans that it followed.

    Attributes:
        positions: where the body was, the start first; float [S + 1, 2].
        rewards: what each step paid; float [S].
        plans: (step at which it was made, plan for one problem) in their order.
        goal: where to; float [2], or None.
        reached: the first step that ended at the goal, from 1; None where none did.
        maze: the maze as text, only for drawing; None where it is not known.
    """

    positions: np.ndarray
    rewards: np.ndarray
    plans: tuple[tuple[int, Plan], ...]
    goal: np.ndarray | None
    reached: int | None
    maze: str | None = None

    def plot(self, path: Output, *, theme: str = "light", format: str | None = None) -> Path | Any:
        """Draw the first plan and the path driven: see :meth:`Plan.plot`.

        Raises:
            DataError: no plan was made.
        """
        plan = self._first_plan()
        return plan.plot(path, executed=self.positions, theme=theme, format=format)

    def animate(self, *, width: int = 640, theme: str = "light") -> Film:
        """The drive as a film that plays in a notebook.

        Args:
            width: of a frame, in pixels.
            theme: ``light`` or ``dark``.

        Raises:
            ConfigError: unknown theme.
        """
        from dfplan.plotting.videos import Film, drive_frames

        return Film(tuple(drive_frames(self, width=width, theme=theme)))

    def _first_plan(self) -> Plan:
        if not self.plans:
            raise DataError("No plan was made on this drive, so there is none to draw.")
        return self.plans[0][1]

    def _repr_html_(self) -> str:
        from dfplan.plotting.figures import page_html, plan_figure

        return page_html(plan_figure(self._first_plan(), executed=self.positions))


class Denoiser(Protocol):
    """Estimates clean tokens. ``x`` float [B, T, D], ``level`` int [B, T] -> float [B, T, D]."""

    def __call__(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor: ...


class Reward(Protocol):
    """Values plans: positions [B, P, 2], reached at environment steps [P], to [B].

    All float, and the result differentiable in the positions. These are in physical units, the
    last repeated after arrival.
    """

    def __call__(self, points: torch.Tensor, steps: torch.Tensor) -> torch.Tensor: ...


class Step(Protocol):
    """One step of a sampler: from ``level`` to ``next_level`` (int [B, T]) -> [B, T, D].

    ``clean`` is the clean estimate of ``x`` at ``level``; ``previous`` is the clean estimate and
    the level of the row before, None in the first row. A step keeps no state of its own. Only
    the tokens whose level falls are taken from what it returns.
    """

    def __call__(
        self,
        x: torch.Tensor,
        clean: torch.Tensor,
        level: torch.Tensor,
        next_level: torch.Tensor,
        generator: torch.Generator,
        previous: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor: ...


SampleCallback = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], None]
"""Called after each row with (x [B, T, D], clean estimate [B, T, D], level int [B, T])."""


@runtime_checkable
class Planner(Protocol):
    """Plans from observations to goals or by reward; batched."""

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """Plan from ``observation`` ([4] or [B, 4]) to ``goal`` ([2] or [B, 2])."""
        ...
