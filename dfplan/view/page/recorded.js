// Recorded queries of an exported file.

import { showQuery } from "./items.js";
import { requestPlans } from "./requests.js";
import { element, formatPosition, state } from "./state.js";

/** Fill the list of recorded queries. */
export function fillRecordedQueries() {
  const nameOf = ({ start, goal }) => `${formatPosition(start)} to ${formatPosition(goal)}`;
  const options = recordedQueries().map(
    (query, index) => new Option(`${index + 1}: ${nameOf(query)}`, index),
  );
  element("recorded").replaceChildren(...options);
}

const recordedQueries = () => state.recordings[state.maze.name];

/** Names of the recorded settings. */
export function variantNames() {
  const names = { full_sequence: "Full sequence", autoregressive: "Autoregressive" };
  return recordedQueries()[0].runs.map(
    ({ settings }) => names[settings.matrix] ?? `Pyramid, scale ${settings.uncertainty_scale}`,
  );
}

/** Show the recorded query that is nearest to where an item was dragged. */
export function snapToRecorded({ name, before }) {
  const other = name === "start" ? "goal" : "start";
  const queries = recordedQueries();
  const distance = ([a, b], [c, d]) => Math.hypot(a - c, b - d);
  // The item that was not dragged decides only between queries that are equally near.
  const cost = (query) =>
    distance(query[name], state.query[name]) + 0.01 * distance(query[other], before[other]);
  const costs = queries.map(cost);
  const nearest = costs.indexOf(Math.min(...costs));
  state.query[other] = queries[nearest][other];
  if (nearest === state.recordedIndex) return;
  state.recordedIndex = nearest;
  element("recorded").value = nearest;
  requestPlans();
}

/** Show a recorded query with its own start and goal. */
export function showRecorded(index = state.recordedIndex, options = {}) {
  state.recordedIndex = index;
  const { start, goal } = recordedQueries()[index];
  state.query = { start, goal, via_points: [], zones: [] };
  element("recorded").value = index;
  showQuery();
  requestPlans(options);
}

/** Show the next recorded query, or the previous one. */
export function stepRecorded(direction) {
  const count = recordedQueries().length;
  showRecorded((state.recordedIndex + direction + count) % count);
}
