// Quantities of results that are drawn or described.

import { interpolate } from "./geometry.js";
import { clamp, state } from "./state.js";

/** Position of the body at an environment step of an episode. */
export function positionAt(result, step) {
  const at = clamp(step / result.every, 0, result.positions.length - 1);
  return interpolate(result.positions[Math.floor(at)], result.positions[Math.ceil(at)], at % 1);
}

/** Upper end of the color scale of spread; the same in all panels, so that they can be compared. */
export function spreadScale() {
  const plans = state.panels.map((panel) => panel.result?.plan).filter(Boolean);
  return Math.max(...plans.flatMap((plan) => plan.spread), 0.25 * state.maze.cell_size);
}

/** The candidate whose levels are shown: the chosen one, or the longest before one is chosen. */
export const shownCandidate = (result) =>
  result.plan?.best ?? result.ends.indexOf(Math.max(...result.ends));

/** Number of the last token before arrival. */
export const lastToken = (result, candidate) =>
  Math.ceil(result.ends[candidate] / state.maze.frame_stack);

/** Percentage of the noise that is removed from the tokens between start and goal. */
export function denoisedPercentage(result, event) {
  const candidate = shownCandidate(result);
  const end = lastToken(result, candidate);
  const free = event.level[candidate].slice(1, state.query.goal ? Math.max(end, 2) : end + 1);
  const noise = free.reduce((sum, level) => sum + level, 0);
  return Math.round(100 * (1 - noise / (free.length * state.maze.max_level || 1)));
}
