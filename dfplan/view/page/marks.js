// Draws the marks of plans, in the same way as dfplan.plotting.
//
// Sizes are diameters of a token in pixels. Uncertainties are from 0 to 1.

import { drawDisc, drawLine } from "./canvas.js";
import { interpolate } from "./geometry.js";
import { paleColor, theme, uncertaintyColor } from "./theme.js";

const REGION_SHARES = [0.33, 0.24]; // of the color, in regions that hold a place with 50 and 90%
const DISCS_PER_POINT = 8;

/**
 * Draw tokens as dots that are joined by a line, the near future on top.
 *
 * Each part of the line has the color of its less certain end. Tokens that are `unknown` are pure
 * noise; they are rings, and joined by dots. Parts after the points `tooFast` are marked.
 */
export function drawTokens(context, points, uncertainty, size, { unknown, tooFast = [] }) {
  const last = points.length - 1;
  for (const dotted of [true, false]) {
    context.lineWidth = dotted ? size / 4 : size / 3;
    context.setLineDash(dotted ? [0.1, 2 * context.lineWidth] : []);
    for (let index = last; index > 0; index -= 1) {
      if ((unknown(index - 1) || unknown(index)) !== dotted) continue;
      context.strokeStyle = uncertaintyColor(Math.max(uncertainty[index - 1], uncertainty[index]));
      drawLine(context, [points[index - 1], points[index]]);
    }
  }
  context.setLineDash([]);
  for (const index of tooFast) drawTooFast(context, points.slice(index, index + 2), size);
  for (const rings of [true, false]) {
    for (let index = last; index >= 0; index -= 1) {
      if (unknown(index) !== rings) continue;
      const color = uncertaintyColor(uncertainty[index]);
      if (rings) drawDisc(context, points[index], 0.4 * size, theme.floor, color, size / 8);
      else drawDisc(context, points[index], size / 2, color, theme.floor, size / 12);
    }
  }
}

/** Draw the regions that hold the final places of points, from the radii of the two regions. */
export function drawRegions(context, points, radii, uncertainty) {
  for (const column of [1, 0]) {
    for (let index = points.length - 1; index >= 0; index -= 1) {
      if (!uncertainty[index]) continue;
      const color = paleColor(uncertainty[index], REGION_SHARES[column]);
      drawDisc(context, points[index], radii[index][column], color);
    }
  }
}

/** Draw a tube around points. */
export function drawTube(context, points, radii, uncertainty) {
  const between = (values, index, share) =>
    values[index] + ((values[index + 1] ?? values[index]) - values[index]) * share;
  for (let at = DISCS_PER_POINT * (points.length - 1); at >= 0; at -= 1) {
    const index = Math.floor(at / DISCS_PER_POINT);
    const share = (at % DISCS_PER_POINT) / DISCS_PER_POINT;
    const center = interpolate(points[index], points[index + 1] ?? points[index], share);
    const color = paleColor(between(uncertainty, index, share), REGION_SHARES[0]);
    drawDisc(context, center, between(radii, index, share), color);
  }
}

/** Draw the line of a plan made again that takes another route. */
export function drawOtherRoute(context, points, size) {
  const width = Math.max(1.2, 0.15 * size);
  drawDashes(context, points, theme.muted, width, [4 * width, 3 * width]);
}

/** Mark a part of a plan that is faster than the body. */
export function drawTooFast(context, points, size) {
  drawDashes(context, points, theme.floor, size / 2, []);
  drawDashes(context, points, theme.ink, size / 3, [size / 4, size / 4]);
}

function drawDashes(context, points, color, width, dashes) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dashes);
  drawLine(context, points, "butt");
  context.setLineDash([]);
}

/** Draw another candidate, up to what is still `unknown` of it. */
export function drawCandidate(context, points, size, unknown = () => false) {
  context.strokeStyle = theme.muted;
  context.lineWidth = Math.max(1, size / 16);
  const known = points.findIndex((_, index) => unknown(index));
  drawLine(context, known < 0 ? points : points.slice(0, known));
}

/** Draw a path that was executed. */
export function drawExecuted(context, points, size) {
  const width = Math.max(1.6, 0.2 * size);
  for (const [color, lineWidth] of [[theme.floor, 2.4 * width], [theme.ink, width]]) {
    context.strokeStyle = color;
    context.lineWidth = lineWidth;
    drawLine(context, points);
  }
}
