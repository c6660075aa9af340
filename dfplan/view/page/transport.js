// Draws the play button and the scrubber.

import { cursorEnd, lastStep, shownRow, showsPlan } from "./playback.js";
import { element, state } from "./state.js";

const ICONS = {
  play: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4.5 2.2v11.6L13.5 8z"/></svg>',
  pause:
    '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5h3v11H4zM9 2.5h3v11H9z"/></svg>',
};

/** Draw play button and scrubber for what the active panel shows at a time (see shownTime). */
export function drawTransport(result, time) {
  const [scrubber, end] = [element("scrubber"), cursorEnd()];
  scrubber.max = 1000 * end;
  const value = Math.round(1000 * Math.min(state.cursor, end));
  if (+scrubber.value !== value) scrubber.value = value;
  scrubber.style.setProperty("--done", `${(100 * value) / scrubber.max}%`);
  const text = result ? timeText(result, time) : "";
  element("time").textContent = text;
  scrubber.setAttribute("aria-valuetext", text);
  const icon = state.playing ? "pause" : "play";
  const button = element("play");
  if (button.dataset.icon !== icon) {
    button.dataset.icon = icon;
    button.innerHTML = ICONS[icon];
    button.setAttribute("aria-label", icon === "play" ? "Play" : "Pause");
  }
}

function timeText(result, time) {
  if (time.step !== undefined) return `step ${Math.round(time.step)} of ${lastStep(result)}`;
  return showsPlan(result, time) ? "plan" : `row ${shownRow(result, time).row} of ${result.total}`;
}
