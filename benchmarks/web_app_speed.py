"""How long does a user of the web app wait for a plan?

    python benchmarks/web_app_speed.py

``dfplan view`` serves the web app, headless Chromium on the same machine opens it, and a key moves
the goal, again and again. "first" is the time from the key to the first picture that shows the
plan, still noisy; "whole" is the time to the finished plan. Both are read before each frame that
the browser draws. p50 and p95 are over the plans. The targets on two cores are 200 ms and one
second, in the large maze.
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
    "full sequence": {"matrix": "full_sequence"},
    "4 candidates": {"candidates": "4"},
    "16 candidates": {"candidates": "16"},
    "16 Monte Carlo samples": {"mc_samples": "16"},
    "autoregressive": {"matrix": "autoregressive"},
    "autoregressive, 4 candidates": {"matrix": "autoregressive", "candidates": "4"},
}
"""Settings in the web app, by name of the row."""

_WATCH = """
(key) => new Promise((done) => {
  const stage = document.querySelector(".panel");
  const status = stage.querySelector(".status");
  const old = status.textContent;
  const started = performance.now();
  let first = null;
  const goal = document.querySelector("[data-item=goal]");
  goal.focus();
  goal.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const check = () => {
    const now = performance.now() - started;
    const text = status.textContent;
    if (first === null && /^(Row|Planned)/.test(text) && text !== old) first = now;
    if (stage.getAttribute("aria-busy") === "false") done([first, now, text]);
    else requestAnimationFrame(check);
  };
  requestAnimationFrame(check);
})
"""


def main(maze: str = "maze2d-large", plans: int = 20, out: Path = RESULTS) -> None:
    """Measure each of the settings.

    Args:
        maze: name of the planner.
        plans: number of plans per setting.
        out: folder for the results.
    """
    started = time.perf_counter()
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
    publish(out, "web_app_speed", __doc__, started, {f"From key to picture, {maze}": rows})


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
    times, text = [], ""
    for index in range(-2, plans):  # two for warming up
        first, whole, text = page.evaluate(_WATCH, keys[index % 2])
        if not text.startswith("Planned"):
            raise ConfigError(f"Expected a plan from the web app; its status is {text!r}.")
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
        "network evaluations": int(text.split(", ")[1].split()[0]),
    }


if __name__ == "__main__":
    auto_cli(main)
