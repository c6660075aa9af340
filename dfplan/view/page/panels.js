// Panels: one, or two with different settings. The selected maze and tool apply to both.

import { queryChanged, showQuery } from "./items.js";
import { listenToLayer, listenToMatrix } from "./pointer.js";
import { fillRecordedQueries, showRecorded, variantNames } from "./recorded.js";
import { redraw } from "./redraw.js";
import { cancelRequests, requestPlans } from "./requests.js";
import { activatePanel, fillVariants, showSettings } from "./settings.js";
import { element, plannerNamed, state } from "./state.js";

/** Add a panel with some settings. */
export function addPanel(settings) {
  const node = element("panel").content.firstElementChild.cloneNode(true);
  const find = (selector) => node.querySelector(selector);
  const panel = {
    node,
    settings,
    mazeCanvas: find(".maze canvas"),
    mazeBox: find(".maze"),
    layer: find(".layer"),
    matrixCanvas: find(".matrix canvas"),
    status: find(".status"),
    steps: find(".steps"),
    summary: find(".summary"),
    title: find("h2"),
    rowsLabel: find(".matrix-rows"),
    items: new Map(), // buttons of the items by name
    result: null, // what is shown
    controller: null, // aborts the request in progress
    started: 0, // when that request was sent
    queued: null, // the request that follows it
    timer: null, // sends the queued request
    waiting: false, // the server has not started to plan
    repeating: false, // the plan that is shown is being made again
    error: null,
  };
  new ResizeObserver(redraw).observe(panel.mazeBox);
  new ResizeObserver(redraw).observe(find(".matrix-box"));
  listenToLayer(panel);
  listenToMatrix(panel, find(".matrix-box"));
  state.panels.push(panel);
  element("panels").append(node);
}

/** Show two panels, or one again. */
export function toggleComparison() {
  const on = state.panels.length < 2;
  if (on) {
    const { settings } = state.panels[0];
    const matrix = settings.matrix === "pyramid" ? "full_sequence" : "pyramid";
    const variant = state.recordings ? (settings.variant + 1) % variantNames().length : 0;
    addPanel({ ...settings, matrix, variant });
  } else {
    const panel = state.panels.pop();
    cancelRequests(panel);
    panel.node.remove();
  }
  element("panels").classList.toggle("two", on);
  element("compare").setAttribute("aria-pressed", String(on));
  activatePanel(on ? 1 : 0);
  showQuery();
  if (on) requestPlans({ panels: [state.panels[1]] });
}

/** Select a planner and its maze. */
export function selectMaze(name) {
  const maze = plannerNamed(name);
  state.maze = maze;
  element("maze").value = name;
  state.query = { start: maze.start, goal: maze.goal, via_points: [], zones: [] };
  for (const panel of state.panels) {
    cancelRequests(panel);
    panel.result = panel.error = null;
  }
  state.followLatest = true;
  state.playing = false;
  if (!state.recordings) return queryChanged({ opening: true });
  fillRecordedQueries();
  fillVariants();
  showSettings();
  showRecorded(0, { opening: true });
}

/** Select a tool: move, via, zone or erase. */
export function selectTool(tool) {
  state.tool = tool;
  for (const input of element("tools").querySelectorAll("input")) input.checked = input.value === tool;
  showQuery();
}
