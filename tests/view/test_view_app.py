"""The web app in Chromium, used with mouse, finger and keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from web_app import DESKTOP, PHONE, PLANNED, TIMEOUT, Open, drag, expect

from dfplan.plotting.style import LIGHT
from dfplan.view.export import export_html
from dfplan.view.planners import ServedPlanner


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_dragging_the_start_makes_a_new_plan(
    open_app: Open, size: tuple[int, int], scheme: str, tmp_path: Path
) -> None:
    app = open_app(size, color_scheme=scheme)
    assert app.fits()
    before, x_y = app.position("start"), app.handle("start")
    drag(app, x_y, app.at((0.3, 0.85)))
    assert np.linalg.norm(app.position("start") - before) > 0.5
    assert app.wait_for_plan()
    expect(app.page.locator("#time")).to_have_text("plan", timeout=TIMEOUT)
    picture = tmp_path / f"app-{size[0]}-{scheme}.png"
    app.page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["maze2d-umaze", "ogbench-medium"])
def test_walls_and_items_are_drawn_at_their_positions(
    open_app: Open, served: dict[str, ServedPlanner], name: str
) -> None:
    app, maze = open_app(), served[name].maze
    app.page.select_option("#maze", name)
    app.show_plan()
    height, width = maze.shape
    strip = min(1.0, max(0.3, 0.06 * (max(height, width) - 2)))
    corner, size = 0.5 - strip, np.array([height, width]) - 2 + 2 * strip
    box = app.page.locator(".layer").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(size[0] / size[1], abs=0.01)
    for which in ("start", "goal"):
        x, y = app.handle(which)
        point = corner + np.array([y - box["y"], x - box["x"]]) / box["width"] * size[1]
        assert np.allclose(
            maze.cell_to_xy(point), app.position(which), atol=0.03 * maze.suite.cell_size
        )
    share = np.random.default_rng(0).uniform(0.02, 0.98, (300, 2))
    inside = maze.is_free(maze.cell_to_xy(corner + share * size), radius=0.0)
    colors = np.array(
        app.page.evaluate(
            """(points) => {
                const canvas = document.querySelector(".maze canvas");
                const { width, height } = canvas;
                const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
                return points.map(([i, j]) => {
                    const at = 4 * (Math.floor(i * height) * width + Math.floor(j * width));
                    return [...pixels.slice(at, at + 4)];
                });
            }""",
            share.tolist(),
        )
    )[:, :3]
    wall, floor = (255 * np.array(to_rgb(color)) for color in (LIGHT.wall, LIGHT.floor))
    drawn = np.abs(colors - floor).sum(1) < np.abs(colors - wall).sum(1)
    unobstructed = (colors == wall).all(1) | (colors == floor).all(1)
    assert unobstructed.mean() > 0.7 and (drawn == inside)[unobstructed].mean() > 0.98


def test_everything_can_be_done_with_the_keyboard(open_app: Open) -> None:
    app = open_app()
    keys, focused = app.page.keyboard, app.page.locator(":focus")
    keys.press("g")
    expect(focused).to_have_attribute("data-item", "goal")
    before = app.position("goal")
    keys.press("ArrowRight")
    assert np.allclose(app.position("goal") - before, [0, 0.1], atol=1e-3)
    keys.press("Shift+ArrowRight")
    assert np.allclose(app.position("goal") - before, [0, 1.1], atol=1e-3)
    app.wait_for_plan()
    keys.press("v")
    expect(focused).to_have_attribute("data-item", "via0")
    keys.press("z")
    expect(focused).to_have_attribute("data-item", "zone0")
    expect(app.page.locator("#constraints")).to_contain_text("1 via-point and 1 zone")
    keys.press("Delete")
    app.page.locator("[data-item=via0]").focus()
    keys.press("Delete")
    expect(app.page.locator("#constraints")).to_have_text("No via-points, no zones.")
    app.wait_for_plan()
    keys.press(",")
    expect(app.status()).to_have_text(re.compile(r"^Row (\d+) of \1: 100% denoised\.$"))
    rows = int(app.status().inner_text().split()[1])
    keys.press(",")
    expect(app.status()).to_have_text(re.compile(rf"^Row {rows - 1} of {rows}: \d+% denoised\.$"))
    keys.press("?")
    expect(app.page.locator("#keys")).to_be_visible()
    keys.press("Escape")
    expect(app.page.locator("#keys")).to_be_hidden()


def test_escape_cancels_a_drag(open_app: Open) -> None:
    app = open_app()
    before = app.page.input_value("#goal")
    app.page.mouse.move(*app.handle("goal"))
    app.page.mouse.down()
    app.page.mouse.move(*app.at((0.8, 0.8)), steps=3)
    assert app.page.input_value("#goal") != before
    app.page.keyboard.press("Escape")
    app.page.mouse.up()
    assert app.page.input_value("#goal") == before
    app.wait_for_plan()


def test_zones_and_via_points_are_drawn_and_erased(open_app: Open) -> None:
    app = open_app()
    app.page.get_by_role("radio", name="Zone").check()
    drag(app, app.at((0.72, 0.5)), app.at((0.8, 0.6)))
    app.page.get_by_role("radio", name="Via-point").check()
    app.page.mouse.click(*app.at((0.8, 0.15)))
    expect(app.page.locator("#constraints")).to_contain_text("1 via-point and 1 zone")
    app.wait_for_plan()
    app.page.get_by_role("radio", name="Erase").check()
    for name in ("zone0", "via0"):
        app.page.mouse.click(*app.handle(name))
    expect(app.page.locator("#constraints")).to_have_text("No via-points, no zones.")


def test_two_settings_are_compared_at_one_cursor(open_app: Open) -> None:
    app = open_app()
    app.page.click("#compare")
    assert app.fits()
    first, second = app.wait_for_plan(0), app.wait_for_plan(1)
    assert first != second
    expect(app.page.locator(".summary").nth(0)).to_contain_text("pyramid")
    expect(app.page.locator(".summary").nth(1)).to_contain_text("full")
    app.page.locator("#scrubber").fill("0")
    for panel in (0, 1):
        expect(app.status(panel)).to_have_text(re.compile(r"^Row 1 of \d+: \d+% denoised\.$"))
    app.page.click("#compare")
    expect(app.page.locator(".panel")).to_have_count(1)


def test_a_plan_is_executed(open_app: Open) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    app = open_app(reduced_motion="reduce")
    app.page.click("#execute")
    expect(app.status()).to_have_text(
        re.compile(r"^Executing: step \d+, goal reached at step \d+"), timeout=TIMEOUT
    )


def test_errors_are_shown_next_to_their_field(open_app: Open) -> None:
    app = open_app()
    for name, text, message in (
        ("start", "0, 0", "free space"),
        ("start", "here", "Expected two numbers"),
        ("goal", "1e9, 1", "from -10000 to 10000"),
        ("set-seed", "-1", "whole number from 0"),
    ):
        valid = app.page.input_value(f"#{name}")
        app.page.fill(f"#{name}", text)
        app.page.press(f"#{name}", "Enter")
        note = app.page.locator(f"#error-{name.removeprefix('set-')}")
        expect(note).to_contain_text(message, timeout=TIMEOUT)
        expect(app.page.locator(".error:visible")).to_have_count(1)
        app.page.fill(f"#{name}", valid)
        app.page.press(f"#{name}", "Enter")
        expect(note).to_be_hidden(timeout=TIMEOUT)
        app.wait_for_plan()


def test_the_uncertainty_scale_is_limited_by_the_steps(open_app: Open) -> None:
    app = open_app()
    app.page.check("input[name=matrix][value=pyramid]", force=True)
    slide = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
    app.page.locator("#set-uncertainty_scale").evaluate(slide, "5")
    expect(app.page.locator("#out-uncertainty_scale")).to_have_text("3 rows per token")
    app.page.locator("#set-steps").evaluate(slide, "2")
    expect(app.page.locator("#out-uncertainty_scale")).to_have_text("2 rows per token")
    assert PLANNED.match(app.wait_for_plan())
    app.page.fill("#set-seed", "1e99")
    expect(app.page.locator("#error-seed")).to_be_visible(timeout=TIMEOUT)
    app.page.fill("#set-seed", "")
    app.page.press("#set-seed", "Enter")
    expect(app.page.locator(".error:visible")).to_have_count(0, timeout=TIMEOUT)
    assert app.page.input_value("#set-seed") == "0" and PLANNED.match(app.wait_for_plan())


def test_it_plans_again_after_too_many_via_points(open_app: Open) -> None:
    app = open_app()
    for _ in range(9):
        app.page.keyboard.press("v")
    expect(app.page.locator("#error-via_points")).to_be_visible(timeout=TIMEOUT)
    app.wait_for_plan()
    with app.page.expect_request("**/plan"):
        app.page.click("#plan")
    expect(app.page.locator("#error-via_points")).to_be_hidden(timeout=TIMEOUT)


def test_random_clicks_and_drags_cause_no_errors(open_app: Open) -> None:
    app, rng = open_app(), np.random.default_rng(0)
    keys = ["g", "s", "v", "z", "c", "e", " ", ",", ".", "Delete", "Escape", "ArrowUp", "Tab"]
    for step in range(100):
        one, other = rng.uniform(0.01, 0.99, (2, 2)) * DESKTOP
        if step % 3:
            one = np.array(app.at(tuple(rng.uniform(0, 1, 2))))
        app.page.mouse.move(*one)
        app.page.mouse.down()
        if rng.random() < 0.5:
            app.page.mouse.move(*other, steps=2)
        app.page.mouse.up()
        if rng.random() < 0.3:
            app.page.keyboard.press(str(rng.choice(keys)))
    app.page.keyboard.press("Escape")
    assert app.page.locator(".panel").count() in (1, 2)
    app.page.reload()
    app.show_plan()


def test_an_exported_file_needs_no_server(
    open_app: Open, served: dict[str, ServedPlanner], tmp_path: Path
) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    one = {"maze2d-umaze": served["maze2d-umaze"]}
    settings = ({"matrix": "full_sequence"}, {"matrix": "pyramid", "uncertainty_scale": 1.0})
    path = export_html(tmp_path / "app.html", one, queries=3, settings=settings)
    app = open_app(url=path.as_uri())
    expect(app.page.locator("#notice")).to_contain_text("dfplan view")
    assert np.allclose(app.position("start"), one["maze2d-umaze"].description["start"])
    query = app.page.input_value("#recorded")
    drag(app, app.handle("start"), app.handle("goal"))
    assert app.page.input_value("#recorded") != query
    app.page.select_option("#set-variant", label="Pyramid, scale 1")
    expect(app.page.locator(".matrix-rows").first).not_to_have_text("3 rows ↓")
    app.wait_for_plan()
    app.page.click("#execute")
    expect(app.status()).to_contain_text("Executing", timeout=TIMEOUT)
