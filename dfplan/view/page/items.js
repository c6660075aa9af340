// Start, goal, via-points and zones: buttons over the maze that can be moved.
//
// Items are named "start", "goal", "via0", "via1", ... and "zone0", "zone1", ...

import { clearErrors, inputErrors, refuseInput } from "./errors.js";
import { boxBetween, clampToMaze, cornersOf, nearestFree, toGrid, toPosition, viewOf } from "./geometry.js";
import { redraw } from "./redraw.js";
import { requestPlans } from "./requests.js";
import { MAX_VIA_POINTS, MAX_ZONES, countOf, element, formatPosition, state } from "./state.js";

const indexOf = (name) => +name.replace(/\D+/, "");
const listOf = (name) => {
  if (name.startsWith("via")) return state.query.via_points;
  return name.startsWith("zone") ? state.query.zones : null;
};

/** Place the items and update the inputs of the query. */
export function showQuery() {
  const view = viewOf(state.maze);
  const items = itemsOf(state.query);
  for (const panel of state.panels) {
    panel.mazeBox.style.setProperty("--aspect", view.width / view.height);
    panel.layer.dataset.tool = state.tool;
    for (const [name, button] of panel.items) {
      if (items.has(name)) continue;
      button.remove();
      panel.items.delete(name);
    }
    for (const [name, item] of items) {
      const button = panel.items.get(name) ?? addButton(panel, name, item);
      const place = item.box ?? item.position;
      button.setAttribute("aria-label", `${item.label}, ${formatPosition(place)}`);
      if (item.box) placeBox(button, ...cornersOf(item.box));
      else placePoint(button, toGrid(item.position));
    }
  }
  showQueryInputs();
  redraw();
}

/** Items of a query by name: { position or box, label, text, caption }. */
function itemsOf({ start, goal, via_points: viaPoints, zones }) {
  const items = new Map();
  zones.forEach((box, index) => {
    items.set(`zone${index}`, { box, label: `Keep-out zone ${index + 1}` });
  });
  viaPoints.forEach((position, index) => {
    items.set(`via${index}`, { position, label: `Via-point ${index + 1}`, text: index + 1 });
  });
  if (goal) items.set("goal", { position: goal, label: "Goal", caption: "goal" });
  items.set("start", { position: start, label: "Start", caption: "start" });
  return items;
}

function addButton(panel, name, { box, text, caption }) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.item = name;
  button.className = box ? "zone" : `handle ${name.replace(/\d+/, "")}`;
  const addText = (tag, textContent) =>
    button.append(Object.assign(document.createElement(tag), { textContent }));
  if (text) addText("span", text);
  if (caption) addText("b", caption);
  panel.items.set(name, button);
  panel.layer.append(button);
  return button;
}

function placePoint(node, [row, column]) {
  const view = viewOf(state.maze);
  node.style.left = `${(100 * (column - view.left)) / view.width}%`;
  node.style.top = `${(100 * (row - view.top)) / view.height}%`;
}

/** Place an element over the box between two grid points. */
export function placeBox(node, low, high) {
  const view = viewOf(state.maze);
  placePoint(node, low);
  node.style.width = `${(100 * (high[1] - low[1])) / view.width}%`;
  node.style.height = `${(100 * (high[0] - low[0])) / view.height}%`;
}

function showQueryInputs() {
  const { start, goal, via_points: viaPoints, zones } = state.query;
  for (const [id, position] of [["start", start], ["goal", goal]]) {
    const input = element(id);
    if (document.activeElement !== input) input.value = position ? formatPosition(position) : "";
  }
  const constraints = [
    viaPoints.length && countOf(viaPoints.length, "via-point"),
    zones.length && countOf(zones.length, "zone"),
  ].filter(Boolean);
  element("constraints").textContent = constraints.length
    ? `With ${constraints.join(" and ")}. More candidates and steps help.`
    : "No via-points, no zones.";
  element("clear").disabled = !constraints.length;
}

/** Show the changed query and plan for it; for the options see requestPlans. */
export function queryChanged(options) {
  inputErrors.clear();
  clearErrors(state.panels);
  showQuery();
  if (!state.recordings) {
    state.playing = false;
    requestPlans(options);
  }
}

/** Grid point of an item; of a zone, its smallest corner. */
export function gridPointOf(name) {
  if (name.startsWith("zone")) return cornersOf(state.query.zones[indexOf(name)])[0];
  return toGrid(listOf(name)?.[indexOf(name)] ?? state.query[name]);
}

/** Move an item to a grid point; of a zone, its smallest corner. */
export function moveItem(name, point) {
  const { query } = state;
  if (name.startsWith("zone")) {
    const [low, high] = cornersOf(query.zones[indexOf(name)]);
    const size = [high[0] - low[0], high[1] - low[1]];
    const corner = clampToMaze(point, size);
    query.zones[indexOf(name)] = boxBetween(corner, [corner[0] + size[0], corner[1] + size[1]]);
  } else {
    const position = toPosition(nearestFree(point));
    if (name.startsWith("via")) query.via_points[indexOf(name)] = position;
    else query[name] = position;
  }
}

/** Remove a via-point or a zone. */
export function removeItem(name) {
  const list = listOf(name);
  if (!list) return;
  list.splice(indexOf(name), 1);
  queryChanged();
}

/** Add a via-point at a grid point; returns its name, or null if there are too many. */
export function addViaPoint(point) {
  const points = state.query.via_points;
  if (points.length >= MAX_VIA_POINTS) {
    const message = `Expected at most ${MAX_VIA_POINTS} via-points. Erase one first.`;
    return refuseInput("via_points", message);
  }
  points.push(toPosition(nearestFree(point)));
  return `via${points.length - 1}`;
}

/** Add a zone between two grid points; returns its name, or null if there are too many. */
export function addZone(one, other) {
  const { zones } = state.query;
  if (zones.length >= MAX_ZONES) {
    return refuseInput("zones", `Expected at most ${MAX_ZONES} zones. Erase one first.`);
  }
  zones.push(boxBetween(one, other));
  return `zone${zones.length - 1}`;
}
