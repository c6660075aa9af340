"""Events that answer a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from dfplan.errors import ConfigError, MissingSimulatorError
from dfplan.mazes import parse_maze
from dfplan.regions import RegionTable, RegionTables
from dfplan.view import execution
from dfplan.view.answer import answer, planner_for
from dfplan.view.planners import ServedPlanner, load_planners
from dfplan.view.requests import PlanRequest

UMAZE, OGBENCH = "maze2d-umaze", "ogbench-medium"


def request(one: ServedPlanner, **more: Any) -> PlanRequest:
    start, goal = tuple(one.description["start"]), tuple(one.description["goal"])
    return PlanRequest(**{"planner": one.name, "start": start, "goal": goal, **more})


def events(one: ServedPlanner, **more: Any) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    answer(request(one, **more), one, out.append)
    return out


def of_kind(out: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in out if event["kind"] == kind]


@pytest.mark.parametrize("name", [UMAZE, OGBENCH, "pointmaze-large"])
def test_the_description_places_walls_and_cells(name: str) -> None:
    one = load_planners([name])[name]
    description, maze = one.description, parse_maze(one.planner.maze or "")
    assert tuple(description["rows"]) == maze.rows
    first, axes = (
        np.array(description["first_cell"]),
        np.array([description["row_step"], description["column_step"]]),
    )
    cells = np.argwhere(np.ones(maze.shape))
    assert np.allclose(first + cells @ axes, maze.cell_to_xy(cells))
    assert np.linalg.norm(axes, axis=1) == pytest.approx(description["cell_size"])
    # Points on both sides of each edge of a cell.
    for cell in cells[(cells > 0).all(1) & (cells < np.array(maze.shape) - 1).all(1)]:
        for aside in ((0.499, 0), (-0.499, 0), (0, 0.499), (0, -0.499)):
            place = first + (cell + np.array(aside)) @ axes
            assert maze.is_free(place, radius=0.0) == (description["rows"][cell[0]][cell[1]] != "#")
    assert (description["ball_radius"], description["goal_radius"]) == (
        maze.suite.ball_radius,
        maze.suite.goal_radius,
    )
    assert maze.is_free(np.array([description["start"], description["goal"]])).all()


@pytest.mark.parametrize("matrix", ["full_sequence", "pyramid"])
def test_the_rows_are_emitted_before_the_plan(
    served: dict[str, ServedPlanner], matrix: str
) -> None:
    one = served[UMAZE]
    out = events(one, matrix=matrix, candidates=4)
    rows, (plan,) = of_kind(out, "row"), of_kind(out, "plan")
    assert out == [*rows, plan]
    assert [row["row"] for row in rows] == [*range(1, rows[0]["rows"] + 1)]
    for row in rows:
        assert np.shape(row["points"])[0] == len(row["level"]) == 4
        assert np.allclose(np.array(row["points"])[:, 0], one.description["start"], atol=1e-3)
    level = np.array([row["level"] for row in rows])
    assert (np.diff(level, axis=0) <= 0).all() and (np.diff(level.sum((1, 2))) < 0).all()
    stack = one.description["frame_stack"]
    assert len(plan["points"]) == 1 + (len(plan["level"]) - 1) * stack
    assert np.allclose(plan["points"][-1], one.description["goal"], atol=1e-3)
    assert plan["level"] == rows[-1]["level"][plan["best"]]
    assert plan["best"] == np.argmax(plan["scores"])  # one candidate is refined


@pytest.mark.parametrize("stop", [1.0, 0.4])
def test_tokens_have_the_radii_of_their_prediction_regions(
    served: dict[str, ServedPlanner], stop: float
) -> None:
    plain = replace(served[UMAZE], planner=replace(served[UMAZE].planner, regions=None))
    stack, max_level = plain.description["frame_stack"], plain.description["max_level"]
    radii = np.array([[[0.1, 0.3], [0.2, 0.4]], [[0.5, 0.8], [0.6, 1.0]]])
    table = RegionTable(np.array([0.5, 1.0]), np.array([1, 3]), radii, stack)
    one = replace(plain, planner=replace(plain.planner, regions=RegionTables(table, table)))
    settings = {"matrix": "pyramid", "candidates": 3, "stop_fraction": stop}
    (*rows, plan) = events(one, **settings)
    for event in (*rows, plan):
        level = np.array(event["level"])
        # A point has the level of its token; the first token has one point.
        noise = np.repeat(level, [1] + [stack] * (level.shape[-1] - 1), axis=-1) / max_level
        wanted = table.of(noise)[..., ::stack, :]
        assert np.allclose(event["regions"], wanted, atol=6e-4)
    assert any(np.array(row["regions"]).any() for row in rows)
    assert np.array(plan["regions"]).any() == (stop < 1)
    assert all(event["regions"] is None for event in events(plain, **settings))


def test_the_plan_tells_its_spread_its_routes_and_its_steps() -> None:
    one, routes = load_planners(["maze2d-medium"])["maze2d-medium"], 0
    for seed in range(3):
        query = request(one, start=(0.8, 0.8), goal=(5.8, 2.8), candidates=8, seed=seed)
        (event,) = of_kind(events(one, **query.model_dump(exclude={"planner"})), "plan")
        planner = planner_for(query, one)
        plan = planner.plan(np.array(query.start), np.array(query.goal), seed=seed)
        assert plan.spread is not None and plan.times is not None and plan.too_fast is not None
        assert plan.replans is not None and plan.same_route is not None
        assert np.allclose(event["spread"], plan.spread[0], atol=6e-4)
        assert event["replans"] == len(plan.replans[0])
        others = plan.replans[0][~plan.same_route[0]]
        assert len(event["other_routes"]) == len(others)
        assert not len(others) or np.allclose(event["other_routes"], others, atol=6e-4)
        assert event["body_steps"] == round(float(plan.times[0, -1]))
        assert event["steps"] == plan.steps[0]
        assert event["too_fast"] == np.flatnonzero(plan.too_fast[0]).tolist()
        routes += len(others)
    assert routes
    (guided,) = of_kind(events(one, via_points=((1.8, 0.8),), candidates=2), "plan")
    assert guided["body_steps"] is None


def test_a_plan_that_is_not_made_again_has_no_spread(served: dict[str, ServedPlanner]) -> None:
    one = replace(served[UMAZE], planner=served[UMAZE].planner.with_settings(replans=0))
    (plan,) = of_kind(events(one, candidates=2), "plan")
    assert (plan["spread"], plan["replans"], plan["other_routes"]) == (None, 0, [])


@pytest.mark.parametrize("name", [UMAZE, "maze2d-large", "ogbench-teleport"])
def test_the_floor_is_where_the_data_has_been(name: str) -> None:
    one = load_planners([name])[name]
    floor = one.planner.model.statistics.support.floor
    cells = np.argwhere(np.ones(floor.visited.shape))
    places = floor.origin + floor.resolution * (cells + 0.5)
    crossings = np.zeros(len(places), int)
    for ring in one.description["floor"]:
        crossings += Outline([*ring, ring[0]], closed=True).contains_points(places)
    assert (crossings % 2 == floor.visited.ravel()).all()


def test_equal_requests_have_equal_answers(served: dict[str, ServedPlanner]) -> None:
    first, second = (events(served[UMAZE], candidates=3, seed=5) for _ in range(2))
    for out in (first, second):
        out[-1].pop("seconds")
    assert first == second


@pytest.mark.parametrize("name", [UMAZE, OGBENCH])
def test_a_plan_is_executed_to_its_goal(served: dict[str, ServedPlanner], name: str) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("ogbench" if name == OGBENCH else "gymnasium_robotics")
    one = served[name]
    out = events(one, execute=True)
    episode = of_kind(out, "episode")
    assert not of_kind(out, "error") and episode[-1]["over"]
    assert not any(event["over"] for event in episode[:-1])
    positions = np.concatenate([event["positions"] for event in episode])
    assert len(positions) == episode[-1]["step"] + 1
    assert np.allclose(positions[0], one.description["start"], atol=1e-3)
    reached = episode[-1]["reached"]
    away = np.linalg.norm(positions - one.description["goal"], axis=1)
    assert reached == np.flatnonzero(away <= one.description["goal_radius"])[0]
    assert one.maze.is_free(positions, radius=0.0).all()


def test_a_via_point_is_passed(served: dict[str, ServedPlanner]) -> None:
    one = served[UMAZE]
    start, aside = (1.0, 3.0), (1.0, 1.0)
    plain, guided = (
        of_kind(events(one, start=start, goal=(3.0, 3.0), via_points=via), "plan")[0]
        for via in ((), (aside,))
    )
    nearest = [np.linalg.norm(np.array(p["points"]) - aside, axis=1).min() for p in (plain, guided)]
    assert nearest[0] > 1 and nearest[1] < 0.3
    assert plain["via_distances"] == [] and guided["via_distances"][0] <= nearest[1] + 1e-3


def test_a_zone_is_kept_out_of(served: dict[str, ServedPlanner]) -> None:
    one = served[UMAZE]
    usual = np.array(of_kind(events(one), "plan")[0]["points"])
    # The half of the corridor that the plan passes through.
    middle = usual[np.abs(usual[:, 1] - 2.0).argmin()]
    zone = (middle[0] - 0.05, 1.7, middle[0] + 0.35, 2.3)
    (plan,) = of_kind(events(one, zones=(zone,)), "plan")
    points = np.array(plan["points"])
    along = np.linspace(0, 1, 9)[:, None, None]
    line = (points[:-1] + along * (points[1:] - points[:-1])).reshape(-1, 2)
    inside = ((line > zone[:2]) & (line < zone[2:])).all(1)
    assert not inside.any() and plan["zone_depths"] == [0.0]
    through = (middle[0] - 0.4, middle[1] - 0.1, middle[0] + 0.4, middle[1] + 0.1)
    (plan,) = of_kind(events(one, zones=(through,), guidance=0.0, steps=1), "plan")
    assert 0 < plan["zone_depths"][0] <= 0.1 + 1e-6


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("start", {"start": (0.0, 0.0)}, "free space"),
    ("goal", {"goal": (-9.0, 0.0)}, "free space"),
    ("via_points", {"via_points": ((1.0, 1.0), (0.0, 0.0))}, "via-point 2"),
    ("candidates", {"candidates": 64, "mc_samples": 16, "steps": 50}, "50000"),
    ("zones", {"zones": ((-9.0, -9.0, 9.0, 9.0),)}, "outside the zones"),
    ("uncertainty_scale", {"matrix": "pyramid", "uncertainty_scale": 4.0}, "steps, 3"),
]


@pytest.mark.parametrize(("field", "more", "message"), WRONG)
def test_requests_that_cannot_be_planned_are_errors_with_a_field(
    served: dict[str, ServedPlanner], field: str, more: dict[str, Any], message: str
) -> None:
    (event,) = events(served[UMAZE], **more)
    assert (event["kind"], event["field"]) == ("error", field)
    assert message in event["message"]


def test_without_a_simulator_the_plan_is_followed_by_an_error(
    served: dict[str, ServedPlanner], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise MissingSimulatorError("mujoco")

    monkeypatch.setattr(execution, "make", missing)
    out = events(served[UMAZE], candidates=2, execute=True)
    assert [event["kind"] for event in out[-2:]] == ["plan", "error"]
    assert out[-1]["field"] == "execute" and "pip install 'dfplan[envs]'" in out[-1]["message"]


@pytest.mark.parametrize("after", [1, 4])
def test_an_exception_of_emit_stops_planning(served: dict[str, ServedPlanner], after: int) -> None:
    class DisconnectedError(Exception):
        pass

    seen: list[Any] = []

    def emit(event: Any) -> None:
        seen.append(event)
        if len(seen) == after:
            raise DisconnectedError

    with pytest.raises(DisconnectedError):
        answer(request(served[UMAZE], matrix="pyramid", execute=True), served[UMAZE], emit)
    assert len(seen) == after


def test_only_forcing_planners_with_a_maze_are_loaded() -> None:
    everything = load_planners()
    assert all(one.planner.maze for one in everything.values())
    for one in everything.values():
        start, goal = one.description["start"], one.description["goal"]
        assert one.maze.is_free(np.array([start, goal])).all()
    with pytest.raises(ConfigError, match="Diffusion Forcing"):
        load_planners(["benchmarks/checkpoints/diffuser-brief-umaze.safetensors"])
    with pytest.raises(ConfigError, match="'maze2d-umaze'"):
        load_planners(["maze2d-umase"])


def test_a_goal_beyond_a_window_is_planned_along_the_way() -> None:
    one = load_planners(["ogbench-giant-stitch"])["ogbench-giant-stitch"]
    out = events(one, candidates=2)
    (plan,) = of_kind(out, "plan")
    assert not of_kind(out, "error")
    assert plan["steps"] > one.planner.model.layout.longest_horizon
    assert np.allclose(plan["points"][-1], one.description["goal"], atol=1e-3)
