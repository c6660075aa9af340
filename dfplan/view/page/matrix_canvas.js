// Draws the scheduling matrix: the noise levels of one candidate's tokens, row by row.

import { prepareCanvas } from "./canvas.js";
import { shownRow } from "./playback.js";
import { lastToken, shownCandidate } from "./results.js";
import { countOf, state } from "./state.js";
import { theme, uncertaintyColor } from "./theme.js";

const MARGIN = 4; // pixels

/** Draw a panel's matrix and mark the row at a time (see shownTime). */
export function drawMatrix(panel, time) {
  const { context, width, height } = prepareCanvas(panel.matrixCanvas);
  const result = panel.result;
  context.beginPath();
  context.roundRect(0.5, 0.5, width - 1, height - 1, 6);
  context.strokeStyle = theme.line;
  context.stroke();
  if (!result || !width) return;
  const rowHeight = (height - 2 * MARGIN) / result.total;
  drawLevels(context, result, width, rowHeight, panel.error ? 0.3 : 1);
  const row = shownRow(result, time);
  const previous = result.rows[result.rows.indexOf(row) - 1]?.row ?? 0;
  const y = MARGIN + previous * rowHeight;
  context.strokeStyle = theme.ink;
  context.lineWidth = 1.6;
  context.strokeRect(2, y - 1, width - 4, Math.max((row.row - previous) * rowHeight, 2) + 1);
  panel.rowsLabel.textContent = `${countOf(result.total, "row")} ↓`;
}

function drawLevels(context, result, width, rowHeight, opacity) {
  const candidate = shownCandidate(result);
  const end = lastToken(result, candidate);
  const tokenWidth = (width - 2 * MARGIN) / result.rows[0].level[candidate].length;
  // Large squares have gaps between them. Small ones overlap, so that no seam is visible.
  const inset = (size, limit) => (size > limit ? 1 : -0.4);
  context.save();
  let before = 0;
  for (const event of result.rows) {
    const [y, bottom] = [MARGIN + before * rowHeight, MARGIN + event.row * rowHeight];
    event.level[candidate].forEach((level, token) => {
      const arrived = token > end;
      context.globalAlpha = opacity * (arrived ? 0.45 : 1);
      context.fillStyle = arrived ? theme.line : uncertaintyColor(level / state.maze.max_level);
      const tall = bottom - y - inset(bottom - y, 7);
      context.fillRect(MARGIN + token * tokenWidth, y, tokenWidth - inset(tokenWidth, 5), tall);
    });
    before = event.row;
  }
  context.restore();
}
