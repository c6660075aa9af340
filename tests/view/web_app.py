"""The web app in Chromium, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

TIMEOUT = 60_000
PLANNED = re.compile(r"^Planned in [\d.]+ m?s, \d+ network evaluations")
DESKTOP, PHONE = (1280, 800), (390, 844)


@dataclass
class App:
    """The web app in a browser's page, and its errors."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Refused requests (4xx) are logged too; they are not errors of the web app.
        self.page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning")
                and "status of 4" not in message.text
                and self.errors.append(f"console: {message.text}")
            ),
        )
        self.page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
        self.page.on(
            "response",
            lambda response: (
                response.status >= 500 and self.errors.append(f"{response.status} {response.url}")
            ),
        )

    def status(self, panel: int = 0) -> Any:
        return self.page.locator(".status").nth(panel)

    def wait_for_plan(self, panel: int = 0) -> str:
        """The status once all requests are finished."""
        stage = self.page.locator(".panel").nth(panel)
        expect(stage).to_have_attribute("aria-busy", "false", timeout=TIMEOUT)
        expect(self.status(panel)).to_have_text(PLANNED, timeout=TIMEOUT)
        return str(self.status(panel).inner_text())

    def show_plan(self) -> str:
        """Leave the first view, of a plan on its way; the status once the plan is shown."""
        stage = self.page.locator(".panel").first
        expect(stage).to_have_attribute("aria-busy", "false", timeout=TIMEOUT)
        self.page.locator("#scrubber").fill("1000")
        return self.wait_for_plan()

    def position(self, name: str) -> np.ndarray:
        return np.array([float(part) for part in self.page.input_value(f"#{name}").split(",")])

    def handle(self, name: str) -> tuple[float, float]:
        """The center of an item, in pixels of the window."""
        box = self.page.locator(f"[data-item={name}]").first.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """A point given as shares of the maze's height and width, in pixels of the window."""
        box = self.page.locator(".layer").first.bounding_box()
        return box["x"] + point[1] * box["width"], box["y"] + point[0] * box["height"]

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


Open = Callable[..., App]


def drag(app: App, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, or with a finger on a touch screen."""
    if not app.page.evaluate("navigator.maxTouchPoints"):
        app.page.mouse.move(*start)
        app.page.mouse.down()
        app.page.mouse.move(*end, steps=8)
        app.page.mouse.up()
        return
    finger = app.page.context.new_cdp_session(app.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", start)
    for share in np.linspace(0, 1, 8):
        x, y = (1 - share) * np.array(start) + share * np.array(end)
        touch("touchMove", (float(x), float(y)))
    touch("touchEnd")
