// Draws the maze, and the plan or the episode in it.

import { drawDisc, drawLine, prepareCanvas } from "./canvas.js";
import { interpolate, toGrid, viewOf } from "./geometry.js";
import { showsPlan } from "./playback.js";
import { positionAt, spreadScale } from "./results.js";
import { clamp, countOf, state } from "./state.js";
import { spriteAt, theme } from "./theme.js";

const FAINT = 0.3; // opacity of a result after an error
const CLEAN = 0.02; // noise, as a share of pure noise, below which a token is drawn as a sharp disc

/** Draw a panel's maze at a time (see shownTime). */
export function drawMaze(panel, time) {
  const { context, width, height, ratio } = prepareCanvas(panel.mazeCanvas);
  if (!width) return;
  const maze = state.maze;
  const view = viewOf(maze);
  const cell = width / view.width;
  const toPixels = (position) => {
    const [row, column] = toGrid(position);
    return [(column - view.left) * cell, (row - view.top) * cell];
  };
  context.save();
  context.beginPath();
  context.roundRect(0, 0, width, height, 10);
  context.clip();
  drawWalls(context, view, cell, width, height, ratio);
  const pixels = cell / maze.cell_size;
  const { start, goal } = state.query;
  if (goal) drawGoal(context, toPixels(goal), pixels);
  if (panel.result) {
    const opacity = panel.error ? FAINT : 1;
    drawResult(context, panel.result, time, { toPixels, cell, opacity });
    context.globalAlpha = 1;
  }
  const position = time?.step === undefined ? start : positionAt(panel.result, time.step);
  drawBody(context, toPixels(position), Math.max(2.5, maze.ball_radius * pixels), theme.ink);
  context.restore();
}

function drawWalls(context, view, cell, width, height, ratio) {
  context.fillStyle = theme.floor;
  context.fillRect(0, 0, width, height);
  context.beginPath();
  // Edges are at whole pixels, so that no seam is visible between neighbors.
  const snap = (value) => Math.round(value * ratio) / ratio;
  state.maze.rows.forEach((line, row) => {
    [...line].forEach((character, column) => {
      if (character !== "#") return;
      const [x, right] = [-0.5, 0.5].map((side) => snap((column + side - view.left) * cell));
      const [y, bottom] = [-0.5, 0.5].map((side) => snap((row + side - view.top) * cell));
      context.rect(x, y, right - x, bottom - y);
    });
  });
  context.fillStyle = theme.wall;
  context.fill();
  drawScale(context, width - cell - 10, ((0.5 - view.top) * cell) / 2, cell);
}

/** Scale bar that is one cell long. */
function drawScale(context, x, y, cell) {
  context.fillStyle = theme.ink;
  context.fillRect(x, y, cell, 1.5);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillText(countOf(state.maze.cell_size, "unit"), x - 6, y + 1);
}

function drawGoal(context, center, pixels) {
  context.beginPath();
  context.arc(...center, state.maze.goal_radius * pixels, 0, 7);
  context.globalAlpha = 0.14;
  context.fillStyle = theme.goal;
  context.fill();
  context.globalAlpha = 0.7;
  context.strokeStyle = theme.goal;
  context.lineWidth = 1.5;
  context.stroke();
  context.globalAlpha = 1;
  drawBody(context, center, Math.max(2, state.maze.ball_radius * pixels * 0.5), theme.goal);
}

function drawBody(context, center, radius, color) {
  drawDisc(context, center, radius, color, theme.floor, 1.2);
}

function drawResult(context, result, time, { toPixels, cell, opacity }) {
  const finished = showsPlan(result, time);
  const tokenRadius = clamp(cell * 0.045, 1.7, 4);
  const best = result.plan?.best ?? -1;
  const order = result.ends.map((_, candidate) => candidate);
  if (best >= 0) order.push(...order.splice(best, 1)); // the chosen candidate is on top
  for (const candidate of order) {
    const chosen = candidate === best;
    const { positions, noise } = tokensAt(result, time, candidate);
    const points = positions.map(toPixels);
    if (chosen && finished) {
      const alpha = time.step !== undefined ? 0.4 * opacity : opacity;
      drawPlan(context, result.plan, points, noise, tokenRadius, alpha);
    } else {
      const faint = best < 0 ? 0.75 : chosen ? 1 : finished ? 0.3 : 0.25;
      const width = chosen ? 1.8 : 1.2;
      drawCandidate(context, points, noise, width, finished ? 0 : tokenRadius, opacity * faint);
    }
  }
  context.globalAlpha = opacity;
  if (time.step !== undefined) drawEpisode(context, result, time.step, toPixels);
}

