// Draws the play button, the scrubber and the legend.

import { prepareCanvas } from "./canvas.js";
import { cursorEnd, lastStep, shownRow, shownTime, showsPlan } from "./playback.js";
import { spreadScale } from "./results.js";
import { activePanel, element, state } from "./state.js";
import { theme } from "./theme.js";

const ICONS = {
  play: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4.5 2.2v11.6L13.5 8z"/></svg>',
  pause:
    '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5h3v11H4zM9 2.5h3v11H9z"/></svg>',
};

/** Draw play button, scrubber and legend for the active panel. */
export function drawTransport() {
  const result = activePanel()?.result;
  const time = result && shownTime(activePanel());
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
  drawLegend(Boolean(result) && showsPlan(result, time));
}

function timeText(result, time) {
  if (time.step !== undefined) return `step ${Math.round(time.step)} of ${lastStep(result)}`;
  return showsPlan(result, time) ? "plan" : `row ${shownRow(result, time).row} of ${result.total}`;
}

/** Legend of the spread of a finished plan, or of the noise level. */
function drawLegend(finished) {
  const { context, width, height } = prepareCanvas(element("legend-bar"));
  for (let x = 0; x < width; x += 1) {
    context.fillStyle = (finished ? theme.spread : theme.level)(x / width);
    context.fillRect(x, 0, 1.5, height);
  }
  const digits = state.maze.cell_size > 1 ? 1 : 2;
  const texts = finished
    ? ["Spread of the candidates", "0", `${spreadScale().toFixed(digits)} units`]
    : ["Noise level", "clean", "pure noise"];
  ["legend-name", "legend-low", "legend-high"].forEach((id, index) => {
    element(id).textContent = texts[index];
  });
}
