"""The page as people have it: in Chromium, by mouse, finger and keys."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Here

from dfplan.view.export import export_page
from dfplan.view.planning import Served

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("there is no Chromium here", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

PATIENCE = 60_000
PLANNED = re.compile(r"^Planned \d+ steps in [\d.]+ m?s, \d+ network evaluations")
DESKTOP, PHONE = (1280, 800), (390, 844)


@dataclass
class Look:
    """A page and what went wrong in it."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A refusal (4xx) is logged, too, and is no fault of the page.
        self.page.on(
            "console",
            lambda said: (
                said.type in ("error", "warning")
                and "status of 4" not in said.text
                and self.faults.append(f"console: {said.text}")
            ),
        )
        self.page.on("pageerror", lambda error: self.faults.append(f"page: {error}"))
        self.page.on(
            "response",
            lambda got: got.status >= 500 and self.faults.append(f"{got.status} {got.url}"),
        )

    def status(self, panel: int = 0) -> Any:
        return self.page.locator(".status").nth(panel)

    def planned(self, panel: int = 0) -> str:
        """What it says once nothing asked of it is left to be done."""
        stage = self.page.locator(".stage").nth(panel)
        expect(stage).to_have_attribute("aria-busy", "false", timeout=PATIENCE)
        expect(self.status(panel)).to_have_text(PLANNED, timeout=PATIENCE)
        return str(self.status(panel).inner_text())

    def position(self, name: str) -> np.ndarray:
        return np.array([float(part) for part in self.page.input_value(f"#{name}").split(",")])

    def handle(self, name: str) -> tuple[float, float]:
        """The middle of a handle in the window."""
        box = self.page.locator(f"[data-item={name}]").first.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def at(self, place: tuple[float, float]) -> tuple[float, float]:
        """A place of the maze, as shares of its height and width, in the window."""
        box = self.page.locator(".layer").first.bounding_box()
        return box["x"] + place[1] * box["width"], box["y"] + place[0] * box["height"]

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


Open = Callable[..., Look]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def look(browser: Any, here: Here) -> Iterator[Open]:
    contexts, looks = [], []

    def visit(size: tuple[int, int] = DESKTOP, url: str = here.url, **more: Any) -> Look:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
            **more,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        looks.append(Look(context.new_page()))
        looks[-1].page.goto(url)
        return looks[-1]

    yield visit
    for context in contexts:
        context.close()
    for one in looks:
        assert one.faults == []


