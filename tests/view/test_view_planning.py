from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dfplan.view.planning as planning
from dfplan.errors import ConfigError, MissingSimulatorError
from dfplan.mazes import parse_maze
from dfplan.view.planning import Served, answer, serve_planners
from dfplan.view.requests import PlanRequest

UMAZE, OGBENCH = "maze2d-umaze", "ogbench-medium"


def asked(one: Served, **more: Any) -> PlanRequest:
    start, goal = one.described["start"], one.described["goal"]
    return replace(PlanRequest(one.name, tuple(start), tuple(goal)), **more)


def events(one: Served, **more: Any) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    answer(asked(one, **more), one, out.append)
    return out


def of_kind(out: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in out if event["kind"] == kind]


@pytest.mark.parametrize("name", [UMAZE, OGBENCH, "pointmaze-large"])
def test_a_page_can_put_everything_where_the_physics_has_it(name: str) -> None:
    one = serve_planners([name])[name]
    told, maze = one.described, parse_maze(one.planner.maze or "")
    assert tuple(told["rows"]) == maze.rows
    first, axes = np.array(told["first"]), np.array([told["down"], told["right"]])
    cells = np.argwhere(np.ones(maze.shape))
    assert np.allclose(first + cells @ axes, maze.cell_to_xy(cells))
    assert np.linalg.norm(axes, axis=1) == pytest.approx(told["unit"])
    # Of every place that the page takes to be a wall's edge: a point on either side.
    for cell in cells[(cells > 0).all(1) & (cells < np.array(maze.shape) - 1).all(1)]:
        for aside in ((0.499, 0), (-0.499, 0), (0, 0.499), (0, -0.499)):
            place = first + (cell + np.array(aside)) @ axes
            assert maze.is_free(place, radius=0.0) == (told["rows"][cell[0]][cell[1]] != "#")
    assert (told["ball"], told["radius"]) == (maze.suite.ball_radius, maze.suite.goal_radius)
    assert maze.is_free(np.array([told["start"], told["goal"]])).all()


@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid"])
def test_rows_come_one_by_one_and_then_the_plan(served: dict[str, Served], matrix: str) -> None:
    one = served[UMAZE]
    out = events(one, matrix=matrix, candidates=4)
    rows, (plan,) = of_kind(out, "row"), of_kind(out, "plan")
    assert out == [*rows, plan]
    assert [row["row"] for row in rows] == [*range(1, rows[0]["rows"] + 1)]
    for row in rows:
        assert np.shape(row["points"])[0] == len(row["level"]) == 4
        assert np.allclose(np.array(row["points"])[:, 0], one.described["start"], atol=1e-3)
    level = np.array([row["level"] for row in rows])
    assert (np.diff(level, axis=0) <= 0).all() and (np.diff(level.sum((1, 2))) < 0).all()
    stack = one.described["stack"]
    assert len(plan["points"]) == 1 + (len(plan["level"]) - 1) * stack
    assert np.allclose(plan["points"][-1], one.described["goal"], atol=1e-3)
    assert plan["level"] == rows[-1]["level"][plan["best"]]
    assert plan["best"] == np.argmax(plan["scores"])  # of one finalist


def test_the_same_request_has_the_same_answer(served: dict[str, Served]) -> None:
    first, second = (events(served[UMAZE], candidates=3, seed=5) for _ in range(2))
    for out in (first, second):
        out[-1].pop("seconds")
    assert first == second


@pytest.mark.parametrize("name", [UMAZE, OGBENCH])
def test_a_plan_is_driven_to_its_goal(served: dict[str, Served], name: str) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("ogbench" if name == OGBENCH else "gymnasium_robotics")
    one = served[name]
    out = events(one, drive=True)
    driven = of_kind(out, "driven")
    assert not of_kind(out, "error") and driven[-1]["over"]
    assert not any(event["over"] for event in driven[:-1])
    positions = np.concatenate([event["positions"] for event in driven])
    assert len(positions) == driven[-1]["step"] + 1
    assert np.allclose(positions[0], one.described["start"], atol=1e-3)
    reached = driven[-1]["reached"]
    away = np.linalg.norm(positions - one.described["goal"], axis=1)
    assert reached == np.flatnonzero(away <= one.described["radius"])[0]
    assert one.maze.is_free(positions, radius=0.0).all()


