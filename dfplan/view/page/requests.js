// Requests for plans, and their results.

import { clearErrors, showErrors } from "./errors.js";
import { liveEvents, recordedEvents } from "./events.js";
import { arrivalIndex } from "./geometry.js";
import { moveCursor, play } from "./playback.js";
import { redraw } from "./redraw.js";
import { halfwayRow } from "./results.js";
import { state } from "./state.js";

export const GRACE_PERIOD = 300; // milliseconds that a plan may take before a newer request ends it

/**
 * Request new plans; a plan that may finish soon is not interrupted before its grace period ends.
 *
 * The `opening` request of a maze is executed too. It shows the plan on its way, and the path.
 */
export function requestPlans({ execute = false, opening = false, panels = state.panels } = {}) {
  for (const panel of panels) {
    panel.queued = { execute: execute || opening, opening };
    panel.node.setAttribute("aria-busy", "true");
    const left = panel.controller ? GRACE_PERIOD - (performance.now() - panel.started) : 0;
    if (left <= 0) launch(panel);
    else panel.timer ??= setTimeout(() => launch(panel), left);
  }
}

/** Cancel all requests of a panel. */
export function cancelRequests(panel) {
  panel.controller?.abort();
  panel.controller = panel.queued = null;
  clearTimeout(panel.timer);
  panel.timer = null;
}

function requestOf(panel, execute) {
  const { variant, ...settings } = panel.settings;
  const planner = state.maze.name;
  if (state.recordings) return { planner, query: state.recordedIndex, variant, execute };
  return { planner, ...state.query, ...settings, execute };
}

async function launch(panel) {
  clearTimeout(panel.timer);
  panel.timer = null;
  if (!panel.queued) return;
  const { execute, opening } = panel.queued;
  panel.queued = null;
  panel.controller?.abort();
  const controller = new AbortController();
  panel.controller = controller;
  panel.started = performance.now();
  const request = requestOf(panel, execute);
  const key = JSON.stringify({ ...request, execute: true });
  // To execute the plan that is shown, it is made again. Its rows are not shown a second time.
  panel.repeating = Boolean(execute && panel.result?.plan && panel.result.key === key);
  const result = { key, opening, rows: [], total: 0, plan: null, ends: null, positions: [] };
  Object.assign(result, { every: 1, step: 0, reached: null, replanned: 0, over: false });
  try {
    const events = state.recordings ? recordedEvents : liveEvents;
    for await (const event of events(request, controller.signal)) {
      if (controller.signal.aborted) return;
      receive(panel, result, event, performance.now() - panel.started);
    }
  } catch (error) {
    if (controller.signal.aborted) return;
    fail(panel, "", `No answer from the server (${error.message}). Check that dfplan view is running.`);
  } finally {
    if (panel.controller === controller) {
      panel.controller = null;
      panel.waiting = panel.repeating = false;
      if (panel.queued) launch(panel);
      redraw();
    }
  }
}

/** Add an event to a result and show it. */
function receive(panel, result, event, milliseconds) {
  panel.waiting = event.kind === "waiting";
  if (panel.waiting) setTimeout(redraw, GRACE_PERIOD + 20); // short waits are not shown
  if (event.kind === "error") {
    // Nobody asked for the opening's episode, which needs a simulator.
    if (result.opening && event.field === "execute") return;
    return fail(panel, event.field, event.message);
  }
  if (event.kind === "row") {
    if (!result.rows.length) {
      result.firstRowAfter = milliseconds;
      result.ends = event.points.map((line) => arrivalIndex(line));
      if (panel.error) clearErrors([panel]);
      if (!panel.repeating) showResult(panel, result);
    }
    result.rows.push(event);
    result.total = event.rows;
  } else if (event.kind === "plan") {
    result.plan = event;
    if (panel.repeating) showResult(panel, result);
    panel.repeating = false;
    if (result.opening && state.followLatest) moveCursor(halfwayRow(result) / result.rows.length);
  } else if (event.kind === "episode") {
    const starts = !result.positions.length;
    result.positions.push(...event.positions);
    const { every = 1, step, reached, replanned, over } = event;
    Object.assign(result, { every, step, reached, replanned, over });
    // If another panel's episode is being played, this one joins it.
    if (starts && !result.opening && !(state.playing && state.cursor > 1)) play(1);
  }
  redraw();
}

function showResult(panel, result) {
  panel.result = result;
  if (!state.playing) state.followLatest = true;
}

function fail(panel, field, message) {
  panel.error = { field, message };
  showErrors();
  redraw();
}