def drag(look: Look, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, or with a finger where there is one."""
    if not look.page.evaluate("navigator.maxTouchPoints"):
        look.page.mouse.move(*start)
        look.page.mouse.down()
        look.page.mouse.move(*end, steps=8)
        look.page.mouse.up()
        return
    finger = look.page.context.new_cdp_session(look.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", start)
    for share in np.linspace(0, 1, 8):
        x, y = (1 - share) * np.array(start) + share * np.array(end)
        touch("touchMove", (float(x), float(y)))
    touch("touchEnd")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_from_drag_to_finished_plan(
    look: Open, size: tuple[int, int], scheme: str, tmp_path: Path
) -> None:
    seen = look(size, color_scheme=scheme)
    seen.planned()
    assert seen.fits()
    before, x_y = seen.position("start"), seen.handle("start")
    drag(seen, x_y, seen.at((0.3, 0.85)))
    assert np.linalg.norm(seen.position("start") - before) > 0.5
    expect(seen.page.locator(".matrix-rows").first).to_have_text("3 rows ↓")
    assert seen.planned()
    expect(seen.page.locator("#where")).to_have_text("plan", timeout=PATIENCE)
    picture = tmp_path / f"page-{size[0]}-{scheme}.png"
    seen.page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["maze2d-umaze", "ogbench-medium"])
def test_walls_and_places_are_where_the_physics_has_them(
    look: Open, served: dict[str, Served], name: str
) -> None:
    seen, maze = look(), served[name].maze
    seen.page.select_option("#maze", name)
    seen.planned()
    height, width = maze.shape
    ring = min(1.0, max(0.3, 0.06 * (max(height, width) - 2)))
    corner, size = 0.5 - ring, np.array([height, width]) - 2 + 2 * ring
    box = seen.page.locator(".layer").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(size[0] / size[1], abs=0.01)
    for which in ("start", "goal"):
        x, y = seen.handle(which)
        place = corner + np.array([y - box["y"], x - box["x"]]) / box["width"] * size[1]
        assert np.allclose(
            maze.cell_to_xy(place), seen.position(which), atol=0.03 * maze.suite.unit
        )
    share = np.random.default_rng(0).uniform(0.02, 0.98, (300, 2))
    inside = maze.contains(maze.cell_to_xy(corner + share * size), radius=0.0)
    colors = np.array(
        seen.page.evaluate(
            """(places) => {
                const canvas = document.querySelector(".maze canvas");
                const { width, height } = canvas;
                const seen = canvas.getContext("2d").getImageData(0, 0, width, height).data;
                return places.map(([i, j]) => {
                    const at = 4 * (Math.floor(i * height) * width + Math.floor(j * width));
                    return [...seen.slice(at, at + 4)];
                });
            }""",
            share.tolist(),
        )
    )[:, :3]
    wall, floor = np.array([0xD5, 0xD9, 0xE1]), np.array([255, 255, 255])
    drawn = np.abs(colors - floor).sum(1) < np.abs(colors - wall).sum(1)
    bare = (colors == wall).all(1) | (colors == floor).all(1)
    assert bare.mean() > 0.7 and (drawn == inside)[bare].mean() > 0.98


def test_keys_do_what_the_mouse_does(look: Open) -> None:
    seen = look()
    seen.planned()
    keys, focused = seen.page.keyboard, seen.page.locator(":focus")
    keys.press("g")
    expect(focused).to_have_attribute("data-item", "goal")
    before = seen.position("goal")
    keys.press("ArrowRight")
    assert np.allclose(seen.position("goal") - before, [0, 0.1], atol=1e-3)
    keys.press("Shift+ArrowRight")
    assert np.allclose(seen.position("goal") - before, [0, 1.1], atol=1e-3)
    seen.planned()
    keys.press("v")
    expect(focused).to_have_attribute("data-item", "via0")
    keys.press("z")
    expect(focused).to_have_attribute("data-item", "zone0")
    expect(seen.page.locator("#wishes")).to_contain_text("1 via-point and 1 zone")
    keys.press("Delete")
    seen.page.locator("[data-item=via0]").focus()
    keys.press("Delete")
    expect(seen.page.locator("#wishes")).to_have_text("No via-points, no zones.")
    seen.planned()
    keys.press(",")
    expect(seen.status()).to_have_text("Row 3 of 3: 100% certain.")
    keys.press(",")
    expect(seen.status()).to_have_text(re.compile(r"^Row 2 of 3: \d\d% certain\.$"))
    keys.press("?")
    expect(seen.page.locator("#keys")).to_be_visible()
    keys.press("Escape")
    expect(seen.page.locator("#keys")).to_be_hidden()


def test_escape_gives_up_a_drag(look: Open) -> None:
    seen = look()
    seen.planned()
    before = seen.page.input_value("#goal")
    seen.page.mouse.move(*seen.handle("goal"))
    seen.page.mouse.down()
    seen.page.mouse.move(*seen.at((0.8, 0.8)), steps=3)
    assert seen.page.input_value("#goal") != before
    seen.page.keyboard.press("Escape")
    seen.page.mouse.up()
    assert seen.page.input_value("#goal") == before
    seen.planned()


def test_zones_and_via_points_are_drawn_and_erased(look: Open) -> None:
    seen = look()
    seen.planned()
    seen.page.get_by_role("radio", name="Zone").check()
    drag(seen, seen.at((0.72, 0.5)), seen.at((0.8, 0.6)))
    seen.page.get_by_role("radio", name="Via-point").check()
    seen.page.mouse.click(*seen.at((0.8, 0.15)))
    expect(seen.page.locator("#wishes")).to_contain_text("1 via-point and 1 zone")
    seen.planned()
    seen.page.get_by_role("radio", name="Erase").check()
    for name in ("zone0", "via0"):
        seen.page.mouse.click(*seen.handle(name))
    expect(seen.page.locator("#wishes")).to_have_text("No via-points, no zones.")


def test_two_settings_are_compared_at_one_cursor(look: Open) -> None:
    seen = look()
    seen.planned()
    seen.page.click("#compare")
    assert seen.fits()
    first, second = seen.planned(0), seen.planned(1)
    assert first != second
    expect(seen.page.locator(".summary").nth(0)).to_contain_text("full")
    expect(seen.page.locator(".summary").nth(1)).to_contain_text("pyramid")
    seen.page.locator("#scrubber").fill("0")
    for panel in (0, 1):
        expect(seen.status(panel)).to_have_text(re.compile(r"^Row 1 of \d+: \d+% certain\.$"))
    seen.page.click("#compare")
    expect(seen.page.locator(".stage")).to_have_count(1)


def test_a_plan_is_driven(look: Open) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    seen = look(reduced_motion="reduce")
    seen.planned()
    seen.page.click("#drive")
    expect(seen.status()).to_have_text(
        re.compile(r"^Driving: step \d+, goal reached at \d+"), timeout=PATIENCE
    )


def test_errors_stand_where_they_arise(look: Open) -> None:
    seen = look()
    seen.planned()
    for name, text, message in (
        ("start", "0, 0", "must lie in free space"),
        ("start", "here", "Expected two numbers"),
        ("goal", "1e9, 1", "number from -10000 to 10000"),
        ("set-seed", "-1", "whole number from 0"),
    ):
        fine = seen.page.input_value(f"#{name}")
        seen.page.fill(f"#{name}", text)
        seen.page.press(f"#{name}", "Enter")
        note = seen.page.locator(f"#error-{name.removeprefix('set-')}")
        expect(note).to_contain_text(message, timeout=PATIENCE)
        expect(seen.page.locator(".error:visible")).to_have_count(1)
        seen.page.fill(f"#{name}", fine)
        seen.page.press(f"#{name}", "Enter")
        expect(note).to_be_hidden(timeout=PATIENCE)
        seen.planned()


def test_settings_cannot_be_set_against_each_other(look: Open) -> None:
    seen = look()
    seen.planned()
    seen.page.check("input[name=matrix][value=pyramid]", force=True)
    slide = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
    seen.page.locator("#set-uncertainty_scale").evaluate(slide, "5")
    expect(seen.page.locator("#out-uncertainty_scale")).to_have_text("3 rows a token")
    seen.page.locator("#set-steps").evaluate(slide, "2")
    expect(seen.page.locator("#out-uncertainty_scale")).to_have_text("2 rows a token")
    assert PLANNED.match(seen.planned())
    seen.page.fill("#set-seed", "1e99")
    expect(seen.page.locator("#error-seed")).to_be_visible(timeout=PATIENCE)
    seen.page.fill("#set-seed", "")
    seen.page.press("#set-seed", "Enter")
    expect(seen.page.locator(".error:visible")).to_have_count(0, timeout=PATIENCE)
    assert seen.page.input_value("#set-seed") == "0" and PLANNED.match(seen.planned())


def test_it_plans_again_after_a_place_too_many(look: Open) -> None:
    seen = look()
    seen.planned()
    for _ in range(9):
        seen.page.keyboard.press("v")
    expect(seen.page.locator("#error-via")).to_be_visible(timeout=PATIENCE)
    seen.planned()
    with seen.page.expect_request("**/plan"):
        seen.page.click("#plan")
    expect(seen.page.locator("#error-via")).to_be_hidden(timeout=PATIENCE)


def test_two_hundred_random_clicks_and_drags_raise_nothing(look: Open) -> None:
    seen, rng = look(), np.random.default_rng(0)
    seen.planned()
    keys = ["g", "s", "v", "z", "c", "d", " ", ",", ".", "Delete", "Escape", "ArrowUp", "Tab"]
    for step in range(200):
        one, other = rng.uniform(0.01, 0.99, (2, 2)) * DESKTOP
        if step % 3:
            one = np.array(seen.at(tuple(rng.uniform(0, 1, 2))))
        seen.page.mouse.move(*one)
        seen.page.mouse.down()
        if rng.random() < 0.5:
            seen.page.mouse.move(*other, steps=2)
        seen.page.mouse.up()
        if rng.random() < 0.3:
            seen.page.keyboard.press(str(rng.choice(keys)))
    seen.page.keyboard.press("Escape")
    assert seen.page.locator(".stage").count() in (1, 2)
    seen.page.reload()
    seen.planned()


def test_an_exported_page_needs_no_server(
    look: Open, served: dict[str, Served], tmp_path: Path
) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    one = {"maze2d-umaze": served["maze2d-umaze"]}
    settings = ({"matrix": "full_sequence"}, {"matrix": "pyramid", "uncertainty_scale": 1.0})
    path = export_page(tmp_path / "page.html", one, problems=3, settings=settings)
    seen = look(url=path.as_uri())
    seen.planned()
    expect(seen.page.locator("#notice")).to_contain_text("dfplan view")
    assert np.allclose(seen.position("start"), one["maze2d-umaze"].described["start"])
    problem = seen.page.input_value("#recorded")
    drag(seen, seen.handle("start"), seen.handle("goal"))
    assert seen.page.input_value("#recorded") != problem
    seen.page.select_option("#set-variant", label="Pyramid, scale 1")
    expect(seen.page.locator(".matrix-rows").first).not_to_have_text("3 rows ↓")
    seen.planned()
    seen.page.click("#drive")
    expect(seen.status()).to_contain_text("Driving", timeout=PATIENCE)
