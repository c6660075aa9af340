// State of the web app, and small functions that most modules use.

export const DEFAULTS = {
  matrix: "pyramid",
  uncertainty_scale: 0.5,
  stop_fraction: 1,
  steps: 3,
  guidance: 0.5,
  candidates: 8,
  mc_samples: 1,
  seed: 0,
  variant: 0,
};
export const MAX_VIA_POINTS = 8;
export const MAX_ZONES = 16;

export const state = {
  planners: [], // descriptions of the planners and their mazes
  maze: null, // description of the selected planner
  recordings: null, // recorded plans by planner, in an exported file
  query: { start: [0, 0], goal: [0, 0], via_points: [], zones: [] },
  recordedIndex: 0, // index of the recorded query that is shown
  tool: "move",
  panels: [],
  active: 0, // index of the panel whose settings are shown
  cursor: 0, // from 0 to 1: rows of the matrix; from 1 to 2: steps of the episode
  followLatest: true, // show the latest result instead of the cursor's
  playing: false,
  drag: null, // the drag in progress
};

export const element = (id) => document.getElementById(id);
export const activePanel = () => state.panels[state.active];
export const plannerNamed = (name) => state.planners.find((planner) => planner.name === name);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const formatPosition = (position) => position.map((value) => +value.toFixed(3)).join(", ");
export const countOf = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
