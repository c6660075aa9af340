"""How long does whoever looks at the page wait for a plan?

    python benchmarks/page_speed.py

``dfplan view`` serves its page, headless Chromium on the same machine opens it, and the goal is
moved by a key, over and over. "First" is from that key to the first picture in which the plan
stands, still noisy, "whole" to the one in which it is finished: what the page shows is asked
before every frame that the browser draws. p50 and p95 are over the plans. Wanted on two cores are
200 ms and a second, in the large maze.
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from findings import RESULTS, publish
from jsonargparse import auto_cli
from playwright.sync_api import sync_playwright
from tqdm import tqdm

from dfplan.errors import ConfigError
from dfplan.view.planners import load_planners
from dfplan.view.server import bind_server, server_url

SETTINGS: dict[str, dict[str, str]] = {
    "defaults": {},
    "16 futures": {"mc_samples": "16"},
    "pyramid": {"matrix": "pyramid"},
    "pyramid, 4 candidates": {"matrix": "pyramid", "candidates": "4"},
    "autoregressive": {"matrix": "autoregressive"},
    "autoregressive, 4 candidates": {"matrix": "autoregressive", "candidates": "4"},
}
"""What is set in the page, by what the row is called."""

_WATCH = """
(key) => new Promise((done) => {
  const stage = document.querySelector(".panel");
  const status = stage.querySelector(".status");
  const old = status.textContent;
  const began = performance.now();
  let first = null;
  const goal = document.querySelector("[data-item=goal]");
  goal.focus();
  goal.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const asked = () => {
    const now = performance.now() - began;
    const said = status.textContent;
    if (first === null && /^(Row|Planned)/.test(said) && said !== old) first = now;
    if (stage.getAttribute("aria-busy") === "false") done([first, now, said]);
    else requestAnimationFrame(asked);
  };
  requestAnimationFrame(asked);
})
"""


def main(maze: str = "maze2d-large", plans: int = 20, out: Path = RESULTS) -> None:
    """Measure each of the settings.

    Args:
        maze: name of the planner.
        plans: how many are made with each of the settings.
        out: folder of the results.
    """
    began = time.perf_counter()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise ConfigError("Expected Chromium on the path (Debian's package is called chromium).")
    server, listener = bind_server(load_planners([maze]), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            rows = [
                _row(browser, server_url(listener), name, plans)
                for name in tqdm(SETTINGS, unit="setting")
            ]
            browser.close()
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    publish(out, "page_speed", __doc__, began, {f"From key to picture, {maze}": rows})


def _row(browser: Any, address: str, name: str, plans: int) -> dict[str, object]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.goto(address)
    page.wait_for_selector(".panel[aria-busy=false]")
    for field, value in SETTINGS[name].items():
        if field == "matrix":
            page.locator(f"input[name=matrix][value={value}]").check(force=True)
        else:
            page.locator(f"#set-{field}").fill(value)
    page.wait_for_selector(".panel[aria-busy=false]")
    keys = ("ArrowLeft", "ArrowRight")
    times, said = [], ""
    for index in range(-2, plans):  # two warm up
        first, whole, said = page.evaluate(_WATCH, keys[index % 2])
        if not said.startswith("Planned"):
            raise ConfigError(f"Expected a plan from the page; it says {said!r}.")
        if index >= 0:
            times.append((first, whole))
    page.close()
    first, whole = np.array(times).T
    return {
        "settings": name,
        "first, ms (p50)": round(float(np.median(first))),
        "first, ms (p95)": round(float(np.quantile(first, 0.95))),
        "whole, ms (p50)": round(float(np.median(whole))),
        "whole, ms (p95)": round(float(np.quantile(whole, 0.95))),
        "network evaluations": int(said.split(", ")[1].split()[0]),
    }


if __name__ == "__main__":
    auto_cli(main)
