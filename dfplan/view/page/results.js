// Quantities of results that are drawn or described.

import { interpolate } from "./geometry.js";
import { showsPlan } from "./playback.js";
import { clamp, state } from "./state.js";

/** Position of the body at an environment step of an episode. */
export function positionAt(result, step) {
  const at = clamp(step / result.every, 0, result.positions.length - 1);
  return interpolate(result.positions[Math.floor(at)], result.positions[Math.ceil(at)], at % 1);
}

/** Upper end of the color scale of spread; the same for all plans in a maze, to compare them. */
export const spreadScale = () => 0.5 * state.maze.cell_size;

/** Where a spread is on its color scale, which grows with the root, from 0 to 1. */
export const shareOfSpread = (value) => Math.sqrt(Math.min(value / spreadScale(), 1));

/** The candidate whose levels are shown: the chosen one, or the longest before one is chosen. */
export const shownCandidate = (result) =>
  result.plan?.best ?? result.ends.indexOf(Math.max(...result.ends));

/** Number of the last token before arrival. */
export const lastToken = (result, candidate) =>
  Math.ceil(result.ends[candidate] / state.maze.frame_stack);

/** Noise levels of the tokens until arrival, from those of all tokens of a candidate. */
export const levelsUntilArrival = (result, candidate, levels) =>
  levels.slice(0, lastToken(result, candidate) + 1);

/** Whether the colors show the plan spread, not the noise levels. */
export function showsSpread(result, time) {
  if (!showsPlan(result, time) || !result.plan.spread) return false;
  const { best, level } = result.plan;
  return levelsUntilArrival(result, best, level).every((one) => one === 0);
}

/** Index of the row after which half of the chosen candidate's tokens are clean. */
export function halfwayRow(result) {
  const { best } = result.plan;
  const unevenness = result.rows.map((row) => {
    const levels = levelsUntilArrival(result, best, row.level[best]);
    const clean = levels.filter((level) => level === 0).length / levels.length;
    return clean < 1 ? Math.abs(clean - 0.5) : 1;
  });
  return unevenness.indexOf(Math.min(...unevenness));
}

/** Percentage of the noise that is removed from the tokens between start and goal. */
export function denoisedPercentage(result, event) {
  const candidate = shownCandidate(result);
  const end = lastToken(result, candidate);
  const free = event.level[candidate].slice(1, state.query.goal ? Math.max(end, 2) : end + 1);
  const noise = free.reduce((sum, level) => sum + level, 0);
  return Math.round(100 * (1 - noise / (free.length * state.maze.max_level || 1)));
}
