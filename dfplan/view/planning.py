"""From a request to a stream of events: a plan row by row, and how it is carried out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dfplan.envs.make import make
from dfplan.envs.maze_env import MazeEnv
from dfplan.errors import ConfigError, DfplanError, MazeError, ObservationError
from dfplan.mazes import Maze, parse_maze
from dfplan.planning.policy import Policy
from dfplan.planning.rewards import (
    Box,
    ComposableReward,
    KeepOut,
    OnSupport,
    PassThrough,
    Short,
    on_lines,
)
from dfplan.planning.single import ForcingPlanner, PlannerSettings
from dfplan.pretrained import load, pretrained_names
from dfplan.record import Record
from dfplan.types import Moment, Plan, Reward
from dfplan.view.requests import Pair, PlanRequest, RequestError

Event = dict[str, Any]
"""Plain numbers and text with a ``kind``: row, plan, driven or error; see :func:`answer`."""

Emit = Callable[[Event], None]
"""Takes the next event; what it raises ends the planning."""

MOST_EVALUATIONS = 50_000
"""Network evaluations that one request may cost, some minutes of one core."""

_STEEPNESS = 30.0  # what a wish needs to outweigh a detour (benchmarks/rewards.py)
_ZONE_MARGIN = 0.2  # of a cell's side
_CHUNK = 8
_PAST_ARRIVAL = 20

_MAKING = threading.Lock()  # the suites' models are compiled by way of files and global generators


@dataclass(frozen=True)
class Served(Record):
    """A planner that pages may ask.

    Attributes:
        name: by which it is asked for.
        planner: what plans.
        maze: of its data.
    """

    name: str
    planner: ForcingPlanner
    maze: Maze

    @cached_property
    def described(self) -> Event:
        """What a page needs to draw and to ask; positions are ``first + row * down + ...``.

        ``first`` is the middle of cell (0, 0), ``down`` and ``right`` the steps to the cells below
        and beside it, ``ball`` and ``radius`` those of the body and of a goal, all in units of
        position; ``start`` and ``goal`` a problem to begin with.
        """
        maze, layout = self.maze, self.planner.layout
        cells = maze.free_cells
        goal = cells[-1] if maze.goal is None else maze.xy_to_cell(maze.goal)
        away = [len(maze.shortest_cells(cell, goal.tolist())) for cell in cells]
        return {
            "name": self.name,
            "rows": list(maze.rows),
            "frame": maze.suite.name,
            "unit": maze.suite.unit,
            "first": rounded(maze.cell_to_xy((0, 0))),
            "down": rounded(np.array(maze.suite.down)),
            "right": rounded(np.array(maze.suite.right)),
            "ball": maze.suite.ball_radius,
            "radius": maze.suite.goal_radius,
            "tokens": layout.tokens,
            "stack": layout.frame_stack,
            "stride": layout.stride,
            "max_level": self.planner.schedule.max_level,
            "start": rounded(maze.cell_to_xy(cells[int(np.argmax(away))])),
            "goal": rounded(maze.cell_to_xy(goal)),
        }


def serve_planners(names: Sequence[str] | None = None) -> dict[str, Served]:
    """Load what is to be served.

    Args:
        names: of shipped checkpoints, files or folders of runs; by default all shipped planners
            of Diffusion Forcing.

    Raises:
        ConfigError: a name that is not known, or a checkpoint without a maze or of another kind.
        CheckpointError: one that is damaged.
    """
    served = {}
    for name in pretrained_names() if names is None else names:
        planner = load(name)
        if not isinstance(planner, ForcingPlanner) or planner.maze is None:
            if names is None:
                continue
            kind = type(planner).__name__
            raise ConfigError(
                "The page shows planners of Diffusion Forcing whose data names its maze; "
                f"{name} is {'one without' if isinstance(planner, ForcingPlanner) else 'a ' + kind}"
                "."
            )
        served[name] = Served(name, planner, parse_maze(planner.maze, name=name))
    if not served:
        raise ConfigError("There is no planner to show; name one: dfplan view --mazes maze2d-large")
    return served


def answer(request: PlanRequest, served: Served, emit: Emit) -> None:
    """Plan what was asked, and carry it out where that was asked too.

    Events, in this order, their numbers rounded to 3 decimals:

    ====== =========================================================================================
    row    one for each row of the matrix: ``row`` from 1 to ``rows``, ``level`` [C][T] of each
           candidate's tokens and ``points`` [C][P][2]
    plan   ``points`` [P][2], ``stride``, ``steps``, ``level`` [T], ``max_level``, ``spread`` [P],
           ``scores`` [C], ``best`` (the candidate it was made from), ``evaluations``, ``seconds``;
           ``past``, how far it passes from each via-point, and ``into``, how deep it reaches into
           each zone, 0 where it does not
    driven ``positions`` [S][2] since the last such event, ``step`` of the last, ``reached``, the
           step at which the goal was, or null; ``replanned``, how often so far; ``over``
    error  ``message`` and ``field``, of the request or empty; nothing follows
    ====== =========================================================================================

    Args:
        request: what was asked.
        served: the planner that it names.
        emit: takes each event when it is there; what it raises ends the planning and is passed on.
    """
    try:
        if request.matrix == "pyramid" and request.uncertainty_scale > request.steps:
            raise RequestError(
                "uncertainty_scale",
                f"Expected at most as many rows a token as sampling steps, {request.steps}; got "
                f"{request.uncertainty_scale:g}.",
            )
        planner = replace(served.planner, settings=settings_of(request, served))
        cost = request.candidates * planner.cost(planner.layout.tokens - 1)
        if cost > MOST_EVALUATIONS:
            raise RequestError(
                "candidates",
                f"Expected at most {MOST_EVALUATIONS} network evaluations; this may take {cost}. "
                "Lower candidates, futures, steps or the uncertainty scale.",
            )
        reward = reward_of(request, served)
        _require_places(request, served, planner)
        try:
            plan = _planned(request, planner, reward, emit)
        except ConfigError as error:
            raise RequestError("goal" if "horizon" in str(error) else "", str(error)) from error
        if request.drive:
            _drive(request, served, planner, reward, plan, emit)
    except RequestError as error:
        emit({"kind": "error", "field": error.field, "message": str(error)})
    except DfplanError as error:
        emit({"kind": "error", "field": "", "message": str(error)})


def settings_of(request: PlanRequest, served: Served) -> PlannerSettings:
    """How a request wants to be planned.

    Wishes are steep, so with any the planner's own terms are made as much heavier in guidance,
    which then takes shorter steps.
    """
    settings = replace(
        served.planner.settings,
        matrix=request.matrix,
        uncertainty_scale=request.uncertainty_scale,
        rows=request.rows,
        steps=request.steps,
        candidates=request.candidates,
        futures=request.futures,
        guidance=replace(served.planner.settings.guidance, scale=request.guidance),
    )
    if not (request.via or request.zones):
        return settings
    heavier = _STEEPNESS / served.maze.suite.unit**2
    return replace(
        settings,
        guidance=replace(settings.guidance, scale=3 * request.guidance / heavier),
        tautness=settings.tautness * heavier,
        caution=settings.caution * heavier,
        off_support_cost=200.0,
        polish=60,
        finalists=min(4, request.candidates),
    )


def reward_of(request: PlanRequest, served: Served) -> Reward | None:
    """Via-points and zones as one reward; None where there are none."""
    terms: list[ComposableReward] = []
    unit = served.maze.suite.unit
    if request.via:
        terms.append(1000 / unit**2 * PassThrough(request.via))  # type: ignore[arg-type]
    if request.zones:
        boxes = boxes_of(request)
        terms.append(10000 / unit**2 * KeepOut(boxes, margin=_ZONE_MARGIN * unit, between=4))
    if not terms:
        return None
    careful = 2400 / unit**2 * OnSupport(served.planner.statistics.support)
    return sum(terms, careful)


def boxes_of(request: PlanRequest) -> list[Box]:
    """The zones to keep out of."""
    return [Box((a, b), (c, d)) for a, b, c, d in request.zones]


def rounded(values: np.ndarray) -> Any:
    """Values as lists of numbers with 3 decimals."""
    return np.asarray(values, dtype=float).round(3).tolist()


def _require_places(request: PlanRequest, served: Served, planner: ForcingPlanner) -> None:
    """Raise :class:`RequestError` with the field of a place that cannot be planned with."""
    start, anything = np.array(request.start), Short()
    try:
        served.maze.require_free(start, "start")
        planner.read(start, None, anything)
    except (MazeError, ObservationError) as error:
        raise RequestError("start", str(error)) from error
    try:
        if request.goal is not None:
            served.maze.require_free(np.array(request.goal), "goal", radius=0.0)
            planner.read(start, np.array(request.goal), None)
    except (MazeError, ObservationError) as error:
        raise RequestError("goal", str(error)) from error
    for number, place in enumerate(request.via, 1):
        try:
            served.maze.require_free(np.array(place), f"via-point {number}", radius=0.0)
        except MazeError as error:
            raise RequestError("via", str(error)) from error
    for low0, low1, high0, high1 in request.zones:
        places: dict[str, Pair | None] = {"start": request.start, "goal": request.goal}
        for what, lies in places.items():
            if lies and low0 <= lies[0] <= high0 and low1 <= lies[1] <= high1:
                message = f"The {what} lies in a zone to keep out of; move or erase one of them."
                raise RequestError("zones", message)


def _planned(
    request: PlanRequest, planner: ForcingPlanner, reward: Reward | None, emit: Emit
) -> Plan:
    stack = planner.layout.frame_stack

    def watch(moment: Moment) -> None:
        emit(
            {
                "kind": "row",
                "row": moment.row,
                "rows": moment.rows,
                "level": moment.level[0, :, ::stack].tolist(),
                "points": rounded(moment.points[0]),
            }
        )

    goal = None if request.goal is None else np.array(request.goal)
    plan = planner.plan(
        np.array(request.start), goal, reward=reward, seed=request.seed, watch=watch
    )
    # What was made of it in polish is nearest to what it was made from.
    apart = np.abs(plan.candidates[0] - plan.points[:1]).sum((-1, -2))
    emit(
        {
            "kind": "plan",
            "points": rounded(plan.points[0]),
            "stride": plan.stride,
            "steps": int(plan.steps[0]),
            "level": plan.level[0, ::stack].tolist(),
            "max_level": plan.max_level,
            "spread": rounded(plan.spread[0]),
            "scores": rounded(plan.scores[0]),
            "best": int(apart.argmin()),
            "evaluations": plan.evaluations,
            "seconds": round(plan.seconds, 4),
            **_kept(request, plan),
        }
    )
    return plan


def _kept(request: PlanRequest, plan: Plan) -> Event:
    """How well a plan does what was wished."""
    line = on_lines(torch.from_numpy(plan.points), 8)
    steps = torch.zeros(line.shape[1])
    past = [(line - torch.tensor(place)).norm(dim=-1).min() for place in request.via]
    into = [-box.outside(line, steps).clamp_max(0.0).min() for box in boxes_of(request)]
    return {"past": rounded(np.array(past)), "into": rounded(np.abs(into))}


class _Prepared:
    """A planner whose first plan is made already."""

    def __init__(self, planner: ForcingPlanner, plan: Plan) -> None:
        self._planner = planner
        self._first: Plan | None = plan
        self.replanned = -1

    def plan(
        self,
        observation: np.ndarray,
        goal: np.ndarray | None = None,
        *,
        reward: Reward | None = None,
        horizon: int | None = None,
        seed: int | None = None,
    ) -> Plan:
        """See :class:`dfplan.types.Planner`."""
        self.replanned += 1
        first, self._first = self._first, None
        if first is not None:
            return first
        return self._planner.plan(observation, goal, reward=reward, horizon=horizon, seed=seed)


def _drive(
    request: PlanRequest,
    served: Served,
    planner: ForcingPlanner,
    reward: Reward | None,
    plan: Plan,
    emit: Emit,
) -> None:
    prepared = _Prepared(planner, plan)
    # A plan made on the way would go back to the places that were passed already.
    tolerance = None if request.via else served.maze.suite.unit
    goal = None if request.goal is None else np.array(request.goal)
    policy = Policy(
        prepared, planner.tracker(), reward=reward, seed=request.seed, tolerance=tolerance
    )
    try:
        with _MAKING:
            env = make(served.maze)
    except DfplanError as error:
        raise RequestError("drive", str(error)) from error
    try:
        _play(env, policy, prepared, np.array(request.start), goal, int(plan.steps[0]), emit)
    except DfplanError as error:
        raise RequestError("drive", str(error)) from error
    finally:
        env.close()


def _play(
    env: MazeEnv,
    policy: Policy,
    prepared: _Prepared,
    start: np.ndarray,
    goal: np.ndarray | None,
    planned: int,
    emit: Emit,
) -> None:
    """Drive until a little after the goal is reached, or half as long again as was planned."""
    given = np.concatenate([start, np.zeros(2)]) if env.has_velocity else start
    # Without a goal the suite draws one; it is not shown, and what it says of it is not asked.
    options = {"start": given} if goal is None else {"start": given, "goal": goal}
    with _MAKING:
        observation, info = env.reset(seed=0, options=options)
    last = min(env.max_steps, planned + planned // 2 + 50) if goal is not None else planned
    reached = 0 if goal is not None and info["success"] else None
    positions = [observation["achieved_goal"]]
    step = 0
    while True:
        over = step >= last or (reached is not None and step >= reached + _PAST_ARRIVAL)
        if over or len(positions) >= _CHUNK:
            emit(
                {
                    "kind": "driven",
                    "positions": rounded(np.array(positions)),
                    "step": step,
                    "reached": reached,
                    "replanned": max(prepared.replanned, 0),
                    "over": over,
                }
            )
            positions = []
        if over:
            return
        # Of a wish without a goal, the policy must not see the one that the suite drew.
        action = policy.act(observation["observation"], goal)
        observation, _, terminated, truncated, info = env.step(action)
        step += 1
        positions.append(observation["achieved_goal"])
        if reached is None and goal is not None and info["success"]:
            reached = step
        if terminated or truncated:
            last = step
