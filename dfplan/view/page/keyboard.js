// Keyboard shortcuts.

import { arrivalIndex, interpolate, toGrid } from "./geometry.js";
import { addViaPoint, addZone, queryChanged } from "./items.js";
import { selectTool, toggleComparison } from "./panels.js";
import { stepBy, togglePlay } from "./playback.js";
import { cancelDrag } from "./pointer.js";
import { requestPlans } from "./requests.js";
import { activePanel, element, state } from "./state.js";

const SHORTCUTS = {
  " ": togglePlay,
  ",": () => stepBy(-1),
  ".": () => stepBy(1),
  s: () => activePanel().items.get("start").focus(),
  g: () => activePanel().items.get("goal")?.focus(),
  e: () => requestPlans({ execute: true }),
  c: toggleComparison,
  v: () => addAtPlan(addViaPoint),
  z: () => addAtPlan((point) => addZone(...[-0.4, 0.4].map((d) => point.map((x) => x + d)))),
  "?": () => element("keys").showModal(),
};

/** Add an item at a grid point on the plan, and focus it. */
function addAtPlan(add) {
  if (state.recordings) return;
  const name = add(newPoint());
  if (!name) return;
  queryChanged();
  activePanel().items.get(name).focus();
}

/** A grid point on the plan for a new item: half way, then between the earlier ones. */
function newPoint() {
  const line = activePanel().result?.plan?.points;
  const { start, goal, via_points: viaPoints, zones } = state.query;
  // 1/2, 1/4, 3/4, 1/8, ...: the number's binary digits, mirrored at the point.
  let [share, digit] = [0, 0.5];
  for (let rest = viaPoints.length + zones.length + 1; rest; rest >>= 1, digit /= 2) {
    share += (rest & 1) * digit;
  }
  if (line) return toGrid(line[Math.floor(arrivalIndex(line) * share)]);
  return toGrid(interpolate(start, goal ?? start, share));
}

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (element("keys").open || !state.maze) return;
    if (event.key === "Escape") {
      if (!cancelDrag()) selectTool("move");
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inputs = "input:not([type=range]):not([type=radio]), select, textarea";
    const isTyping = event.target.closest?.(inputs);
    const isPressing = event.key === " " && event.target.closest?.("button, input");
    const action = SHORTCUTS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (isTyping || isPressing || !action) return;
    event.preventDefault();
    action();
  });
}
