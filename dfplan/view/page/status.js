// The status line of a panel.

import { lastStep, shownRow, showsPlan } from "./playback.js";
import { GRACE_PERIOD } from "./requests.js";
import { denoisedPercentage } from "./results.js";
import { countOf, state } from "./state.js";

/** Text that describes what a panel shows at a time (see shownTime). */
export function statusOf(panel, time) {
  const result = panel.result;
  if (panel.error) return `Not planned: ${panel.error.message}`;
  if (panel.waiting && performance.now() - panel.started > GRACE_PERIOD) {
    return "Waiting for other plans to finish.";
  }
  if (!result) return panel.controller ? "Planning…" : "";
  if (panel.repeating) return "Planning again, to execute the plan…";
  if (time.step !== undefined) return episodeStatus(result, Math.round(time.step));
  if (showsPlan(result, time)) return planStatus(result);
  const event = shownRow(result, time);
  return `Row ${event.row} of ${event.rows}: ${denoisedPercentage(result, event)}% denoised.`;
}

function episodeStatus(result, step) {
  let goal = "";
  if (result.reached !== null && result.reached <= step) {
    goal = `, goal reached at step ${result.reached}`;
  } else if (result.over && step >= lastStep(result) && state.query.goal) goal = ", goal not reached";
  const again = result.replanned ? `; replanned ${countOf(result.replanned, "time")}` : "";
  return `Executing: step ${step}${goal}${again}.`;
}

function planStatus(result) {
  const { seconds, evaluations } = result.plan;
  let more = routesStatus(result.plan) + constraintStatus(result.plan);
  if (!more && !state.recordings) {
    more = ` First row after ${formatSeconds(result.firstRowAfter / 1000)}.`;
  }
  const cost = countOf(evaluations, "network evaluation");
  return `Planned in ${formatSeconds(seconds)}, ${cost}.${more}`;
}

/** How many of the plans made again take another route. */
function routesStatus({ other_routes: { length: count }, replans }) {
  if (!count) return "";
  return ` Made again, ${count} of ${replans} took another route.`;
}

function takenText({ reached, step }) {
  if (reached !== null) return `${reached}, to the goal's disc`;
  return state.query.goal ? `${step}, goal not reached` : `${step}`;
}

/** The three numbers of steps of a result: planned, needed by the body, and taken. */
export function stepsOf(result) {
  if (!result?.plan) return "";
  const { steps, body_steps: needed } = result.plan;
  const texts = [`Planned steps: ${steps}`];
  texts.push(`steps the body needs: ${needed ?? "as planned"}`);
  if (result.over) texts.push(`steps taken: ${takenText(result)}`);
  return `${texts.join(" · ")}.`;
}

/** How well a plan satisfies via-points and zones. */
function constraintStatus({ via_distances: distances = [], zone_depths: depths = [] }) {
  const units = (value) => `${value.toFixed(2)} units`;
  let text = "";
  if (distances.length) {
    const points = distances.length > 1 ? "via-points" : "via-point";
    text += ` Passes the ${points} within ${units(Math.max(...distances))}.`;
  }
  if (depths.length) {
    const deepest = Math.max(...depths);
    text += deepest > 0.005 ? ` Enters a zone by ${units(deepest)}.` : " Stays out of zones.";
  }
  return text;
}

function formatSeconds(seconds) {
  return seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`;
}