def test_a_via_point_is_passed(served: dict[str, Served]) -> None:
    one = served[UMAZE]
    start, aside = (1.0, 3.0), (1.0, 1.0)
    plain, led = (
        of_kind(events(one, start=start, goal=(3.0, 3.0), via=via), "plan")[0]
        for via in ((), (aside,))
    )
    nearest = [np.linalg.norm(np.array(p["points"]) - aside, axis=1).min() for p in (plain, led)]
    assert nearest[0] > 1 and nearest[1] < 0.3
    assert plain["past"] == [] and led["past"][0] <= nearest[1] + 1e-3


def test_a_zone_is_kept_out_of(served: dict[str, Served]) -> None:
    one = served[UMAZE]
    usual = np.array(of_kind(events(one), "plan")[0]["points"])
    # Half of the corridor's width, the half that the plan goes through.
    middle = usual[np.abs(usual[:, 1] - 2.0).argmin()]
    zone = (middle[0] - 0.05, 1.7, middle[0] + 0.35, 2.3)
    (plan,) = of_kind(events(one, zones=(zone,)), "plan")
    points = np.array(plan["points"])
    along = np.linspace(0, 1, 9)[:, None, None]
    line = (points[:-1] + along * (points[1:] - points[:-1])).reshape(-1, 2)
    inside = ((line > zone[:2]) & (line < zone[2:])).all(1)
    assert not inside.any() and plan["into"] == [0.0]
    through = (middle[0] - 0.4, middle[1] - 0.1, middle[0] + 0.4, middle[1] + 0.1)
    (plan,) = of_kind(events(one, zones=(through,), guidance=0.0, steps=1), "plan")
    assert 0 < plan["into"][0] <= 0.1 + 1e-6


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("start", {"start": (0.0, 0.0)}, "must lie in free space"),
    ("goal", {"goal": (-9.0, 0.0)}, "must lie in free space"),
    ("via", {"via": ((1.0, 1.0), (0.0, 0.0))}, "via-point 2 must lie in free space"),
    ("candidates", {"candidates": 64, "futures": 16, "steps": 50}, "at most 50000 network"),
    ("zones", {"zones": ((-9.0, -9.0, 9.0, 9.0),)}, "lies in a zone"),
    ("uncertainty_scale", {"matrix": "pyramid", "uncertainty_scale": 4.0}, "sampling steps, 3"),
]


@pytest.mark.parametrize(("field", "more", "message"), WRONG)
def test_what_cannot_be_planned_is_an_error_with_its_field(
    served: dict[str, Served], field: str, more: dict[str, Any], message: str
) -> None:
    (event,) = events(served[UMAZE], **more)
    assert (event["kind"], event["field"]) == ("error", field)
    assert message in event["message"]


def test_without_the_suite_the_plan_is_there_and_the_drive_is_an_error(
    served: dict[str, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise MissingSimulatorError("mujoco")

    monkeypatch.setattr(planning, "make", missing)
    out = events(served[UMAZE], candidates=2, drive=True)
    assert [event["kind"] for event in out[-2:]] == ["plan", "error"]
    assert out[-1]["field"] == "drive" and "pip install 'dfplan[envs]'" in out[-1]["message"]


@pytest.mark.parametrize("after", [1, 4])
def test_a_reader_that_has_gone_away_ends_it(served: dict[str, Served], after: int) -> None:
    class GoneError(Exception):
        pass

    seen: list[Any] = []

    def emit(event: Any) -> None:
        seen.append(event)
        if len(seen) == after:
            raise GoneError

    with pytest.raises(GoneError):
        answer(asked(served[UMAZE], matrix="pyramid", drive=True), served[UMAZE], emit)
    assert len(seen) == after


def test_only_planners_with_a_maze_are_served() -> None:
    assert all(one.planner.maze for one in serve_planners().values())
    with pytest.raises(ConfigError, match="shows planners of Diffusion Forcing"):
        serve_planners(["benchmarks/checkpoints/diffuser-brief-umaze.safetensors"])
    with pytest.raises(ConfigError, match="Did you mean 'maze2d-umaze'"):
        serve_planners(["maze2d-umase"])
