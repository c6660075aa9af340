// The time that the panels show, and playing it.

import { redraw } from "./redraw.js";
import { activePanel, clamp, state } from "./state.js";
import { reducedMotion } from "./theme.js";

/** Last environment step of a result's episode, 0 without an episode. */
export const lastStep = (result) =>
  result ? Math.max(result.positions.length - 1, 0) * result.every : 0;
const anyEpisode = () => state.panels.some((panel) => panel.result?.positions.length);

/** End of the cursor: 2 if there is an episode, else 1. */
export const cursorEnd = () => (anyEpisode() ? 2 : 1);

/** What a panel shows: { row }, from 0 to the number of rows (the plan), and { step } in an episode. */
export function shownTime(panel) {
  const result = panel.result;
  if (!result) return null;
  const last = result.rows.length - 1 + (result.plan ? 1 : 0);
  if (state.followLatest) return { row: last };
  if (state.cursor > 1 && result.positions.length) {
    const longest = Math.max(...state.panels.map((one) => lastStep(one.result)));
    return { row: last, step: Math.min((state.cursor - 1) * longest, lastStep(result)) };
  }
  return { row: Math.min(Math.min(state.cursor, 1) * result.rows.length, last) };
}

/** Whether the finished plan is shown, not its denoising. */
export const showsPlan = (result, time) => Boolean(result.plan) && time.row >= result.rows.length;

/** The event of the row that is shown. */
export function shownRow(result, time) {
  return result.rows[Math.min(Math.round(time.row), result.rows.length - 1)];
}

/** Play from a cursor; by default from the current one, or from the start if it is at the end. */
export function play(from = null) {
  const end = cursorEnd();
  if (from !== null) state.cursor = from;
  else if (state.followLatest || state.cursor >= end) state.cursor = 0;
  state.followLatest = false;
  if (reducedMotion.matches) {
    state.cursor = end;
    return redraw();
  }
  if (!state.playing) {
    state.playing = true;
    let before = performance.now();
    const tick = (now) => {
      if (!state.playing) return;
      advanceCursor((now - before) / 1000);
      before = now;
      redraw();
      if (state.playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
  redraw();
}

/** Move the cursor by some seconds, and stop at the end if nothing more is to come. */
function advanceCursor(seconds) {
  const rows = Math.max(...state.panels.map((panel) => panel.result?.total ?? 0), 1);
  const steps = Math.max(...state.panels.map((panel) => lastStep(panel.result)), 1);
  const duration = state.cursor < 1 ? clamp(rows * 0.12, 1, 4) : clamp(steps / 110, 1.5, 7);
  const unfinished = state.panels.some((panel) => panel.controller);
  const end = cursorEnd();
  // The time of the first frame can be before the call of play.
  state.cursor = clamp(state.cursor + seconds / duration, 0, end);
  if (state.cursor >= end && !unfinished) state.playing = false;
}

export function pause() {
  state.playing = false;
  redraw();
}

/** Play or pause. */
export const togglePlay = () => (state.playing ? pause() : play());

/** Show the time at a cursor, and stop playing. */
export function moveCursor(cursor) {
  state.followLatest = state.playing = false;
  state.cursor = clamp(cursor, 0, cursorEnd());
  redraw();
}

/** Go forward or back by one row, or by five steps of the episode. */
export function stepBy(direction) {
  const result = activePanel().result;
  if (!result) return;
  syncCursor();
  const inEpisode =
    result.positions.length && (state.cursor > 1 || (state.cursor === 1 && direction > 0));
  const width = inEpisode ? 5 / Math.max(lastStep(result), 5) : 1 / result.rows.length;
  const next = state.cursor + direction * width;
  moveCursor(inEpisode ? Math.max(next, 1) : next);
}

/** While the latest result is followed, move the cursor to what the active panel shows. */
export function syncCursor() {
  const panel = activePanel();
  if (!state.followLatest || !panel?.result) return;
  const { plan, rows, total } = panel.result;
  state.cursor = clamp(shownTime(panel).row / Math.max(plan ? rows.length : total, 1), 0, 1);
}
