// Settings of the active panel.

import { clearErrors, showErrors } from "./errors.js";
import { variantNames } from "./recorded.js";
import { redraw } from "./redraw.js";
import { requestPlans } from "./requests.js";
import { DEFAULTS, activePanel, countOf, element, state } from "./state.js";

const MATRIX_NAMES = [
  ["full_sequence", "Full"],
  ["pyramid", "Pyramid"],
  ["autoregressive", "Autoregressive"],
];
const NO_HINT = "Point at a setting, or focus it, to see what it does.";

const formatPercent = (value) => `${Math.round(100 * value)}%`;
const SETTINGS = [
  {
    key: "matrix",
    kind: "choice",
    label: "Scheduling matrix",
    options: MATRIX_NAMES,
    hint: "How tokens are denoised: all at once, near tokens earlier, or one token after another.",
  },
  {
    key: "uncertainty_scale",
    label: "Uncertainty scale",
    range: [0, 5, 0.25],
    max: (settings) => Math.min(5, settings.steps),
    format: (value) => `${value} row${value === 1 ? "" : "s"} per token`,
    applies: (settings) => settings.matrix === "pyramid",
    hint: "For a pyramid: the number of rows by which each token is later than the one before it.",
  },
  {
    key: "stop_fraction",
    label: "Stop fraction",
    range: [0.05, 1, 0.05],
    format: formatPercent,
    hint: "Share of the matrix that is run. Below 100%, distant tokens stay noisy.",
  },
  {
    key: "steps",
    label: "Sampling steps",
    range: [1, 20, 1],
    format: String,
    hint: "Steps from pure noise to clean, for each token.",
  },
  {
    key: "guidance",
    label: "Guidance scale",
    range: [0, 3, 0.1],
    format: (value) => value.toFixed(1),
    hint: "Strength of guidance by via-points, zones, short length and known free space; 0 turns it off.",
  },
  {
    key: "candidates",
    label: "Candidates",
    range: [1, 64, 1],
    format: String,
    hint: "Plans of different lengths that are sampled together. The best one is chosen.",
  },
  {
    key: "mc_samples",
    label: "Monte Carlo samples",
    range: [1, 16, 1],
    format: String,
    hint: "For Monte Carlo guidance: sampled futures over which the reward gradient is averaged.",
  },
  {
    key: "seed",
    kind: "number",
    label: "Seed",
    hint: "Seed of the noise. The same seed gives the same plan.",
  },
];

const create = (tag, properties) => Object.assign(document.createElement(tag), properties);

/** Add the controls of all settings. */
export function addSettings() {
  element("fields").append(...SETTINGS.flatMap(controlOf));
}

/** Add the choice between recorded settings. */
export function addVariants() {
  const field = create("div", { className: "field" });
  const select = create("select", { id: "set-variant" });
  select.addEventListener("change", () => changeSetting("variant", +select.value));
  const label = create("label", { textContent: "Scheduling matrix", htmlFor: "set-variant" });
  field.append(label, select);
  element("fields").append(field);
}

/** Fill the choice between recorded settings. */
export function fillVariants() {
  const options = variantNames().map((text, index) => new Option(text, index));
  element("set-variant").replaceChildren(...options);
}

/** Show the hint of what the pointer or the focus is on. */
export function showHint(text = NO_HINT) {
  element("hint").textContent = text;
}

/** The control of one setting, and a place for its error. */
function controlOf(setting) {
  const id = `set-${setting.key}`;
  const row = create("div", { className: `slider ${setting.kind ?? ""}` });
  row.dataset.hint = setting.hint;
  const error = create("p", { className: "error", id: `error-${setting.key}`, hidden: true });
  if (setting.kind === "choice") {
    row.className = "segments wide";
    row.setAttribute("role", "radiogroup");
    row.setAttribute("aria-label", setting.label);
    for (const [value, text] of setting.options) {
      row.append(radioButton(setting.key, value, text, () => changeSetting(setting.key, value)));
    }
    return [row, error];
  }
  const input = create("input", { id, type: setting.kind ?? "range" });
  input.setAttribute("aria-describedby", error.id);
  row.append(create("label", { textContent: setting.label, htmlFor: id }));
  if (setting.kind === "number") {
    row.append(input);
    listenToNumber(input, setting.key);
  } else {
    [input.min, input.max, input.step] = setting.range;
    row.append(create("output", { id: `out-${setting.key}`, htmlFor: id }), input);
    input.addEventListener("input", () => changeSetting(setting.key, +input.value));
  }
  return [row, error];
}

