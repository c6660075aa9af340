// Mouse, finger and arrow keys on the maze and the matrix.

import { clampToMaze, viewOf } from "./geometry.js";
import {
  addViaPoint,
  addZone,
  gridPointOf,
  moveItem,
  placeBox,
  queryChanged,
  removeItem,
} from "./items.js";
import { moveCursor } from "./playback.js";
import { showRecorded, snapToRecorded, stepRecorded } from "./recorded.js";
import { clamp, state } from "./state.js";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const TAP = 0.1; // cells: shorter drags are taps
const MIN_ZONE = 0.02; // cells

/** Listen to the layer of items over a panel's maze. */
export function listenToLayer(panel) {
  const { layer } = panel;
  layer.addEventListener("pointerdown", (event) => startDrag(panel, event));
  layer.addEventListener("pointermove", (event) => continueDrag(panel, event));
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    layer.addEventListener(kind, (event) => endDrag(panel, event));
  }
  layer.addEventListener("keydown", (event) => pressKey(panel, event));
}

/** Grid point of a pointer event. */
function eventPoint(layer, event) {
  const box = layer.getBoundingClientRect();
  const view = viewOf(state.maze);
  return [
    view.top + ((event.clientY - box.top) / box.height) * view.height,
    view.left + ((event.clientX - box.left) / box.width) * view.width,
  ];
}

function startDrag(panel, event) {
  if (event.button !== 0 || state.drag || !state.maze) return;
  const name = event.target.closest("[data-item]")?.dataset.item;
  const point = eventPoint(panel.layer, event);
  const before = structuredClone(state.query);
  const drag = { panel, name, before, recorded: state.recordedIndex, pointer: event.pointerId };
  if (state.tool === "erase") {
    event.preventDefault();
    if (name) removeItem(name);
    return;
  }
  if (!name && state.tool === "move") return;
  if (!name && state.tool === "via") {
    drag.name = addViaPoint(point);
    if (!drag.name) return;
    queryChanged();
  }
  if (!name && state.tool === "zone") drag.from = point;
  if (drag.name) {
    // A zone keeps its distance to the pointer. The center of a handle moves to the pointer.
    const corner = drag.name.startsWith("zone") ? gridPointOf(drag.name) : point;
    drag.offset = [corner[0] - point[0], corner[1] - point[1]];
    const item = panel.items.get(drag.name);
    item.focus({ preventScroll: true });
    item.classList.add("held");
  }
  event.preventDefault();
  state.drag = drag;
  panel.layer.setPointerCapture(event.pointerId);
}

/** The drag in progress if it belongs to an event of a panel, else null. */
function dragOf(panel, event) {
  const { drag } = state;
  return drag && drag.panel === panel && event.pointerId === drag.pointer ? drag : null;
}

function continueDrag(panel, event) {
  const drag = dragOf(panel, event);
  if (!drag) return;
  const point = eventPoint(panel.layer, event);
  if (drag.from) return drawNewZone(panel, drag.from, point);
  moveItem(drag.name, [point[0] + drag.offset[0], point[1] + drag.offset[1]]);
  if (state.recordings) snapToRecorded(drag);
  queryChanged();
}

function endDrag(panel, event) {
  const drag = dragOf(panel, event);
  if (!drag) return;
  stopDrag(drag);
  if (drag.from && event.type === "pointerup") {
    finishZone(drag.from, eventPoint(panel.layer, event));
  } else if (state.recordings && drag.name) showRecorded();
}

function stopDrag({ panel, name }) {
  state.drag = null;
  panel.items.get(name)?.classList.remove("held");
  panel.layer.querySelector(".drawn")?.remove();
}

/** Add the zone between two grid points; a tap adds a zone of one cell around it. */
function finishZone(from, to) {
  const tapped = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])) < TAP;
  const around = (offset) => from.map((value) => value + offset);
  const corners = tapped ? [around(-0.5), around(0.5)] : [from, to];
  const [one, other] = corners.map((point) => clampToMaze(point));
  if ([0, 1].some((axis) => Math.abs(one[axis] - other[axis]) < MIN_ZONE)) return;
  if (addZone(one, other)) queryChanged();
}

/** Draw the zone while it is being drawn with the pointer. */
function drawNewZone(panel, one, other) {
  let box = panel.layer.querySelector(".drawn");
  if (!box) {
    box = Object.assign(document.createElement("div"), { className: "zone drawn" });
    panel.layer.append(box);
  }
  const corners = [Math.min, Math.max].map((pick) =>
    [0, 1].map((axis) => pick(one[axis], other[axis])),
  );
  placeBox(box, ...corners);
}

/** Cancel the drag in progress and restore the query; returns whether there was one. */
export function cancelDrag() {
  const { drag } = state;
  if (!drag) return false;
  stopDrag(drag);
  state.query = drag.before;
  if (state.recordings) showRecorded(drag.recorded);
  else queryChanged();
  return true;
}

/** Keys on an item: arrows move it, Delete removes it. */
function pressKey(panel, event) {
  const name = event.target.dataset?.item;
  const direction = ARROWS[event.key];
  if (!name) return;
  if (direction) {
    event.preventDefault();
    event.stopPropagation();
    if (state.recordings) return stepRecorded(direction[0] + direction[1]);
    const size = event.shiftKey ? 1 : 0.1;
    const from = gridPointOf(name);
    moveItem(name, [from[0] + size * direction[0], from[1] + size * direction[1]]);
    queryChanged();
  } else if (event.key === "Delete" || event.key === "Backspace") {
    event.preventDefault();
    removeItem(name);
    (panel.items.get(name) ?? panel.items.get("goal") ?? panel.items.get("start")).focus();
  }
}

/** Listen to the matrix of a panel: a press or a drag on it shows a row. */
export function listenToMatrix(panel, box) {
  const scrub = (event) => {
    const { result } = panel;
    if (!result || !(event.buttons & 1)) return;
    const share = (event.clientY - box.getBoundingClientRect().top) / box.clientHeight;
    const row = result.rows.findIndex((one) => one.row >= share * result.total);
    const count = result.rows.length;
    moveCursor(clamp((row < 0 ? count : row) / count, 0, 1));
  };
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    scrub(event);
  });
  box.addEventListener("pointermove", scrub);
}
