"""Records that packages exchange, and the signatures of the exchangeable parts.

Dimensions in shapes: ``B`` batch, ``T`` tokens, ``D`` features of a token, ``K`` noise levels,
``M`` rows of a scheduling matrix, ``C`` candidates, ``N`` nodes or rows of data, ``P`` points of a
plan. A noise level is an integer from 0 (clean) to K (pure noise). Positions are in the suite's
coordinates and units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from dfplan.errors import DataError
from dfplan.lines import too_long
from dfplan.observations import PLANAR, ObservationLayout
from dfplan.record import Record
from dfplan.regions import RegionTable

if TYPE_CHECKING:
    import torch
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from dfplan.plotting.output import Output
    from dfplan.plotting.videos import Video


@dataclass(frozen=True)
class FileStamp:
    """Identifies the content of a file, to detect later changes.

    Attributes:
        path: of the file.
        size: in bytes.
        mtime_ns: time of the last change of the content, in nanoseconds; programs can set it.
        ctime_ns: time of the last change of content or metadata; programs cannot set it.
        inode: differs if another file replaced this one.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class Recording(Record):
    """The unchanged content of a data file.

    Each row holds an observation, the action taken there and the reward of that step. Arrays may
    be memory-mapped. The constructor does not copy them; :func:`dfplan.data.from_arrays` does.

    Attributes:
        observations: by default position, then velocity if recorded; float32 or float64 [N, S].
        actions: float32 or float64 [N, A].
        episodes: first row of each episode, ascending, starting with 0; int64 [E].
        source: origin of the data, for messages and checkpoints.
        rewards: float [N]; None if not recorded.
        goals: the goal pursued at each row; float [N, 2]; None if not recorded.
        terminals: whether the environment terminated the episode at this row; bool [N]; None if
            not recorded.
        timeouts: whether the file marks an end for another reason; bool [N]; None if not
            recorded.
        final_observations: episodes whose last row holds only the observation after the last
            action; the row's action and reward are zeros. Bool [E]; None means that there
            are no such episodes.
        maze: text of the maze (:attr:`dfplan.mazes.Maze.text`) if the file has it.
        mapped: the files that arrays are mapped from, as they were when they were read. Later
            changes of a file change the arrays; see
            :func:`dfplan.data.storage.require_unchanged`.
        layout: the columns of the observations. By default they are position and velocity, or the
            position alone.
    """

    observations: np.ndarray
    actions: np.ndarray
    episodes: np.ndarray
    source: str
    rewards: np.ndarray | None = None
    goals: np.ndarray | None = None
    terminals: np.ndarray | None = None
    timeouts: np.ndarray | None = None
    final_observations: np.ndarray | None = None
    maze: str | None = None
    mapped: tuple[FileStamp, ...] = field(default=(), compare=False)
    layout: ObservationLayout = PLANAR

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True)
class Trajectories(Record):
    """Recorded motion: arrays over all rows, and the segments of continuous motion.

    Arrays may be memory-mapped. Rows outside all segments must not be used.

    Attributes:
        observations: by default position, then velocity if recorded; float32 or float64 [N, S].
        actions: float32 or float64 [N, A].
        rewards: as stored in the file; float [N]; None if not recorded.
        goals: the goal pursued by the collecting controller; float [N, 2]; None if not recorded.
        segments: first row, and one past the last row, of each segment; int64 [S, 2].
        fingerprint: sha256 of observations, actions and segments.
        source: origin of the data, for messages and checkpoints.
        maze: text of the maze if the file has it; used for drawing, never for training.
        mapped: as in :class:`Recording`.
        layout: as in :class:`Recording`.
        jumps: rows that begin a segment because the position jumped there, in the episode of the
            segment before; int64 [J].
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
    layout: ObservationLayout = PLANAR
    jumps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True)
class SearchTree(Record):
    """All plans of a tree search, for a batch of B queries.

    Nodes are in order of creation. Node 0 is the root, whose plan the network did not make. Trees
    with fewer than N nodes are padded at the end; the parent of padding, and of the root, is -1.

    Attributes:
        parent: the node that each node extends; int [B, N].
        points: the plans, as :attr:`Plan.points`; float32 [B, N, P, 2].
        begins: index of the point at which the segment of each node begins; int [B, N].
        ends: index of the point at which it ends; int [B, N]. From there on, a plan follows the
            recorded way.
        arrived: whether the network made the whole plan; bool [B, N].
        scores: higher is better; float32 [B, N], ``-inf`` for nodes without a plan.
        visits: visit count of each node; int [B, N].
    """

    parent: np.ndarray
    points: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    arrived: np.ndarray
    scores: np.ndarray
    visits: np.ndarray


@dataclass(frozen=True)
class DenoisingStep(Record):
    """Partly denoised plans after one row of the scheduling matrix.

    Attributes:
        row: index of the row, from 1 to ``rows``.
        rows: number of rows.
        level: noise level of each point's token; int [B, C, P].
        points: estimates of the clean points; float32 [B, C, P, 2].
        regions: radii of prediction regions by noise level; None if they were not measured.
    """

    row: int
    rows: int
    level: np.ndarray
    points: np.ndarray
    regions: RegionTable | None = None


@dataclass(frozen=True)
class Floor(Record):
    """Where the data has been: all that a planner knows about walls.

    Attributes:
        origin: position of the outer corner of cell (0, 0); float64 [2].
        resolution: side of a cell, in units of position.
        visited: whether the data has been in the cell, or in the cells around it; bool [G0, G1].
    """

    origin: np.ndarray
    resolution: float
    visited: np.ndarray


@dataclass(frozen=True)
class Future(Record):
    """One of the ways in which an episode can continue if it jumps off a plan.

    Attributes:
        query: index of the plan in its batch.
        point: the point of the plan after which the jump happens.
        probability: of this future, at the start of the plan.
        arrival: probability of reaching the goal after the jump.
        points: the expected way from the landing to the goal, float32 [Q, 2]; the landing alone if
            no way leads on.
    """

    query: int
    point: int
    probability: float
    arrival: float
    points: np.ndarray


@dataclass(frozen=True)
class Plan(Record):
    """Plans for a batch of B queries.

    Time has three names. ``steps`` and ``stride`` are *planned*: the horizon that the planner
    chose. ``times`` are *of the body*: when it is at each point if it moves as fast as it can. The
    *steps taken* are counted in an :class:`Episode`.

    Attributes:
        points: planned positions, ``stride`` environment steps apart, starting with the current
            position. The last position is repeated after arrival. Float32 [B, P, 2].
        steps: planned environment steps until the end of the plan; int [B].
        stride: planned environment steps between two points.
        level: final noise level of each point's token; int [B, P].
        max_level: K, the level of pure noise.
        candidates: the plans that were compared; float32 [B, C, P, 2].
        scores: score of each candidate, higher is better (see the planner); float32 [B, C].
        observation: where the plan starts; float32 [B, S].
        goal: float32 [B, 2]; None for a plan by reward alone.
        evaluations: network evaluations per query, where each sequence counts as one.
        seconds: wall time of the call.
        times: environment steps after which the body is at each point, with its speed and
            acceleration (:func:`~dfplan.planning.timing.body_times`); or the planned ones, if a
            reward or a horizon asks for them. Float32 [B, P]; None if the planner does not know.
        max_step: the largest displacement of the body along an axis in one environment step, in
            units of position; None if the planner does not know.
        spread: the plan spread: how far each point would move if the plan were made again, the root
            mean square distance to those of ``replans`` on the same route, in units of position.
            Float32 [B, P], NaN for a plan if none of them is on its route; None if it was not asked
            for.
        replans: plans made again with other noise, float32 [B, L, P', 2]; None without a spread.
        same_route: which of ``replans`` pass all obstacles on the same side, bool [B, L].
        trace: the denoising of the chosen candidate, if requested: for each row of the scheduling
            matrix (level int [B, P], points float32 [B, P, 2]).
        maze: text of the maze, for drawing; None if unknown.
        floor: where the data has been, for drawing; None if unknown.
        regions: radii of prediction regions by noise level; None if they were not measured.
        velocities: planned velocity at each point, float32 [B, P, 2]; None if the planner plans
            no velocities.
        history: positions before the plan, estimated from noisy observations, ``stride`` steps
            apart. The last is the plan's first point. Float32 [B, H, 2]; None without a history.
        actions: planned action of each environment step from the start on, float32
            [B, (P - 1) * stride, A]; None if the planner plans no actions.
        tree: the search tree, if requested.
        states: all columns of the planned tokens at each point, in physical units, the position
            first; float32 [B, P, W]. None if tokens hold positions alone.
        layout: the columns of the observation.
        arrival: probability of reaching the goal, with new plans after jumps; float32 [B]. It and
            the next three come from the recorded jumps (:mod:`dfplan.planning.risk`). They are None
            if the planner does not know them.
        on_plan: probability that no jump has happened before each point, float32 [B, P].
        loss: probability that a jump before each point has led to where no way leads on, float32
            [B, P].
        futures: where jumps off the plans can lead.
    """

    points: np.ndarray
    steps: np.ndarray
    stride: int
    level: np.ndarray
    max_level: int
    candidates: np.ndarray
    scores: np.ndarray
    observation: np.ndarray
    goal: np.ndarray | None
    evaluations: int
    seconds: float
    times: np.ndarray | None = None
    max_step: float | None = None
    spread: np.ndarray | None = None
    replans: np.ndarray | None = None
    same_route: np.ndarray | None = None
    trace: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    maze: str | None = None
    floor: Floor | None = None
    regions: RegionTable | None = None
    velocities: np.ndarray | None = None
    history: np.ndarray | None = None
    actions: np.ndarray | None = None
    tree: SearchTree | None = None
    states: np.ndarray | None = None
    layout: ObservationLayout = PLANAR
    arrival: np.ndarray | None = None
    on_plan: np.ndarray | None = None
    loss: np.ndarray | None = None
    futures: tuple[Future, ...] | None = None

    @property
    def too_fast(self) -> np.ndarray | None:
        """Parts that a body at top speed needs longer for than planned, bool [B, P - 1].

        None if the planner does not know how fast the body is.
        """
        if self.max_step is None:
            return None
        return too_long(self.points, self.stride * self.max_step)

    def __len__(self) -> int:
        return len(self.points)

    def figure(
        self,
        *,
        executed: np.ndarray | None = None,
        index: int = 0,
        theme: str = "light",
        width: float = 11.9,
        norm: Normalize | None = None,
        tracking: np.ndarray | None = None,
    ) -> Figure:
        """Draw a plan as a figure of matplotlib: on its way, its plan spread, and tracking.

        :mod:`dfplan.plotting` draws each part on axes of the caller.

        Args:
            executed: positions that were visited, float [S, 2]; drawn over the plan.
            index: which plan of the batch.
            theme: ``light`` or ``dark``.
            width: of the figure in inches. Text has at least 7 points, also in a column of a paper
                that is 3.3 inches wide.
            norm: color scale of the spreads; by default it is the same for all plans in a maze.
            tracking: the tracking spread, float [P]
                (:func:`dfplan.planning.success.tracking_regions`); None draws none.

        Raises:
            ConfigError: unknown theme, no such plan, or a width below 3.
            DataError: ``executed`` has another shape or is not finite.
        """
        from dfplan.plotting.figures import plan_figure

        return plan_figure(
            self,
            index=index,
            executed=executed,
            theme=theme,
            width=width,
            norm=norm,
            tracking=tracking,
        )

    def plot(
        self,
        path: Output,
        *,
        executed: np.ndarray | None = None,
        index: int = 0,
        theme: str = "light",
        width: float = 11.9,
        norm: Normalize | None = None,
        tracking: np.ndarray | None = None,
        format: str | None = None,
    ) -> Path | Any:
        """Write the picture of a plan that :meth:`figure` draws.

        Args:
            path: picture to write (PNG, SVG or PDF, by its ending), or a binary file object.
            executed: positions that were visited, float [S, 2]; drawn over the plan.
            index: which plan of the batch.
            theme: ``light`` or ``dark``.
            width: of the picture in inches.
            norm: as in :meth:`figure`.
            tracking: as in :meth:`figure`.
            format: ``png``, ``svg`` or ``pdf``; overrides the ending. Default for file objects:
                PNG.

        Returns:
            The path or file object that was written.

        Raises:
            ConfigError: unknown ending, format or theme, no such plan, or a file object that does
                not accept bytes.
            DataError: ``executed`` has another shape or is not finite.
            OSError: the picture cannot be written; no partial file remains.
        """
        from dfplan.plotting.figures import require_picture_path, save

        require_picture_path(path, format)
        figure = self.figure(
            executed=executed,
            index=index,
            theme=theme,
            width=width,
            norm=norm,
            tracking=tracking,
        )
        return save(figure, path, format)

    def plot_denoising(
        self,
        path: Output,
        *,
        index: int = 0,
        panels: int = 6,
        theme: str = "light",
        width: float | None = None,
        format: str | None = None,
    ) -> Path | Any:
        """Draw the denoising of a plan as a row of panels.

        The plan must have been made with ``trace=True``.

        Args:
            path: picture to write, as in :meth:`plot`.
            index: which plan of the batch.
            panels: number of panels.
            theme: ``light`` or ``dark``.
            width: of the picture in inches; by default it follows the number of panels.
            format: as in :meth:`plot`.

        Returns:
            The path or file object that was written.

        Raises:
            ConfigError: as in :meth:`plot`, or ``panels`` below 1.
            DataError: the plan has no trace.
            OSError: the picture cannot be written; no partial file remains.
        """
        from dfplan.plotting.figures import denoising_figure, require_picture_path, save

        require_picture_path(path, format)
        figure = denoising_figure(self, index=index, panels=panels, theme=theme, width=width)
        return save(figure, path, format)

    def animate(self, *, index: int = 0, width: int = 960, theme: str = "light") -> Video:
        """Make a video of a plan's tree search, or else of its denoising, for notebooks.

        The plan must have been made with ``trace=True``.

        Args:
            index: which plan of the batch.
            width: of the video, in pixels.
            theme: ``light`` or ``dark``.

        Raises:
            ConfigError: unknown theme, or no such plan.
            DataError: the plan has no tree and no trace.
        """
        from dfplan.plotting.frames import denoising_frames, tree_frames
        from dfplan.plotting.videos import Video

        frames = denoising_frames if self.tree is None else tree_frames
        return Video(tuple(frames(self, index=index, width=width, theme=theme)))

    def _repr_html_(self) -> str:
        from dfplan.plotting.figures import figure_html

        return figure_html(self.figure())


@dataclass(frozen=True)
class Episode(Record):
    """One episode of a policy in an environment.

    Attributes:
        positions: visited positions, starting with the start; float [S + 1, 2].
        rewards: reward of each step; float [S].
        plans: the plans that were made, each with the number of steps taken before it: (steps,
            plan for one query).
        goal: float [2]; None without a goal.
        reached: number of steps until the goal was first reached; None if it never was.
        maze: text of the maze, for drawing; None if unknown.
    """

    positions: np.ndarray
    rewards: np.ndarray
    plans: tuple[tuple[int, Plan], ...]
    goal: np.ndarray | None
    reached: int | None
    maze: str | None = None

    def plot(self, path: Output, *, theme: str = "light", format: str | None = None) -> Path | Any:
        """Draw the first plan and the visited positions; see :meth:`Plan.plot`.

        Raises:
            DataError: the policy made no plan.
        """
        plan = self._first_plan()
        return plan.plot(path, executed=self.positions, theme=theme, format=format)

    def animate(self, *, width: int = 960, theme: str = "light") -> Video:
        """Make a video of the episode and its plans, for notebooks.

        At the end it shows the whole path.

        Args:
            width: of the video, in pixels.
            theme: ``light`` or ``dark``.

        Raises:
            ConfigError: unknown theme.
        """
        from dfplan.plotting.frames import episode_frames
        from dfplan.plotting.videos import Video

        return Video(tuple(episode_frames(self, width=width, theme=theme)))

    def _first_plan(self) -> Plan:
        if not self.plans:
            raise DataError("The policy made no plan in this episode, so there is none to draw.")
        return self.plans[0][1]

    def _repr_html_(self) -> str:
        from dfplan.plotting.figures import figure_html

        return figure_html(self._first_plan().figure(executed=self.positions))


class Denoiser(Protocol):
    """Estimates clean tokens [B, T, D] from noisy tokens ``x`` [B, T, D] at ``level`` [B, T]."""

    def __call__(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor: ...


class Reward(Protocol):
    """Scores plans by their states [B, P, W] at environment steps ``steps`` [P]; -> [B].

    States are in physical units, the position in the first two columns; the last state is repeated
    after arrival. The result must be differentiable with respect to the states.
    """

    def __call__(self, states: torch.Tensor, steps: torch.Tensor, /) -> torch.Tensor: ...


class Step(Protocol):
    """One sampling step, from noise level ``level`` to ``next_level`` (int [B, T]); -> [B, T, D].

    ``clean`` is the denoiser's estimate for ``x`` at ``level``. ``previous`` is the estimate and
    the level of the previous row, None in the first row. Steps have no state. The caller uses the
    result only for tokens whose level decreases.
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
"""Called after each row with x [B, T, D], the clean estimate [B, T, D] and level int [B, T]."""


@runtime_checkable
class Planner(Protocol):
    """Plans from a batch of observations to goals, or by reward."""

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """Plan from ``observation``, [S] or [B, S], to ``goal``, [2] or [B, 2].

        Args:
            observation: position, then velocity, unless the planner's model was trained on other
                observations.
            goal: position; None to plan by ``reward`` alone.
            reward: what to maximize.
            horizon: length of the plan in environment steps; default: the planner's choice.
            seed: of the random numbers; default: a random seed.
        """
        ...