function listenToNumber(input, key) {
  input.inputMode = "numeric";
  input.addEventListener("input", () => {
    if (input.value.trim() === "" || !Number.isFinite(+input.value)) return;
    changeSetting(key, +input.value);
  });
  input.addEventListener("change", () => {
    if (input.value.trim() !== "") return;
    input.value = DEFAULTS[key];
    changeSetting(key, DEFAULTS[key]);
  });
}

/** A radio button that looks like a segment of a bar. */
export function radioButton(name, value, text, onChange, icon = "") {
  const label = create("label", {});
  const input = create("input", { type: "radio", name, value });
  const face = create("span", {});
  if (icon) face.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${icon}</svg>`;
  face.append(text);
  input.addEventListener("change", onChange);
  label.append(input, face);
  return label;
}

function changeSetting(key, value) {
  const panel = activePanel();
  panel.settings[key] = value;
  for (const { key: other, max } of SETTINGS) {
    if (max) panel.settings[other] = Math.min(panel.settings[other], max(panel.settings));
  }
  clearErrors([panel]);
  showSettings();
  requestPlans({ panels: [panel] });
}

/** Set the active panel's settings to the defaults. */
export function resetSettings() {
  activePanel().settings = { ...DEFAULTS };
  showSettings();
  requestPlans({ panels: [activePanel()] });
}

/** Show the settings of the active panel. */
export function showSettings() {
  const { settings } = activePanel();
  for (const setting of SETTINGS) showSetting(setting, settings);
  if (state.recordings) element("set-variant").value = settings.variant;
  element("tabs").hidden = state.panels.length < 2;
  for (const input of element("tabs").querySelectorAll("input")) {
    input.checked = +input.value === state.active;
  }
  state.panels.forEach((panel, index) => {
    panel.title.textContent = "AB"[index];
    panel.summary.textContent = summaryOf(panel.settings);
  });
}

function showSetting({ key, kind, range, max, format, applies }, settings) {
  const value = settings[key];
  if (kind === "choice") {
    for (const input of document.querySelectorAll(`input[name="${key}"]`)) {
      input.checked = input.value === value;
    }
    return;
  }
  const input = element(`set-${key}`);
  if (!input) return;
  if (max) input.max = max(settings);
  if (document.activeElement !== input || +input.value !== value) input.value = value;
  if (!range) return;
  const [low, high] = [range[0], +input.max];
  input.style.setProperty("--done", `${(100 * (value - low)) / (high - low)}%`);
  element(`out-${key}`).textContent = format(value);
  input.disabled = applies ? !applies(settings) : false;
  input.closest(".slider").classList.toggle("off", input.disabled);
}

function summaryOf(settings) {
  if (state.recordings) return variantNames()[settings.variant];
  const names = { full_sequence: "full", pyramid: `pyramid ${settings.uncertainty_scale}` };
  const parts = [
    names[settings.matrix] ?? settings.matrix,
    countOf(settings.steps, "step"),
    countOf(settings.candidates, "candidate"),
  ];
  if (settings.stop_fraction < 1) parts.push(`${formatPercent(settings.stop_fraction)} of the matrix`);
  if (settings.mc_samples > 1) parts.push(`${settings.mc_samples} Monte Carlo samples`);
  if (settings.guidance !== DEFAULTS.guidance) parts.push(`guidance ${settings.guidance.toFixed(1)}`);
  return parts.join(" · ");
}

/** Make a panel the one whose settings are shown. */
export function activatePanel(index) {
  state.active = index;
  showSettings();
  showErrors();
  redraw();
}
