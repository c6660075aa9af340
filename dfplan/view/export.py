"""The page with recorded plans in it, which opens without a server."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfplan.errors import DfplanError
from dfplan.files import atomic_path, expanded
from dfplan.view.document import document
from dfplan.view.planning import Event, Served, answer, rounded
from dfplan.view.requests import PlanRequest

PROBLEMS = 6
"""Starts and goals that are recorded in each maze."""

SETTINGS: tuple[dict[str, Any], ...] = (
    {"matrix": "full_sequence"},
    {"matrix": "pyramid", "uncertainty_scale": 0.5},
    {"matrix": "pyramid", "uncertainty_scale": 1.0},
    {"matrix": "autoregressive"},
)
"""Of the plans that are recorded for each problem."""

PER_CELL = 200
"""Whole numbers that a cell's side is cut into."""

_CANDIDATES = 6
_MOST_ROWS = 24
_EVERY = 4  # steps of a drive between two positions


def export_page(
    path: str | Path,
    served: Mapping[str, Served],
    problems: int = PROBLEMS,
    settings: tuple[dict[str, Any], ...] = SETTINGS,
) -> Path:
    """Plan and drive problems in every maze, and write the page with what came of it.

    Args:
        path: HTML file, written whole or not at all.
        served: planners by name.
        problems: starts and goals in each maze, drawn from a fixed seed.
        settings: fields of :class:`~dfplan.view.requests.PlanRequest` to record each with.

    Returns:
        The path that was written.
    """
    path = expanded(path)
    recorded: dict[str, Any] = {
        "planners": [one.described for one in served.values()],
        "per_cell": PER_CELL,
    }
    with tqdm(total=len(served) * problems * len(settings), unit="plan", disable=None) as bar:
        for name, one in served.items():
            recorded[name] = []
            for start, goal in _places(one, problems):
                runs = []
                for own in settings:
                    request = PlanRequest(
                        name, start, goal, candidates=_CANDIDATES, drive=True, **own
                    )
                    runs.append({"settings": own, "events": _recorded(request, one)})
                    bar.update()
                recorded[name].append({"start": start, "goal": goal, "runs": runs})
    packed = gzip.compress(json.dumps(recorded, separators=(",", ":")).encode(), mtime=0)
    html = document({"gzip": base64.b64encode(packed).decode()}).html
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _places(served: Served, count: int) -> list[tuple[Any, Any]]:
    """The problem to begin with, and others far apart: the best of some that are drawn."""
    described, maze = served.described, served.maze
    rng = np.random.default_rng(0)
    cells = maze.free_cells
    places = [(tuple(described["start"]), tuple(described["goal"]))]
    while len(places) < count:
        drawn = [rng.choice(len(cells), 2, replace=False) for _ in range(8)]
        first, last = max(drawn, key=lambda pair: len(maze.shortest_cells(*cells[pair])))
        start, goal = maze.cell_to_xy(cells[first]), maze.cell_to_xy(cells[last])
        places.append((tuple(rounded(start)), tuple(rounded(goal))))
    return places


def _recorded(request: PlanRequest, served: Served) -> list[Event]:
    """The answer's events, fewer and smaller."""
    events: list[Event] = []
    answer(request, served, events.append)
    for event in events:
        if event["kind"] == "error":
            raise DfplanError(f"Cannot record {request}: {event['message']}")
    rows = [event for event in events if event["kind"] == "row"]
    kept = {int(i) for i in np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).round()}
    drives = [event for event in events if event["kind"] == "driven"]
    positions = [place for event in drives for place in event["positions"]]
    (plan,) = (event for event in events if event["kind"] == "plan")
    few = [
        {**event, "points": _whole(event["points"], served)}
        for index, event in enumerate(rows)
        if index in kept
    ]
    plan = {**plan, "points": _whole(plan["points"], served)}
    drive = {**drives[-1], "positions": _whole(positions[::_EVERY], served), "every": _EVERY}
    return [*few, plan, drive]


def _whole(points: list[Any], served: Served) -> Any:
    """Lines [..., P, 2] in whole numbers: the first point, then the way to each next one."""
    maze = served.maze
    grid = (np.array(points) - maze.cell_to_xy((0, 0))) / maze.suite.unit * PER_CELL
    whole = grid.round().astype(int)
    first = np.zeros_like(whole[..., :1, :])
    return np.diff(whole, axis=-2, prepend=first).tolist()