/** Positions and noise (as shares of pure noise) of a candidate's points until arrival. */
function tokensAt(result, time, candidate) {
  const { rows, plan } = result;
  const low = rows[Math.min(Math.floor(time.row), rows.length - 1)];
  const high = rows[Math.min(Math.ceil(time.row), rows.length - 1)];
  const share = low === high ? 0 : time.row % 1;
  // After the last row the chosen candidate moves to where refinement puts it.
  const refined = plan?.best === candidate ? clamp(time.row - (rows.length - 1), 0, 1) : 0;
  const line = low.points[candidate].slice(0, result.ends[candidate] + 1);
  const positions = line.map((point, index) => {
    const now = share ? interpolate(point, high.points[candidate][index], share) : point;
    return refined ? interpolate(now, plan.points[index], refined) : now;
  });
  const { frame_stack: stack, max_level: maxLevel } = state.maze;
  const levels = [low.level[candidate], high.level[candidate]];
  const noise = line.map((_, index) => {
    const token = Math.min(Math.floor((index + stack - 1) / stack), levels[0].length - 1);
    const [before, after] = levels.map((level) => level[token]);
    return clamp((before + (after - before) * share) / maxLevel, 0, 1);
  });
  return { positions, noise };
}

/** Draw a candidate: a line, and its tokens if their radius is not 0. */
function drawCandidate(context, points, noise, width, tokenRadius, opacity) {
  const clean = 1 - noise.reduce((sum, value) => sum + value, 0) / noise.length;
  context.globalAlpha = opacity * (0.12 + 0.6 * clean);
  context.strokeStyle = theme.muted;
  context.lineWidth = width;
  drawLine(context, points);
  if (!tokenRadius) return;
  for (let index = points.length - 1; index >= 0; index -= 1) {
    drawToken(context, points[index], noise[index], tokenRadius, opacity);
  }
}

/** Draw a token: larger, softer and paler with more noise. */
function drawToken(context, [x, y], noise, tokenRadius, opacity) {
  const radius = tokenRadius * (1 + 6.5 * noise);
  context.globalAlpha = opacity * (0.9 * (1 - noise) ** 1.5 + 0.1);
  context.drawImage(spriteAt(noise), x - radius, y - radius, 2 * radius, 2 * radius);
}

/** Draw the chosen plan, colored by the spread of the candidates. */
function drawPlan(context, plan, points, noise, tokenRadius, opacity) {
  context.globalAlpha = opacity;
  context.strokeStyle = theme.floor;
  context.lineWidth = tokenRadius * 1.6 + 2.5;
  drawLine(context, points);
  const scale = spreadScale();
  const color = (index) => theme.spread(plan.spread[index] / scale);
  context.lineWidth = tokenRadius * 0.9;
  for (let index = points.length - 1; index > 0; index -= 1) {
    context.globalAlpha = opacity * (1 - 0.75 * noise[index]);
    context.strokeStyle = color(index);
    drawLine(context, [points[index - 1], points[index]]);
  }
  for (let index = points.length - 1; index >= 0; index -= 1) {
    if (noise[index] > CLEAN) {
      drawToken(context, points[index], noise[index], tokenRadius, opacity);
      continue;
    }
    context.globalAlpha = opacity;
    const edgeWidth = Math.max(0.6, tokenRadius * 0.22);
    drawDisc(context, points[index], tokenRadius, color(index), theme.floor, edgeWidth);
  }
}

/** Draw the path of an episode until a step. */
function drawEpisode(context, result, step, toPixels) {
  const count = Math.floor(step / result.every) + 1;
  const path = result.positions.slice(0, count).map(toPixels);
  path.push(toPixels(positionAt(result, step)));
  for (const [color, width] of [[theme.floor, 5], [theme.ink, 2.2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    drawLine(context, path);
  }
}
