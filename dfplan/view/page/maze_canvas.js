// Draws the maze, and the plan or the episode in it.

import { drawDisc, prepareCanvas } from "./canvas.js";
import { toGrid, viewOf } from "./geometry.js";
import { drawResult } from "./plan_canvas.js";
import { positionAt } from "./results.js";
import { clamp, countOf, state } from "./state.js";
import { theme } from "./theme.js";

const FAINT = 0.3; // opacity of a result after an error

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
    const size = clamp(cell / 6, 3, 9);
    drawResult(context, panel.result, time, { toPixels, pixels, size, opacity });
    context.globalAlpha = 1;
  }
  if (goal) drawGoalEdge(context, toPixels(goal), pixels);
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
  context.globalAlpha = 0.14;
  drawDisc(context, center, state.maze.goal_radius * pixels, theme.goal);
  context.globalAlpha = 1;
  drawBody(context, center, Math.max(2, state.maze.ball_radius * pixels * 0.5), theme.goal);
}

/** The edge of the disc in which the goal counts as reached; regions do not hide it. */
function drawGoalEdge(context, center, pixels) {
  context.globalAlpha = 0.7;
  drawDisc(context, center, state.maze.goal_radius * pixels, "transparent", theme.goal, 1.5);
  context.globalAlpha = 1;
}

function drawBody(context, center, radius, color) {
  drawDisc(context, center, radius, color, theme.floor, 1.2);
}
