// Draws a result over the maze: a plan on its way or finished, and its execution.

import { interpolate } from "./geometry.js";
import {
  drawCandidate,
  drawExecuted,
  drawOtherRoute,
  drawRegions,
  drawTokens,
  drawTube,
} from "./marks.js";
import { lastStep, showsPlan } from "./playback.js";
import { positionAt, shareOfSpread, shownCandidate, showsSpread } from "./results.js";
import { clamp, state } from "./state.js";

/**
 * Draw a result at a time (see shownTime).
 *
 * `scene` has the conversion `toPixels` of positions, `pixels` in a unit of position, the `size` of
 * a token and the `opacity`.
 */
export function drawResult(context, result, time, scene) {
  const { toPixels, pixels, size, opacity } = scene;
  const shown = shownCandidate(result);
  result.ends.forEach((_, candidate) => {
    if (candidate !== shown) drawOther(context, tokensAt(result, time, candidate), scene);
  });
  context.globalAlpha = opacity;
  const { positions, noise, radii } = tokensAt(result, time, shown);
  const points = positions.map(toPixels);
  const spread = showsSpread(result, time) ? result.plan.spread.slice(0, points.length) : null;
  const uncertainty = spread?.map(shareOfSpread) ?? noise;
  const scaled = (value) => value * pixels;
  drawOnFloor(context, toPixels, () => {
    if (spread) drawTube(context, points, spread.map(scaled), uncertainty);
    else if (radii) drawRegions(context, points, radii.map((pair) => pair.map(scaled)), noise);
  });
  const finished = showsPlan(result, time);
  for (const line of finished ? result.plan.other_routes : []) {
    drawOtherRoute(context, line.map(toPixels), size);
  }
  const tooFast = finished ? result.plan.too_fast : [];
  drawTokens(context, points, uncertainty, size, {
    unknown: (index) => noise[index] >= 1,
    tooFast: tooFast.filter((index) => index + 1 < points.length),
  });
  if (result.positions.length) drawPath(context, result, time.step ?? lastStep(result), scene);
}

/** Positions, noise (as shares of pure noise) and region radii of a candidate until arrival. */
function tokensAt(result, time, candidate) {
  const [low, high] = [Math.floor, Math.ceil].map((round) =>
    frameAt(result, round(time.row), candidate),
  );
  const { frame_stack: stack, max_level: maxLevel } = state.maze;
  const share = time.row % 1;
  const between = (before, after) => before + (after - before) * share;
  const positions = low.points
    .slice(0, result.ends[candidate] + 1)
    .map((point, index) => interpolate(point, high.points[index], share));
  const tokenOf = (_, index) => Math.min(Math.ceil(index / stack), low.level.length - 1);
  const tokens = positions.map(tokenOf);
  const noise = tokens.map((token) =>
    clamp(between(low.level[token], high.level[token]) / maxLevel, 0, 1),
  );
  const radii =
    low.regions &&
    tokens.map((token) => interpolate(low.regions[token], high.regions[token], share));
  return { positions, noise, radii };
}

/** Points, levels and regions of a candidate after a row; after the last one, of the plan. */
function frameAt({ rows, plan }, row, candidate) {
  if (row >= rows.length && plan?.best === candidate) return plan;
  const { points, level, regions } = rows[Math.min(row, rows.length - 1)];
  return { points: points[candidate], level: level[candidate], regions: regions?.[candidate] };
}

function drawOther(context, { positions, noise }, { toPixels, size, opacity }) {
  const clean = 1 - noise.reduce((sum, value) => sum + value, 0) / noise.length;
  context.globalAlpha = opacity * (0.1 + 0.35 * clean);
  drawCandidate(context, positions.map(toPixels), size, (index) => noise[index] >= 1);
}

/** Draw something only where the data has been. */
function drawOnFloor(context, toPixels, draw) {
  context.save();
  context.beginPath();
  for (const ring of state.maze.floor) {
    ring.map(toPixels).forEach((at, k) => (k ? context.lineTo(...at) : context.moveTo(...at)));
    context.closePath();
  }
  context.clip("evenodd");
  draw();
  context.restore();
}

/** Draw the path of an episode until a step. */
function drawPath(context, result, step, { toPixels, size }) {
  const path = result.positions.slice(0, Math.floor(step / result.every) + 1);
  drawExecuted(context, [...path, positionAt(result, step)].map(toPixels), size);
}
