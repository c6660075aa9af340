"""Writes the web app with recorded plans to one HTML file, which opens without a server."""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dfplan.errors import DfplanError
from dfplan.files import atomic_path, expand_path
from dfplan.view.answer import answer
from dfplan.view.document import document
from dfplan.view.execution import Event
from dfplan.view.planners import ServedPlanner, rounded
from dfplan.view.requests import PlanRequest

QUERIES = 6
"""Number of recorded starts and goals in each maze."""

SETTINGS: tuple[dict[str, Any], ...] = (
    {"matrix": "pyramid", "uncertainty_scale": 0.5},
    {"matrix": "pyramid", "uncertainty_scale": 1.0},
    {"matrix": "full_sequence"},
    {"matrix": "autoregressive"},
)
"""Settings of the plans that are recorded for each query; the page shows the first of them first.
"""

UNITS_PER_CELL = 200
"""Resolution of recorded positions."""

_CANDIDATES = 6
_MAX_ROWS = 24
_STEPS_PER_POSITION = 4


def export_html(
    path: str | Path,
    served: Mapping[str, ServedPlanner],
    queries: int = QUERIES,
    settings: tuple[dict[str, Any], ...] = SETTINGS,
) -> Path:
    """Plan and execute some queries in every maze, and write the web app with the results.

    The HTML file is written completely or not at all. ``queries`` is the number of starts and goals
    in each maze, which are drawn with a fixed seed. The settings are fields of
    :class:`~dfplan.view.requests.PlanRequest`, one recording for each.
    """
    path = expand_path(path)
    recorded: dict[str, Any] = {
        "planners": [one.description for one in served.values()],
        "units_per_cell": UNITS_PER_CELL,
    }
    with tqdm(total=len(served) * queries * len(settings), unit="plan", disable=None) as bar:
        for name, one in served.items():
            recorded[name] = []
            for start, goal in _draw_queries(one, queries):
                runs = []
                for changes in settings:
                    query = {"planner": name, "start": start, "goal": goal, "execute": True}
                    request = PlanRequest(**query, candidates=_CANDIDATES, **changes)
                    runs.append({"settings": changes, "events": _record(request, one)})
                    bar.update()
                recorded[name].append({"start": start, "goal": goal, "runs": runs})
    packed = gzip.compress(json.dumps(recorded, separators=(",", ":")).encode(), mtime=0)
    html = document({"gzip": base64.b64encode(packed).decode()}).html
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _draw_queries(served: ServedPlanner, count: int) -> list[tuple[Any, Any]]:
    """The first query of the web app, and other starts and goals that are far apart."""
    description, maze = served.description, served.maze
    rng = np.random.default_rng(0)
    cells = maze.free_cells
    queries = [(tuple(description["start"]), tuple(description["goal"]))]
    while len(queries) < count:
        pairs = [rng.choice(len(cells), 2, replace=False) for _ in range(8)]
        first, last = max(pairs, key=lambda pair: len(maze.shortest_path(*cells[pair])))
        start, goal = maze.cell_to_xy(cells[first]), maze.cell_to_xy(cells[last])
        queries.append((tuple(rounded(start)), tuple(rounded(goal))))
    return queries


def _record(request: PlanRequest, served: ServedPlanner) -> list[Event]:
    """The events of an answer: fewer rows, one episode, and encoded lines."""
    events: dict[str, list[Event]] = defaultdict(list)
    answer(request, served, lambda event: events[event["kind"]].append(event))
    for event in events["error"]:
        raise DfplanError(f"Cannot record {request}: {event['message']}")
    rows, episode = events["row"], events["episode"]
    indices = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MAX_ROWS)).round())
    (plan,) = events["plan"]
    others = [_encode_lines(line, served) for line in plan["other_routes"]]
    planned = [*(rows[int(index)] for index in indices), {**plan, "other_routes": others}]
    positions = [position for event in episode for position in event["positions"]]
    return [
        *({**event, "points": _encode_lines(event["points"], served)} for event in planned),
        {
            **episode[-1],
            "positions": _encode_lines(positions[::_STEPS_PER_POSITION], served),
            "every": _STEPS_PER_POSITION,
        },
    ]


def _encode_lines(points: list[Any], served: ServedPlanner) -> Any:
    """Encode lines [..., P, 2] as integers: the first point, then the steps between points."""
    maze = served.maze
    cells = (np.array(points) - maze.cell_to_xy((0, 0))) / maze.suite.cell_size
    integers = (cells * UNITS_PER_CELL).round().astype(int)
    return np.diff(integers, axis=-2, prepend=np.zeros_like(integers[..., :1, :])).tolist()
