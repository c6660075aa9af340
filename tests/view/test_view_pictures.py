"""What the web app draws: colors, prediction regions, plan spread, routes and steps."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RunningServer, running
from matplotlib.colors import to_rgb
from PIL import Image
from web_app import DESKTOP, PHONE, TIMEOUT, App, Open, expect

from dfplan.plotting.style import THEMES
from dfplan.regions import RegionTable, RegionTables
from dfplan.view import export
from dfplan.view.answer import answer
from dfplan.view.planners import ServedPlanner
from dfplan.view.requests import PlanRequest

UMAZE = "maze2d-umaze"


def pixels(app: App, selector: str = ".maze canvas") -> np.ndarray:
    """Colors of a canvas, [height, width, 3]."""
    url = app.page.locator(selector).evaluate("(canvas) => canvas.toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.array(picture.convert("RGB"), int)


def marks(app: App) -> dict[str, str]:
    """Texts of the marks that the legend shows, by name."""
    items = app.page.locator("#legend-marks li:visible").all()
    return {item.get_attribute("data-mark"): item.inner_text() for item in items}


def opening(one: ServedPlanner) -> PlanRequest:
    """The first request of the web app."""
    start, goal = tuple(one.description["start"]), tuple(one.description["goal"])
    settings: dict[str, Any] = {"matrix": "pyramid", "uncertainty_scale": 0.5, "candidates": 8}
    return PlanRequest(planner=one.name, start=start, goal=goal, execute=True, **settings)


def events(one: ServedPlanner) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    answer(opening(one), one, out.append)
    return out


@pytest.fixture(scope="module")
def measured(served: dict[str, ServedPlanner]) -> Callable[[float], ServedPlanner]:
    """A planner whose prediction regions grow with the noise up to a radius; 0 for no regions."""
    one = served[UMAZE]

    def with_radius(radius: float) -> ServedPlanner:
        radii = radius * np.array([[[0.25, 0.5]], [[0.5, 1.0]]])
        stack = one.planner.model.layout.frame_stack
        table = RegionTable(np.array([0.5, 1.0]), np.array([1]), radii, stack)
        tables = RegionTables(table, table) if radius else None
        return replace(one, planner=replace(one.planner, regions=tables))

    return with_radius


@pytest.fixture(scope="module")
def measured_server(measured: Callable[[float], ServedPlanner]) -> Iterator[RunningServer]:
    with running({UMAZE: measured(1.5)}) as server:
        yield server


def show_opening(app: App) -> App:
    """Wait for the first view, with the path if there is a simulator."""
    expect(app.page.locator(".panel")).to_have_attribute("aria-busy", "false", timeout=TIMEOUT)
    expect(app.status()).to_have_text(re.compile(r"^Row \d+ of \d+"), timeout=TIMEOUT)
    return app


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colors_are_those_of_pictures(open_app: Open, scheme: str) -> None:
    app, theme = open_app(color_scheme=scheme), THEMES[scheme]
    for name in ("floor", "wall", "ink", "muted", "goal", "warning"):
        found = app.page.evaluate(
            "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()",
            f"--{name}",
        )
        assert found == getattr(theme, name), name
    bar = pixels(app, "#legend-bar")[4, 2:-2]
    share = (np.arange(len(bar)) + 2) / (len(bar) + 3)
    wanted = 255 * theme.uncertainty(share)[:, :3]
    assert np.abs(bar - wanted).max() < 6
    drawn = pixels(app).reshape(-1, 3)
    for color in (theme.floor, theme.wall):
        assert (np.abs(drawn - 255 * np.array(to_rgb(color))).max(1) < 1).mean() > 0.1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_view_is_a_plan_on_its_way_and_the_path(
    open_app: Open,
    measured_server: RunningServer,
    measured: Callable[[float], ServedPlanner],
    size: tuple[int, int],
) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    app = show_opening(open_app(size, url=measured_server.url, opening=True))
    assert app.fits() and {"region", "path"} <= marks(app).keys()
    out = events(measured(1.5))
    rows, (plan,) = ([e for e in out if e["kind"] == kind] for kind in ("row", "plan"))
    shown = int(app.status().inner_text().split()[1])
    level = np.array(rows[shown - 1]["level"][plan["best"]])
    noisy = np.flatnonzero(level)
    assert len(noisy) and not level[: noisy[0]].any() and noisy[0] > 1
    free = level[: noisy[-1] + 1]
    assert (np.diff(free[noisy[0] :]) >= 0).all()
    assert ("ring" in marks(app)) == (plan["max_level"] in free)
    steps = [int(number) for number in re.findall(r"\d+", app.page.inner_text(".steps"))]
    assert steps == [plan["steps"], plan["body_steps"], out[-1]["reached"]]


def test_the_first_view_needs_no_simulator(
    open_app: Open, measured: Callable[[float], ServedPlanner], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfplan.errors import MissingSimulatorError
    from dfplan.view import execution

    def missing(_: object) -> None:
        raise MissingSimulatorError("mujoco")

    monkeypatch.setattr(execution, "make", missing)
    with running({UMAZE: measured(0.0)}) as server:
        app = show_opening(open_app(url=server.url, opening=True))
        expect(app.page.locator(".error:visible")).to_have_count(0)
        assert "path" not in marks(app) and "region" not in marks(app)
        app.page.click("#execute")
        expect(app.page.locator("#error-execute")).to_be_visible(timeout=TIMEOUT)


def test_regions_end_where_the_data_has_never_been(
    open_app: Open, measured_server: RunningServer, measured: Callable[[float], ServedPlanner]
) -> None:
    with running({UMAZE: measured(0.0)}) as plain:
        bare = pixels(show_opening(open_app(url=plain.url, opening=True)))
    drawn = pixels(show_opening(open_app(url=measured_server.url, opening=True)))
    different = np.argwhere((bare != drawn).any(2))
    one, (height, width) = measured(0.0), bare.shape[:2]
    rows, columns = one.maze.shape
    strip = min(1.0, max(0.3, 0.06 * (max(rows, columns) - 2)))
    size = np.array([rows, columns]) - 2 + 2 * strip
    places = one.maze.cell_to_xy(0.5 - strip + (different + 0.5) / np.array([height, width]) * size)
    floor = one.planner.model.statistics.support.floor
    index = np.floor((places - floor.origin) / floor.resolution).astype(int)
    near = np.pad(floor.visited, 2)
    near = np.logical_or.reduce(
        [np.roll(near, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    )
    inside = near[tuple((index + 2).clip(0, np.array(near.shape) - 1).T)]
    assert len(different) > 0.02 * height * width and inside.all()


def replanned(one: ServedPlanner, **changes: Any) -> list[dict[str, Any]]:
    """Events with other routes and a part that is too fast, and with further changes."""
    (*rows, plan) = [event for event in events(one) if event["kind"] != "episode"]
    line = np.array(plan["points"]) + np.array([0.1, 0.0])
    plan |= {"replans": 5, "other_routes": [line.tolist()] * 2, "too_fast": [1]}
    return [*rows, plan | changes]


def open_with(open_app: Open, out: list[dict[str, Any]], server: RunningServer) -> App:
    """The web app with these events as the answer to each request."""
    app = open_app(url=server.url, opening=True)
    body = "".join(json.dumps(event) + "\n" for event in out)
    app.page.route("**/plan", lambda route: route.fulfill(body=body))
    app.page.reload()
    app.show_plan()
    return app


def test_other_routes_and_parts_that_are_too_fast_are_marked(
    open_app: Open, server: RunningServer, served: dict[str, ServedPlanner]
) -> None:
    out = replanned(served[UMAZE])
    app = open_with(open_app, out, server)
    shown, marked = marks(app), pixels(app)
    assert {"tube", "route", "fast"} <= shown.keys()
    assert re.findall(r"\d+", shown["route"]) == ["2", "5"]
    ink = 255 * np.array(to_rgb(THEMES["light"].ink))
    plain = open_with(open_app, replanned(served[UMAZE], other_routes=[], too_fast=[]), server)
    assert not {"route", "fast"} & marks(plain).keys()
    count = [(np.abs(p - ink).max(2) < 20).sum() for p in (marked, pixels(plain))]
    assert count[0] > count[1]


def test_the_scale_of_spread_is_fixed_and_a_plan_needs_no_spread(
    open_app: Open, server: RunningServer, served: dict[str, ServedPlanner]
) -> None:
    one = served[UMAZE]
    for spread in (0.01, 2.0):
        points = len(replanned(one)[-1]["points"])
        app = open_with(open_app, replanned(one, spread=[spread] * points), server)
        end = float(app.page.inner_text("#legend-high").split()[0])
        assert end == 0.5 * one.maze.suite.cell_size
    app = open_with(open_app, replanned(one, spread=None), server)
    assert "tube" not in marks(app)


def test_exported_pages_show_regions_routes_and_the_path(
    open_app: Open,
    measured: Callable[[float], ServedPlanner],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    one = measured(1.0)
    line = [one.description["start"], one.description["goal"]]

    def answer_with_routes(request: PlanRequest, served: ServedPlanner, emit: Any) -> None:
        routes = {"other_routes": [line], "replans": 4}
        answer(request, served, lambda e: emit(e | routes if e["kind"] == "plan" else e))

    monkeypatch.setattr(export, "answer", answer_with_routes)
    path = export.export_html(tmp_path / "app.html", {UMAZE: one}, queries=1)
    app = show_opening(open_app(url=path.as_uri(), opening=True))
    assert {"region", "path"} <= marks(app).keys()
    app.show_plan()
    assert re.findall(r"\d+", marks(app)["route"]) == ["1", "4"]
