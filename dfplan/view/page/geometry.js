// Coordinates and walls of a maze.
//
// A position is in the suite's coordinates and units. A grid point is [row, column] of the maze's
// text; whole numbers are the centers of cells. Pictures show rows downwards, columns to the right.

import { clamp, state } from "./state.js";

/** Convert a position to a grid point. */
export function toGrid([a, b], maze = state.maze) {
  const [[d0, d1], [r0, r1]] = [maze.row_step, maze.column_step];
  const [x, y] = [a - maze.first_cell[0], b - maze.first_cell[1]];
  const area = d0 * r1 - d1 * r0;
  return [(x * r1 - y * r0) / area, (y * d0 - x * d1) / area];
}

/** Convert a grid point to a position, rounded to 3 decimals. */
export function toPosition([row, column], maze = state.maze) {
  const { first_cell: first, row_step: down, column_step: right } = maze;
  return [0, 1].map((axis) => +(first[axis] + row * down[axis] + column * right[axis]).toFixed(3));
}

/** Part of the grid that is shown: the maze and a thin strip of its outer wall. */
export function viewOf(maze) {
  const [height, width] = [maze.rows.length, maze.rows[0].length];
  const strip = clamp(0.06 * (Math.max(height, width) - 2), 0.3, 1);
  return {
    top: 0.5 - strip,
    left: 0.5 - strip,
    height: height - 2 + 2 * strip,
    width: width - 2 + 2 * strip,
  };
}

const isWall = (row, column) => (state.maze.rows[row]?.[column] ?? "#") === "#";

/** Whether the body is clear of walls at a grid point. */
export function isFree([row, column]) {
  const radius = state.maze.ball_radius / state.maze.cell_size;
  const [i, j] = [Math.round(row), Math.round(column)];
  for (const di of [-1, 0, 1]) {
    for (const dj of [-1, 0, 1]) {
      if (!isWall(i + di, j + dj)) continue;
      const gaps = [row - i - di, column - j - dj].map((gap) => Math.max(Math.abs(gap) - 0.5, 0));
      if (Math.hypot(...gaps) < radius || Math.hypot(...gaps) === 0) return false;
    }
  }
  return true;
}

/** The nearest grid point at which the body is clear of walls. */
export function nearestFree(point) {
  if (isFree(point)) return point;
  const reach = 0.5 - state.maze.ball_radius / state.maze.cell_size - 0.01;
  let [nearest, smallest] = [null, Infinity];
  state.maze.rows.forEach((line, row) => {
    [...line].forEach((cell, column) => {
      if (cell === "#") return;
      const inside = [
        clamp(point[0], row - reach, row + reach),
        clamp(point[1], column - reach, column + reach),
      ];
      const distance = Math.hypot(inside[0] - point[0], inside[1] - point[1]);
      if (distance < smallest) [nearest, smallest] = [inside, distance];
    });
  });
  return nearest;
}

/** Smallest and largest grid point of a box of positions. */
export function cornersOf([a, b, c, d]) {
  const [one, other] = [toGrid([a, b]), toGrid([c, d])];
  return [Math.min, Math.max].map((pick) => [0, 1].map((axis) => pick(one[axis], other[axis])));
}

/** Box of positions between two grid points: [low 0, low 1, high 0, high 1]. */
export function boxBetween(one, other) {
  const [a, b] = [toPosition(one), toPosition(other)];
  return [Math.min, Math.max].flatMap((pick) => [0, 1].map((axis) => pick(a[axis], b[axis])));
}

/** Limit a grid point so that a box of `size` that starts there stays inside the maze. */
export function clampToMaze(point, size = [0, 0]) {
  const limits = [state.maze.rows.length - 0.5, state.maze.rows[0].length - 0.5];
  return point.map((value, axis) => clamp(value, -0.5, limits[axis] - size[axis]));
}

/** The point at a share of the way from one point to another. */
export function interpolate(low, high, share) {
  return [low[0] + (high[0] - low[0]) * share, low[1] + (high[1] - low[1]) * share];
}

/** Index of the last point of a line's last token; the points after it repeat its end. */
export function arrivalIndex(line) {
  let end = line.length - 1;
  while (end > 0 && line[end - 1][0] === line[end][0] && line[end - 1][1] === line[end][1]) end -= 1;
  const stack = state.maze.frame_stack;
  return Math.min(Math.ceil(end / stack) * stack, line.length - 1);
}
