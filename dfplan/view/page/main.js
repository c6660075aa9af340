// Starts the web app: one query, one or two ways to plan it, and how the plan is made.

import { inputErrors, refuseInput, showErrors } from "./errors.js";
import { unpackJson } from "./events.js";
import { queryChanged } from "./items.js";
import { listenToKeys } from "./keyboard.js";
import { addLegend, drawLegend } from "./legend.js";
import { drawMatrix } from "./matrix_canvas.js";
import { drawMaze } from "./maze_canvas.js";
import { addPanel, selectMaze, selectTool, toggleComparison } from "./panels.js";
import { moveCursor, shownTime, stepBy, syncCursor, togglePlay } from "./playback.js";
import { showRecorded } from "./recorded.js";
import { redraw, setRedraw } from "./redraw.js";
import { requestPlans } from "./requests.js";
import {
  activatePanel,
  addSettings,
  addVariants,
  radioButton,
  resetSettings,
  showHint,
  showSettings,
} from "./settings.js";
import { DEFAULTS, activePanel, element, formatPosition, state } from "./state.js";
import { statusOf, stepsOf } from "./status.js";
import { darkMode, readTheme } from "./theme.js";
import { drawTransport } from "./transport.js";

const TOOLS = [
  [
    "move",
    "Move",
    '<path d="M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2"/>',
  ],
  ["via", "Via-point", '<path d="M8 2.5 13.5 8 8 13.5 2.5 8z"/>'],
  ["zone", "Zone", '<path d="M2.5 3.5h11v9h-11zM2.5 9l5.5-5.5M6 12.5l7.5-7.5"/>'],
  ["erase", "Erase", '<path d="m3.5 3.5 9 9M12.5 3.5l-9 9"/>'],
];
const SCRUBBER_KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

function drawAll() {
  if (!state.maze) return;
  syncCursor();
  for (const panel of state.panels) {
    const time = shownTime(panel);
    drawMaze(panel, time);
    drawMatrix(panel, time);
    const text = statusOf(panel, time);
    if (panel.status.textContent !== text) panel.status.textContent = text;
    const steps = stepsOf(panel.result);
    if (panel.steps.textContent !== steps) panel.steps.textContent = steps;
    panel.status.classList.toggle("wrong", Boolean(panel.error));
    if (!panel.controller && !panel.queued) panel.node.setAttribute("aria-busy", "false");
    panel.status.setAttribute("aria-live", state.playing || state.drag ? "off" : "polite");
  }
  const shown = activePanel();
  const time = shownTime(shown);
  drawTransport(shown.result, time);
  drawLegend(shown.result, time);
}

/** Two numbers in a text, or null. */
function readPosition(text) {
  const parts = text.replace(/[[\]()]/g, " ").trim().split(/[\s,;]+/);
  const values = parts.map(Number);
  const isPosition = parts.length === 2 && parts.every(Boolean) && values.every(Number.isFinite);
  return isPosition ? values : null;
}

function listenToQuery() {
  for (const id of ["start", "goal"]) {
    element(id).addEventListener("change", () => {
      const text = element(id).value;
      const position = readPosition(text);
      if (!position && !(id === "goal" && text.trim() === "")) {
        const example = formatPosition(state.maze[id]);
        refuseInput(id, `Expected two numbers with a comma, such as ${example}; got “${text}”.`);
        return;
      }
      state.query[id] = position;
      queryChanged();
    });
  }
  element("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    // Enter in a field also changes the field, which comes first and plans if the field is valid.
    if (inputErrors.has("start") || inputErrors.has("goal")) return;
    inputErrors.clear();
    showErrors();
    requestPlans();
  });
  element("clear").addEventListener("click", () => {
    state.query.via_points = [];
    state.query.zones = [];
    queryChanged();
  });
  element("maze").addEventListener("change", (event) => selectMaze(event.target.value));
  element("recorded").addEventListener("change", (event) => showRecorded(+event.target.value));
}

function listenToSettings() {
  element("defaults").addEventListener("click", resetSettings);
  for (const kind of ["pointerover", "focusin"]) {
    element("controls").addEventListener(kind, (event) => {
      const hint = event.target.closest("[data-hint]")?.dataset.hint;
      if (hint) showHint(hint);
    });
  }
  element("controls").addEventListener("pointerleave", () => showHint());
}

function listenToButtons() {
  element("compare").addEventListener("click", toggleComparison);
  element("help").addEventListener("click", () => element("keys").showModal());
  element("play").addEventListener("click", togglePlay);
  element("execute").addEventListener("click", () => requestPlans({ execute: true }));
  const scrubber = element("scrubber");
  scrubber.addEventListener("input", () => moveCursor(scrubber.value / 1000));
  scrubber.addEventListener("keydown", (event) => {
    const direction = SCRUBBER_KEYS[event.key];
    if (!direction) return;
    event.preventDefault();
    stepBy(direction);
  });
}

function fillControls() {
  element("maze").replaceChildren(...state.planners.map(({ name }) => new Option(name, name)));
  showHint();
  element("tabs").append(
    ...["A", "B"].map((text, index) => radioButton("tab", index, text, () => activatePanel(index))),
  );
  if (state.recordings) return fillRecordedControls();
  element("tools").append(
    ...TOOLS.map(([tool, text, icon]) => radioButton("tool", tool, text, () => selectTool(tool), icon)),
  );
  addSettings();
}

/** Controls of an exported file, which only chooses among recorded plans. */
function fillRecordedControls() {
  addVariants();
  element("field-recorded").hidden = false;
  for (const id of ["start", "goal"]) element(id).readOnly = true;
  element("plan").textContent = "Show again";
  for (const id of ["tools", "clear", "defaults", "hint", "constraints"]) element(id).hidden = true;
  element("tools").closest(".toolbar").hidden = true;
  const notice = element("notice");
  notice.hidden = false;
  const code = Object.assign(document.createElement("code"), { textContent: "dfplan view" });
  notice.append("These plans are recorded. To plan with other queries and settings, run ", code, ".");
}

async function start() {
  readTheme();
  setRedraw(drawAll);
  darkMode.addEventListener("change", () => {
    readTheme();
    redraw();
  });
  const recorded = JSON.parse(element("data").textContent);
  if (recorded) {
    state.recordings = await unpackJson(recorded.gzip);
    state.planners = state.recordings.planners;
  } else {
    const response = await fetch("planners.json");
    state.planners = (await response.json()).planners;
  }
  fillControls();
  addPanel({ ...DEFAULTS });
  addLegend();
  listenToQuery();
  listenToSettings();
  listenToButtons();
  listenToKeys();
  state.maze = state.planners[0];
  showSettings();
  if (!state.recordings) selectTool("move");
  selectMaze(state.maze.name);
}

start().catch((error) => {
  element("notice").hidden = false;
  element("notice").textContent = `The web app could not start: ${error.message}`;
  throw error;
});
