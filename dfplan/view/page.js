// The page of dfplan: one problem, one or two ways to plan it, and what happens on the way.
//
// Positions are in the environment's own frame and units; a "place" is [row, column] of the maze's
// text, whole numbers in the middle of cells. Pictures have rows downwards and columns to the right.

// --- Colours -------------------------------------------------------------------------------------

// Matplotlib's plasma (noise level) and viridis (spread), in eighths.
const PLASMA = ["#0d0887", "#4c02a1", "#7e03a8", "#aa2395", "#cc4778", "#e66c5c", "#f89540", "#fdc527", "#f0f921"];
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
let theme = {};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["floor", "wall", "line", "ink", "muted", "goal"];
  theme = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  // What is certain stands out against the floor: dark on light, light on dark.
  const along = (map, share) => mixed(map, darkness.matches ? 1 - 0.82 * share : 0.9 * share);
  theme.level = (share) => along(PLASMA, share);
  theme.spread = (share) => along(VIRIDIS, share);
  theme.fog = Array.from({ length: 17 }, (_, index) => sprite(theme.level(index / 16), index / 16));
}

function mixed(map, share) {
  const at = Math.min(Math.max(share, 0), 1) * (map.length - 1);
  const index = Math.min(Math.floor(at), map.length - 2);
  const channel = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  const values = [0, 1, 2].map((k) => {
    const [low, high] = [channel(map[index], k), channel(map[index + 1], k)];
    return Math.round(low + (high - low) * (at - index));
  });
  return `rgb(${values.join(" ")})`;
}

/** A token as a picture: a crisp disc where it is certain, and the softer the noisier. */
function sprite(color, noise) {
  const picture = document.createElement("canvas");
  picture.width = picture.height = 64;
  const context = picture.getContext("2d");
  const gradient = context.createRadialGradient(32, 32, 0, 32, 32, 32);
  const clear = color.replace(")", " / 0)");
  gradient.addColorStop(0, color);
  gradient.addColorStop(Math.max(0.02, 0.9 * (1 - noise) ** 2), color);
  if (noise > 0.2) gradient.addColorStop(0.6, color.replace(")", ` / ${0.28 * noise + 0.1})`));
  gradient.addColorStop(1, clear);
  context.fillStyle = gradient;
  context.fillRect(0, 0, 64, 64);
  return picture;
}

// --- Where events come from ----------------------------------------------------------------------

const recorded = JSON.parse(document.getElementById("data").textContent);

/** Events of a server, while it plans. */
async function* live(request, signal) {
  const response = await fetch("plan", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  if (!response.ok) {
    const refused = await response.json().catch(() => ({}));
    const message = refused.error ?? `The server answered ${response.status}.`;
    yield { kind: "error", field: refused.field ?? "", message };
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, ended] = ["", false];
  for (;;) {
    const { value, done } = await reader.read();
    if (done && !ended) throw new Error("its answer broke off");
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      ended ||= event.kind === "plan" || event.kind === "error";
      yield event;
    }
  }
}

/** Events that were recorded of the same problem and settings. */
async function* replayed(request, signal) {
  const maze = mazeNamed(request.planner);
  const problem = recordings[request.planner][request.problem];
  const events = problem.runs[request.variant].events;
  for (const event of events) {
    if (event.kind === "driven" && !request.drive) return;
    if (event.kind === "row" && !stillness.matches) await new Promise((done) => setTimeout(done, 40));
    if (signal.aborted) return;
    yield { ...event, ...readable(event, maze) };
  }
}

/** Lines of a recording, which holds whole numbers and of each point the way from the one before. */
function readable(event, maze) {
  const size = maze.unit / recordings.per_cell;
  const line = (steps) => {
    const at = [0, 0];
    return steps.map(([a, b]) => {
      at[0] += a;
      at[1] += b;
      return [maze.first[0] + at[0] * size, maze.first[1] + at[1] * size];
    });
  };
  if (event.kind === "row") return { points: event.points.map(line) };
  if (event.kind === "plan") return { points: line(event.points) };
  if (event.kind === "driven") return { positions: line(event.positions) };
  return {};
}

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// --- State ---------------------------------------------------------------------------------------

const DEFAULTS = {
  matrix: "full_sequence",
  uncertainty_scale: 1,
  rows: 1,
  steps: 3,
  guidance: 0.5,
  candidates: 16,
  futures: 1,
  seed: 0,
  variant: 0,
};
const MOST_VIA = 8;
const MOST_ZONES = 16;
const PATIENCE = 300; // milliseconds that a plan may take before a newer wish ends it

let mazes = [];
let recordings = null;
let maze = null;
const state = {
  problem: { start: [0, 0], goal: [0, 0], via: [], zones: [] },
  recorded: 0, // which problem, of a recording
  tool: "move",
  panels: [],
  active: 0,
  cursor: 0, // 0 to 1: rows of the plan; 1 to 2: steps of the drive
  follow: true, // show what came last, wherever the cursor is
  playing: false,
  drag: null,
};

const element = (id) => document.getElementById(id);
const mazeNamed = (name) => mazes.find((one) => one.name === name);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const written = (position) => position.map((value) => +value.toFixed(3)).join(", ");
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// --- Geometry ------------------------------------------------------------------------------------

function toPlace([a, b], of = maze) {
  const [[d0, d1], [r0, r1]] = [of.down, of.right];
  const [x, y] = [a - of.first[0], b - of.first[1]];
  const area = d0 * r1 - d1 * r0;
  return [(x * r1 - y * r0) / area, (y * d0 - x * d1) / area];
}

function toPosition([row, column], of = maze) {
  return [0, 1].map((axis) => +(of.first[axis] + row * of.down[axis] + column * of.right[axis]).toFixed(3));
}

/** What a picture shows: the outer wall cut to a ring, as in the package's own pictures. */
function viewOf(of) {
  const [height, width] = [of.rows.length, of.rows[0].length];
  const ring = clamp(0.06 * (Math.max(height, width) - 2), 0.3, 1);
  return { top: 0.5 - ring, left: 0.5 - ring, height: height - 2 + 2 * ring, width: width - 2 + 2 * ring };
}

const isWall = (row, column) => (maze.rows[row]?.[column] ?? "#") === "#";

/** Whether a ball at a place is clear of walls. */
function isFree([row, column], radius = maze.ball / maze.unit) {
  const [i, j] = [Math.round(row), Math.round(column)];
  for (const di of [-1, 0, 1]) {
    for (const dj of [-1, 0, 1]) {
      if (!isWall(i + di, j + dj)) continue;
      const apart = [row - i - di, column - j - dj].map((gap) => Math.max(Math.abs(gap) - 0.5, 0));
      if (Math.hypot(...apart) < radius || Math.hypot(...apart) === 0) return false;
    }
  }
  return true;
}

/** The nearest place where the ball is clear of walls. */
function freed(place) {
  if (isFree(place)) return place;
  const reach = 0.5 - maze.ball / maze.unit - 0.01;
  let [best, nearest] = [null, Infinity];
  maze.rows.forEach((line, row) => {
    [...line].forEach((cell, column) => {
      if (cell === "#") return;
      const inside = [clamp(place[0], row - reach, row + reach), clamp(place[1], column - reach, column + reach)];
      const apart = Math.hypot(inside[0] - place[0], inside[1] - place[1]);
      if (apart < nearest) [best, nearest] = [inside, apart];
    });
  });
  return best;
}

// --- Planning ------------------------------------------------------------------------------------

function newPanel(settings) {
  const node = element("stage").content.firstElementChild.cloneNode(true);
  const find = (selector) => node.querySelector(selector);
  const panel = {
    node,
    settings,
    maze: find(".maze canvas"),
    box: find(".maze"),
    layer: find(".layer"),
    matrix: find(".matrix canvas"),
    status: find(".status"),
    summary: find(".summary"),
    title: find("h2"),
    rowsLabel: find(".matrix-rows"),
    items: new Map(),
    run: null, // what is shown
    busy: null, // the controller of what is being made
    wanted: null,
    waiting: false,
    again: false, // the plan that is shown is being made once more
    error: null,
  };
  new ResizeObserver(() => draw()).observe(panel.box);
  new ResizeObserver(() => draw()).observe(find(".matrix-box"));
  listenToLayer(panel);
  listenToMatrix(panel, find(".matrix-box"));
  return panel;
}

function requestOf(panel, drive) {
  const { start, goal, via, zones } = state.problem;
  const { variant, ...settings } = panel.settings;
  if (recorded) return { planner: maze.name, problem: state.recorded, variant, drive };
  return { planner: maze.name, start, goal, via, zones, ...settings, drive };
}

/** Plan anew in every panel; while one is soon to be done, the last wish waits for it. */
function ask({ drive = false, panels = state.panels } = {}) {
  for (const panel of panels) {
    panel.wanted = { drive };
    panel.node.setAttribute("aria-busy", "true");
    const left = panel.busy ? PATIENCE - (performance.now() - panel.began) : 0;
    if (left <= 0) launch(panel);
    else panel.timer ??= setTimeout(() => launch(panel), left);
  }
}

async function launch(panel) {
  clearTimeout(panel.timer);
  panel.timer = null;
  if (!panel.wanted) return;
  const { drive } = panel.wanted;
  panel.wanted = null;
  panel.busy?.abort();
  const busy = new AbortController();
  panel.busy = busy;
  panel.began = performance.now();
  const request = requestOf(panel, drive);
  const key = JSON.stringify({ ...request, drive: true });
  // What is shown already is made once more to be driven; it is not shown again row by row.
  panel.again = Boolean(drive && panel.run?.plan && panel.run.key === key);
  const run = { key, rows: [], total: 0, plan: null, ends: null };
  Object.assign(run, { driven: [], every: 1, reached: null, replanned: 0, over: false });
  try {
    const source = recorded ? replayed : live;
    for await (const event of source(request, busy.signal)) {
      if (busy.signal.aborted) return;
      take(panel, run, event, performance.now() - panel.began);
    }
  } catch (failure) {
    if (busy.signal.aborted) return;
    fail(panel, "", `No answer from the server (${failure.message}). Is dfplan view still running?`);
  } finally {
    if (panel.busy === busy) {
      panel.busy = null;
      panel.waiting = panel.again = false;
      if (panel.wanted) launch(panel);
      draw();
    }
  }
}

function take(panel, run, event, milliseconds) {
  panel.waiting = event.kind === "waiting";
  if (panel.waiting) setTimeout(draw, PATIENCE + 20); // those who wait for less are not told
  if (event.kind === "error") return fail(panel, event.field, event.message);
  if (event.kind === "row") {
    if (!run.rows.length) {
      run.first = milliseconds;
      run.ends = event.points.map((line) => endOf(line));
      clearErrors(panel);
      if (!panel.again) show(panel, run);
    }
    run.rows.push(event);
    run.total = event.rows;
  } else if (event.kind === "plan") {
    run.plan = event;
    if (panel.again) show(panel, run);
    panel.again = false;
  } else if (event.kind === "driven") {
    const begins = !run.driven.length;
    run.driven.push(...event.positions);
    Object.assign(run, { every: event.every ?? 1, reached: event.reached, replanned: event.replanned, over: event.over });
    // Where another panel's drive is being played already, this one joins in.
    if (begins && !(state.playing && state.cursor > 1)) play(1);
  }
  draw();
}

function show(panel, run) {
  panel.run = run;
  if (!state.playing) state.follow = true;
}

/** Index of the last point of a line's last token; the rest repeat it. */
function endOf(line) {
  let end = line.length - 1;
  while (end > 0 && line[end - 1][0] === line[end][0] && line[end - 1][1] === line[end][1]) end -= 1;
  return Math.min(Math.ceil(end / maze.stack) * maze.stack, line.length - 1);
}

function fail(panel, field, message) {
  panel.error = { field, message };
  showErrors();
  draw();
}

function clearErrors(panel) {
  if (!panel.error) return;
  panel.error = null;
  showErrors();
}

/** Each error beside the field that it is about. */
function showErrors() {
  const errors = new Map();
  for (const panel of [...state.panels].reverse()) if (panel.error) errors.set(panel.error.field, panel.error.message);
  for (const [field, message] of local) errors.set(field, message);
  for (const note of document.querySelectorAll(".error")) {
    const field = note.id.slice("error-".length);
    note.hidden = !errors.has(field);
    note.textContent = errors.get(field) ?? "";
    (element(field) ?? element(`set-${field}`))?.classList.toggle("wrong", errors.has(field));
  }
  for (const panel of state.panels) {
    for (const [name, item] of panel.items) {
      const field = { via: "via", zone: "zones" }[name.replace(/\d+/, "")] ?? name;
      item.classList.toggle("wrong", errors.has(field));
    }
  }
}

const local = new Map(); // errors that the page finds itself, by field

// --- Time ----------------------------------------------------------------------------------------

/** What a panel shows now: {row} from 0 to the number of rows, where the plan is, or {step}. */
function momentOf(panel) {
  const run = panel.run;
  if (!run) return null;
  const last = run.rows.length - 1 + (run.plan ? 1 : 0);
  if (state.follow) return { row: last };
  if (state.cursor > 1 && run.driven.length) {
    const longest = Math.max(...state.panels.map((one) => lastStep(one.run)));
    return { row: last, step: Math.min((state.cursor - 1) * longest, lastStep(run)) };
  }
  return { row: Math.min(Math.min(state.cursor, 1) * run.rows.length, last) };
}

const lastStep = (run) => (run ? Math.max(run.driven.length - 1, 0) * run.every : 0);
const anyDriven = () => state.panels.some((panel) => panel.run?.driven.length);
const activePanel = () => state.panels[state.active];

function play(from = null) {
  const end = anyDriven() ? 2 : 1;
  if (from !== null) state.cursor = from;
  else if (state.follow || state.cursor >= end) state.cursor = 0;
  state.follow = false;
  if (stillness.matches) {
    state.cursor = end;
    return draw();
  }
  if (!state.playing) {
    state.playing = true;
    let before = performance.now();
    const tick = (now) => {
      if (!state.playing) return;
      const rows = Math.max(...state.panels.map((panel) => panel.run?.total ?? 0), 1);
      const steps = Math.max(...state.panels.map((panel) => lastStep(panel.run)), 1);
      const seconds = state.cursor < 1 ? clamp(rows * 0.12, 1, 4) : clamp(steps / 110, 1.5, 7);
      state.cursor += (now - before) / 1000 / seconds;
      before = now;
      const driving = state.panels.some((panel) => panel.busy);
      const last = anyDriven() ? 2 : 1;
      if (state.cursor >= last && !driving) {
        state.cursor = last;
        state.playing = false;
      }
      state.cursor = Math.min(state.cursor, last);
      draw();
      if (state.playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
  draw();
}

function pause() {
  state.playing = false;
  draw();
}

/** Go on or back by one row, or by five steps of the drive. */
function stepBy(direction) {
  const run = activePanel().run;
  if (!run) return;
  syncCursor();
  state.follow = state.playing = false;
  const driving = run.driven.length && (state.cursor > 1 || (state.cursor === 1 && direction > 0));
  const width = driving ? 5 / Math.max(lastStep(run), 5) : 1 / run.rows.length;
  let next = state.cursor + direction * width;
  if (driving) next = Math.max(next, 1);
  state.cursor = clamp(next, 0, anyDriven() ? 2 : 1);
  draw();
}

/** Where nothing was scrubbed, the cursor is where the active panel is. */
function syncCursor() {
  const panel = activePanel();
  if (!state.follow || !panel?.run) return;
  state.cursor = clamp(momentOf(panel).row / Math.max(panel.run.plan ? panel.run.rows.length : panel.run.total, 1), 0, 1);
}

// --- Drawing -------------------------------------------------------------------------------------

let drawn = 0;

function draw() {
  drawn ||= requestAnimationFrame(() => {
    drawn = 0;
    if (!maze) return;
    syncCursor();
    for (const panel of state.panels) {
      const moment = momentOf(panel);
      drawMaze(panel, moment);
      drawMatrix(panel, moment);
      const said = statusOf(panel, moment);
      if (panel.status.textContent !== said) panel.status.textContent = said;
      panel.status.classList.toggle("wrong", Boolean(panel.error));
      if (!panel.busy && !panel.wanted) panel.node.setAttribute("aria-busy", "false");
      panel.status.setAttribute("aria-live", state.playing || state.drag ? "off" : "polite");
    }
    drawTransport();
  });
}

/** A canvas at the resolution of the screen; its context, in CSS pixels. */
function prepared(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height, ratio };
}

function drawMaze(panel, moment) {
  const { context, width, height, ratio } = prepared(panel.maze);
  if (!width) return;
  const view = viewOf(maze);
  const cell = width / view.width;
  const at = (position) => {
    const [row, column] = toPlace(position);
    return [(column - view.left) * cell, (row - view.top) * cell];
  };
  context.save();
  context.beginPath();
  context.roundRect(0, 0, width, height, 10);
  context.clip();
  drawWalls(context, view, cell, width, height, ratio);
  const length = maze.unit;
  const { start, goal } = state.problem;
  if (goal) {
    context.beginPath();
    context.arc(...at(goal), (maze.radius / length) * cell, 0, 7);
    context.globalAlpha = 0.14;
    context.fillStyle = theme.goal;
    context.fill();
    context.globalAlpha = 0.7;
    context.strokeStyle = theme.goal;
    context.lineWidth = 1.5;
    context.stroke();
    context.globalAlpha = 1;
    drawBall(context, at(goal), Math.max(2, (maze.ball / length) * cell * 0.5), theme.goal);
  }
  if (panel.run) {
    context.globalAlpha = panel.error ? 0.3 : 1;
    drawRun(context, panel.run, moment, at, cell, panel.error ? 0.3 : 1);
    context.globalAlpha = 1;
  }
  const ball = Math.max(2.5, (maze.ball / length) * cell);
  if (moment?.step === undefined) drawBall(context, at(start), ball, theme.ink);
  else drawBall(context, at(positionAt(panel.run, moment.step)), ball, theme.ink);
  context.restore();
}

function drawWalls(context, view, cell, width, height, ratio) {
  context.fillStyle = theme.floor;
  context.fillRect(0, 0, width, height);
  context.beginPath();
  // Edges on whole pixels, so that no seam shows between neighbors.
  const edge = (value) => Math.round(value * ratio) / ratio;
  maze.rows.forEach((line, row) => {
    [...line].forEach((character, column) => {
      if (character !== "#") return;
      const [x, y] = [edge((column - 0.5 - view.left) * cell), edge((row - 0.5 - view.top) * cell)];
      const [right, bottom] = [edge((column + 0.5 - view.left) * cell), edge((row + 0.5 - view.top) * cell)];
      context.rect(x, y, right - x, bottom - y);
    });
  });
  context.fillStyle = theme.wall;
  context.fill();
  const y = ((0.5 - view.top) * cell) / 2;
  const x = width - cell - 10;
  context.fillStyle = theme.ink;
  context.fillRect(x, y, cell, 1.5);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillText(counted(maze.unit, "unit"), x - 6, y + 1);
}

function drawBall(context, [x, y], radius, color) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = color;
  context.fill();
  context.lineWidth = 1.2;
  context.strokeStyle = theme.floor;
  context.stroke();
}

function positionAt(run, step) {
  const at = clamp(step / run.every, 0, run.driven.length - 1);
  return between(run.driven[Math.floor(at)], run.driven[Math.ceil(at)], at % 1);
}

const between = (low, high, share) => [low[0] + (high[0] - low[0]) * share, low[1] + (high[1] - low[1]) * share];

function drawRun(context, run, moment, at, cell, strength) {
  const rows = run.rows;
  const final = run.plan && moment.row >= rows.length;
  const low = rows[Math.min(Math.floor(moment.row), rows.length - 1)];
  const high = rows[Math.min(Math.ceil(moment.row), rows.length - 1)];
  const share = low === high ? 0 : moment.row % 1;
  const crisp = clamp(cell * 0.045, 1.7, 4);
  const stack = maze.stack;
  const order = low.points.map((_, candidate) => candidate);
  const best = run.plan?.best ?? -1;
  if (best >= 0) order.push(...order.splice(best, 1));
  // Toward the end of the rows the chosen candidate moves to where polish puts it.
  const toPlan = run.plan ? clamp(moment.row - (rows.length - 1), 0, 1) : 0;
  for (const candidate of order) {
    const chosen = candidate === best;
    const end = run.ends[candidate];
    const points = low.points[candidate].slice(0, end + 1).map((point, index) => {
      const seen = share ? between(point, high.points[candidate][index], share) : point;
      return at(chosen && toPlan ? between(seen, run.plan.points[index], toPlan) : seen);
    });
    const noise = points.map((_, index) => {
      const token = Math.min(Math.floor((index + stack - 1) / stack), low.level[candidate].length - 1);
      const [a, b] = [low.level[candidate][token], high.level[candidate][token]];
      return clamp((a + (b - a) * share) / maze.max_level, 0, 1);
    });
    if (chosen && final) {
      drawPlan(context, run.plan, points, noise, crisp, moment.step !== undefined ? 0.4 * strength : strength);
      continue;
    }
    const faint = best < 0 ? 0.75 : chosen ? 1 : final ? 0.3 : 0.25;
    const certain = 1 - noise.reduce((sum, value) => sum + value, 0) / noise.length;
    context.globalAlpha = strength * faint * (0.12 + 0.6 * certain);
    context.strokeStyle = theme.muted;
    context.lineWidth = chosen ? 1.8 : 1.2;
    stroke(context, points);
    if (final) continue;
    for (let index = points.length - 1; index >= 0; index -= 1) {
      drawFog(context, points[index], noise[index], crisp, strength * faint);
    }
  }
  context.globalAlpha = strength;
  if (moment.step !== undefined) drawDriven(context, run, moment.step, at);
}

/** A token: the noisier, the larger, softer and paler. */
function drawFog(context, [x, y], noise, crisp, strength) {
  const radius = crisp * (1 + 6.5 * noise);
  context.globalAlpha = strength * (0.9 * (1 - noise) ** 1.5 + 0.1);
  context.drawImage(theme.fog[Math.round(noise * 16)], x - radius, y - radius, 2 * radius, 2 * radius);
}

function stroke(context, points) {
  context.beginPath();
  points.forEach((point, index) => (index ? context.lineTo(...point) : context.moveTo(...point)));
  context.lineJoin = context.lineCap = "round";
  context.stroke();
}

function drawPlan(context, plan, points, noise, crisp, strength) {
  context.globalAlpha = strength;
  context.strokeStyle = theme.floor;
  context.lineWidth = crisp * 1.6 + 2.5;
  stroke(context, points);
  const widest = widestSpread();
  const color = (index) => theme.spread(plan.spread[index] / widest);
  context.lineWidth = crisp * 0.9;
  for (let index = points.length - 1; index > 0; index -= 1) {
    context.globalAlpha = strength * (1 - 0.75 * noise[index]);
    context.strokeStyle = color(index);
    stroke(context, [points[index - 1], points[index]]);
  }
  for (let index = points.length - 1; index >= 0; index -= 1) {
    if (noise[index] > 0.02) {
      drawFog(context, points[index], noise[index], crisp, strength);
      continue;
    }
    context.globalAlpha = strength;
    context.beginPath();
    context.arc(...points[index], crisp, 0, 7);
    context.fillStyle = color(index);
    context.fill();
    context.lineWidth = Math.max(0.6, crisp * 0.22);
    context.strokeStyle = theme.floor;
    context.stroke();
  }
}

/** What the colours of spread reach to: the same in both panels, so that they compare. */
function widestSpread() {
  const plans = state.panels.map((panel) => panel.run?.plan).filter(Boolean);
  return Math.max(...plans.flatMap((plan) => plan.spread), 0.25 * maze.unit);
}

function drawDriven(context, run, step, at) {
  const count = Math.floor(step / run.every) + 1;
  const path = run.driven.slice(0, count).map(at);
  path.push(at(positionAt(run, step)));
  context.strokeStyle = theme.floor;
  context.lineWidth = 5;
  stroke(context, path);
  context.strokeStyle = theme.ink;
  context.lineWidth = 2.2;
  stroke(context, path);
}

/** Levels of one candidate's tokens, a row of the matrix below the other. */
function drawMatrix(panel, moment) {
  const { context, width, height } = prepared(panel.matrix);
  const run = panel.run;
  context.beginPath();
  context.roundRect(0.5, 0.5, width - 1, height - 1, 6);
  context.strokeStyle = theme.line;
  context.stroke();
  if (!run || !width) return;
  const candidate = shownCandidate(run);
  const tokens = run.rows[0].level[candidate].length;
  const end = Math.ceil(run.ends[candidate] / maze.stack);
  const [across, down] = [(width - 8) / tokens, (height - 8) / run.total];
  context.save();
  context.globalAlpha = panel.error ? 0.3 : 1;
  let before = 0;
  for (const event of run.rows) {
    const [y, bottom] = [4 + before * down, 4 + event.row * down];
    const gap = bottom - y > 7 ? 1 : 0;
    event.level[candidate].forEach((level, token) => {
      const x = 4 + token * across;
      context.globalAlpha = (panel.error ? 0.3 : 1) * (token > end ? 0.45 : 1);
      context.fillStyle = token > end ? theme.line : theme.level(level / maze.max_level);
      context.fillRect(x, y, across - (across > 5 ? 1 : 0) + (across > 5 ? 0 : 0.4), bottom - y - gap + (gap ? 0 : 0.4));
    });
    before = event.row;
  }
  context.restore();
  const shown = run.rows[Math.min(Math.round(moment.row), run.rows.length - 1)];
  const previous = run.rows[run.rows.indexOf(shown) - 1]?.row ?? 0;
  const y = 4 + previous * down;
  context.strokeStyle = theme.ink;
  context.lineWidth = 1.6;
  context.strokeRect(2, y - 1, width - 4, Math.max((shown.row - previous) * down, 2) + 1);
  panel.rowsLabel.textContent = `${counted(run.total, "row")} ↓`;
}

function statusOf(panel, moment) {
  if (panel.error) return `Not planned: ${panel.error.message}`;
  if (panel.waiting && performance.now() - panel.began > PATIENCE) return "Waiting for plans that are still being made.";
  const run = panel.run;
  if (!run) return panel.busy ? "Planning…" : "";
  if (panel.again) return "Making the plan once more, to drive it…";
  if (moment.step !== undefined) {
    const step = Math.round(moment.step);
    let reached = "";
    if (run.reached !== null && run.reached <= step) reached = `, goal reached at ${run.reached}`;
    else if (run.over && step >= lastStep(run) && state.problem.goal) reached = ", goal not reached";
    const again = run.replanned ? `; planned anew ${counted(run.replanned, "time")}` : "";
    return `Driving: step ${step}${reached}${again}.`;
  }
  if (run.plan && moment.row >= run.rows.length) {
    const { steps, seconds, evaluations } = run.plan;
    const more = keptOf(run.plan) || (recorded ? "" : ` First shown after ${duration(run.first / 1000)}.`);
    return `Planned ${steps} steps in ${duration(seconds)}, ${counted(evaluations, "network evaluation")}.${more}`;
  }
  const event = run.rows[Math.min(Math.round(moment.row), run.rows.length - 1)];
  return `Row ${event.row} of ${event.rows}: ${certainty(run, event)}% certain.`;
}

/** How well a plan does what was wished. */
function keptOf({ past = [], into = [] }) {
  const [farthest, deepest] = [Math.max(...past), Math.max(...into)];
  const units = (value) => `${value.toFixed(2)} units`;
  return [
    past.length && ` Passes the via-point${past.length > 1 ? "s" : ""} within ${units(farthest)}.`,
    into.length && (deepest > 0.005 ? ` Reaches ${units(deepest)} into a zone.` : " Keeps out of zones."),
  ].filter(Boolean).join("");
}

const duration = (seconds) => (seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`);

/** The candidate whose levels are shown: the chosen one, until it is known the longest. */
const shownCandidate = (run) => run.plan?.best ?? run.ends.indexOf(Math.max(...run.ends));

/** How much of the noise is gone, over the tokens of that candidate between start and end. */
function certainty(run, event) {
  const candidate = shownCandidate(run);
  const end = Math.ceil(run.ends[candidate] / maze.stack);
  const free = event.level[candidate].slice(1, state.problem.goal ? Math.max(end, 2) : end + 1);
  return Math.round(100 * (1 - free.reduce((sum, level) => sum + level, 0) / (free.length * maze.max_level || 1)));
}

const ICONS = {
  play: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4.5 2.2v11.6L13.5 8z"/></svg>',
  pause: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5h3v11H4zM9 2.5h3v11H9z"/></svg>',
};

function drawTransport() {
  const panel = activePanel();
  const run = panel?.run;
  const moment = panel && momentOf(panel);
  const [scrubber, end] = [element("scrubber"), anyDriven() ? 2 : 1];
  scrubber.max = 1000 * end;
  const value = Math.round(1000 * Math.min(state.cursor, end));
  if (+scrubber.value !== value) scrubber.value = value;
  scrubber.style.setProperty("--done", `${(100 * value) / scrubber.max}%`);
  const where = !run
    ? ""
    : moment.step !== undefined
      ? `step ${Math.round(moment.step)} of ${lastStep(run)}`
      : run.plan && moment.row >= run.rows.length
        ? "plan"
        : `row ${run.rows[Math.min(Math.round(moment.row), run.rows.length - 1)].row} of ${run.total}`;
  element("where").textContent = where;
  scrubber.setAttribute("aria-valuetext", where);
  const icon = state.playing ? "pause" : "play";
  if (element("play").dataset.icon !== icon) {
    element("play").dataset.icon = icon;
    element("play").innerHTML = ICONS[icon];
    element("play").setAttribute("aria-label", icon === "play" ? "Play" : "Pause");
  }
  drawLegend(run && run.plan && moment.row >= run.rows.length ? run.plan : null);
}

function drawLegend(plan) {
  const { context, width, height } = prepared(element("legend-bar"));
  for (let x = 0; x < width; x += 1) {
    context.fillStyle = (plan ? theme.spread : theme.level)(x / width);
    context.fillRect(x, 0, 1.5, height);
  }
  const words = plan
    ? ["Spread of candidates", "0", `${widestSpread().toFixed(maze.unit > 1 ? 1 : 2)} units`]
    : ["Noise level", "certain", "pure noise"];
  ["legend-name", "legend-low", "legend-high"].forEach((id, index) => (element(id).textContent = words[index]));
}

// --- Handles and tools ---------------------------------------------------------------------------

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

/** Buttons over the maze, at the places of the problem. */
function placeItems() {
  const view = viewOf(maze);
  const { start, goal, via, zones } = state.problem;
  for (const panel of state.panels) {
    panel.box.style.setProperty("--aspect", view.width / view.height);
    panel.layer.dataset.tool = state.tool;
    const wanted = new Map();
    zones.forEach((box, index) => {
      wanted.set(`zone${index}`, { box, label: `Zone ${index + 1} to keep out of` });
    });
    via.forEach((position, index) => {
      wanted.set(`via${index}`, { position, label: `Via-point ${index + 1}`, text: index + 1 });
    });
    if (goal) wanted.set("goal", { position: goal, label: "Goal", name: "goal" });
    wanted.set("start", { position: start, label: "Start", name: "start" });
    for (const [name, item] of panel.items) {
      if (wanted.has(name)) continue;
      item.remove();
      panel.items.delete(name);
    }
    for (const [name, { position, box, label, text, name: caption }] of wanted) {
      let item = panel.items.get(name);
      if (!item) {
        item = document.createElement("button");
        item.type = "button";
        item.dataset.item = name;
        item.className = box ? "zone" : `handle ${name.replace(/\d+/, "")}`;
        if (text) item.append(Object.assign(document.createElement("span"), { textContent: text }));
        if (caption) item.append(Object.assign(document.createElement("b"), { textContent: caption }));
        panel.items.set(name, item);
        panel.layer.append(item);
      }
      item.setAttribute("aria-label", `${label}, ${written(box ?? position)}`);
      const style = item.style;
      const share = (value, low, size) => `${(100 * (value - low)) / size}%`;
      const [row, column] = box ? corners(box)[0] : toPlace(position);
      style.left = share(column, view.left, view.width);
      style.top = share(row, view.top, view.height);
      if (box) {
        const [low, high] = corners(box);
        style.width = `${(100 * (high[1] - low[1])) / view.width}%`;
        style.height = `${(100 * (high[0] - low[0])) / view.height}%`;
      }
    }
  }
  for (const [id, position] of [["start", start], ["goal", goal]]) {
    if (document.activeElement !== element(id)) element(id).value = position ? written(position) : "";
  }
  const wishes = [
    via.length && counted(via.length, "via-point"),
    zones.length && counted(zones.length, "zone"),
  ].filter(Boolean);
  element("wishes").textContent = wishes.length
    ? `With ${wishes.join(" and ")}; more candidates and steps help.`
    : "No via-points, no zones.";
  element("clear").disabled = !wishes.length;
  draw();
}

/** Least and greatest place of a box of positions. */
function corners([a, b, c, d]) {
  const [one, other] = [toPlace([a, b]), toPlace([c, d])];
  return [one.map((value, axis) => Math.min(value, other[axis])), one.map((value, axis) => Math.max(value, other[axis]))];
}

function boxOf(one, other) {
  const [a, b] = [toPosition(one), toPosition(other)];
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
}

/** The problem is another one now. */
function changed() {
  local.clear();
  for (const panel of state.panels) panel.error = null;
  showErrors();
  placeItems();
  if (!recorded) {
    state.playing = false;
    ask();
  }
}

const numberOf = (name) => +name.replace(/\D+/, "");

/** Where an item is: of a zone, its least corner. */
function placeOfItem(name) {
  const { problem } = state;
  if (name.startsWith("zone")) return corners(problem.zones[numberOf(name)])[0];
  return toPlace(name.startsWith("via") ? problem.via[numberOf(name)] : problem[name]);
}

/** Move an item so that its place (of a zone: its least corner) is here. */
function moveItem(name, place) {
  const { problem } = state;
  if (name.startsWith("zone")) {
    const [low, high] = corners(problem.zones[numberOf(name)]);
    const size = [high[0] - low[0], high[1] - low[1]];
    const limits = [maze.rows.length - 0.5, maze.rows[0].length - 0.5];
    const to = place.map((value, axis) => clamp(value, -0.5, limits[axis] - size[axis]));
    problem.zones[numberOf(name)] = boxOf(to, [to[0] + size[0], to[1] + size[1]]);
  } else {
    const position = toPosition(freed(place));
    if (name.startsWith("via")) problem.via[numberOf(name)] = position;
    else problem[name] = position;
  }
}

function removeItem(name) {
  const list = name.startsWith("via") ? state.problem.via : name.startsWith("zone") ? state.problem.zones : null;
  if (!list) return;
  list.splice(numberOf(name), 1);
  changed();
}

function addVia(place) {
  if (state.problem.via.length >= MOST_VIA) {
    return refuse("via", `A plan passes at most ${MOST_VIA} via-points; erase one first.`);
  }
  state.problem.via.push(toPosition(freed(place)));
  return `via${state.problem.via.length - 1}`;
}

function addZone(one, other) {
  if (state.problem.zones.length >= MOST_ZONES) {
    return refuse("zones", `A plan keeps out of at most ${MOST_ZONES} zones; erase one first.`);
  }
  state.problem.zones.push(boxOf(one, other));
  return `zone${state.problem.zones.length - 1}`;
}

function refuse(field, message) {
  local.set(field, message);
  showErrors();
  return null;
}

function chooseTool(tool) {
  state.tool = tool;
  for (const input of element("tools").querySelectorAll("input")) input.checked = input.value === tool;
  placeItems();
}

function copyOf(problem) {
  return JSON.parse(JSON.stringify(problem));
}

function listenToLayer(panel) {
  const { layer } = panel;
  const placeOf = (event) => {
    const box = layer.getBoundingClientRect();
    const view = viewOf(maze);
    return [
      view.top + ((event.clientY - box.top) / box.height) * view.height,
      view.left + ((event.clientX - box.left) / box.width) * view.width,
    ];
  };
  layer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || state.drag || !maze) return;
    const name = event.target.closest("[data-item]")?.dataset.item;
    const place = placeOf(event);
    const drag = { panel, name, before: copyOf(state.problem), recorded: state.recorded, pointer: event.pointerId };
    if (state.tool === "erase") {
      event.preventDefault();
      if (name) removeItem(name);
      return;
    }
    if (!name && state.tool === "move") return;
    if (!name && state.tool === "via") {
      drag.name = addVia(place);
      if (!drag.name) return;
      changed();
    }
    if (!name && state.tool === "zone") drag.from = place;
    if (drag.name) {
      // A zone keeps its distance from the finger; a handle's middle comes under it.
      const own = drag.name.startsWith("zone") ? placeOfItem(drag.name) : place;
      drag.offset = [own[0] - place[0], own[1] - place[1]];
      const item = panel.items.get(drag.name);
      item.focus({ preventScroll: true });
      item.classList.add("held");
    }
    event.preventDefault();
    state.drag = drag;
    layer.setPointerCapture(event.pointerId);
  });
  layer.addEventListener("pointermove", (event) => {
    const drag = state.drag;
    if (!drag || drag.panel !== panel || event.pointerId !== drag.pointer) return;
    const place = placeOf(event);
    if (drag.from) drawBox(panel, drag.from, place);
    else {
      moveItem(drag.name, [place[0] + drag.offset[0], place[1] + drag.offset[1]]);
      if (recorded) snap(drag);
      changed();
    }
  });
  const end = (event) => {
    const drag = state.drag;
    if (!drag || drag.panel !== panel || event.pointerId !== drag.pointer) return;
    state.drag = null;
    panel.items.get(drag.name)?.classList.remove("held");
    layer.querySelector(".drawn")?.remove();
    if (drag.from && event.type === "pointerup") {
      const to = placeOf(event);
      // A tap is a zone of one cell around it.
      const tap = Math.max(Math.abs(to[0] - drag.from[0]), Math.abs(to[1] - drag.from[1])) < 0.1;
      const around = (size) => drag.from.map((value) => value + size);
      const [one, other] = tap ? [around(-0.5), around(0.5)] : [drag.from, to];
      const limits = [maze.rows.length - 0.5, maze.rows[0].length - 0.5];
      const kept = (place) => place.map((value, axis) => clamp(value, -0.5, limits[axis]));
      const [low, high] = [kept(one), kept(other)];
      if (Math.abs(low[0] - high[0]) < 0.02 || Math.abs(low[1] - high[1]) < 0.02) return;
      if (addZone(low, high)) changed();
    } else if (recorded && drag.name) {
      settle();
    }
  };
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) layer.addEventListener(kind, end);
  layer.addEventListener("keydown", (event) => {
    const name = event.target.dataset?.item;
    const direction = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!name) return;
    if (direction) {
      event.preventDefault();
      event.stopPropagation();
      if (recorded) return turn(direction[0] + direction[1]);
      const size = event.shiftKey ? 1 : 0.1;
      const from = placeOfItem(name);
      moveItem(name, [from[0] + size * direction[0], from[1] + size * direction[1]]);
      changed();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      removeItem(name);
      (panel.items.get(name) ?? panel.items.get("goal") ?? panel.items.get("start")).focus();
    }
  });
}

/** The zone that is being drawn. */
function drawBox(panel, one, other) {
  let box = panel.layer.querySelector(".drawn");
  if (!box) {
    box = Object.assign(document.createElement("div"), { className: "zone drawn" });
    panel.layer.append(box);
  }
  const view = viewOf(maze);
  const [low, high] = [Math.min, Math.max].map((of) => [0, 1].map((axis) => of(one[axis], other[axis])));
  box.style.left = `${(100 * (low[1] - view.left)) / view.width}%`;
  box.style.top = `${(100 * (low[0] - view.top)) / view.height}%`;
  box.style.width = `${(100 * (high[1] - low[1])) / view.width}%`;
  box.style.height = `${(100 * (high[0] - low[0])) / view.height}%`;
}

function cancelDrag() {
  const drag = state.drag;
  if (!drag) return false;
  state.drag = null;
  drag.panel.items.get(drag.name)?.classList.remove("held");
  drag.panel.layer.querySelector(".drawn")?.remove();
  state.problem = drag.before;
  if (recorded) {
    state.recorded = drag.recorded;
    settle();
  } else changed();
  return true;
}

function listenToMatrix(panel, box) {
  const scrub = (event) => {
    if (!panel.run || !(event.buttons & 1)) return;
    const share = (event.clientY - box.getBoundingClientRect().top) / box.clientHeight;
    state.follow = state.playing = false;
    const row = panel.run.rows.findIndex((one) => one.row >= share * panel.run.total);
    state.cursor = clamp((row < 0 ? panel.run.rows.length : row) / panel.run.rows.length, 0, 1);
    draw();
  };
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    scrub(event);
  });
  box.addEventListener("pointermove", scrub);
}

// --- Recorded problems ---------------------------------------------------------------------------

/** Show the recorded problem that is nearest to where a handle is dragged. */
function snap({ name, before }) {
  const other = name === "start" ? "goal" : "start";
  const problems = recordings[maze.name];
  const apart = ([a, b], [c, d]) => Math.hypot(a - c, b - d);
  // What was not dragged decides only among those that are as near.
  const far = (one) => apart(one[name], state.problem[name]) + 0.01 * apart(one[other], before[other]);
  const nearest = problems.reduce((best, one, index) => (far(one) < far(problems[best]) ? index : best), 0);
  state.problem[other] = problems[nearest][other];
  if (nearest === state.recorded) return;
  state.recorded = nearest;
  element("recorded").value = nearest;
  ask();
}

/** Put start and goal where the recorded problem has them. */
function settle() {
  const { start, goal } = recordings[maze.name][state.recorded];
  state.problem = { start, goal, via: [], zones: [] };
  element("recorded").value = state.recorded;
  placeItems();
  ask();
}

/** To the next recorded problem, or the one before. */
function turn(direction) {
  const count = recordings[maze.name].length;
  state.recorded = (state.recorded + direction + count) % count;
  settle();
}

// --- Controls ------------------------------------------------------------------------------------

const percent = (value) => `${Math.round(100 * value)}%`;
const FIELDS = [
  {
    key: "matrix",
    kind: "choice",
    label: "Schedule",
    options: [["full_sequence", "Full"], ["pyramid", "Pyramid"], ["autoregressive", "Autoregressive"]],
    hint: "How noise leaves the tokens: all at once, the near future first, or one token after the other.",
  },
  {
    key: "uncertainty_scale",
    label: "Uncertainty scale",
    range: [0, 5, 0.25],
    most: (settings) => Math.min(5, settings.steps),
    shown: (value) => `${value} row${value === 1 ? "" : "s"} a token`,
    applies: (settings) => settings.matrix === "pyramid",
    hint: "Of a pyramid: how many rows each token is later than the one before it.",
  },
  {
    key: "rows",
    label: "Rows run",
    range: [0.05, 1, 0.05],
    shown: percent,
    hint: "Share of the schedule that is run; below 100% the far future stays noise.",
  },
  {
    key: "steps",
    label: "Sampling steps",
    range: [1, 20, 1],
    shown: String,
    hint: "Steps from noise to certain, for each token.",
  },
  {
    key: "guidance",
    label: "Guidance scale",
    range: [0, 3, 0.1],
    shown: (value) => value.toFixed(1),
    hint: "How hard via-points, zones, shortness and the walls pull while the plan is made; 0 is not at all.",
  },
  {
    key: "candidates",
    label: "Candidates",
    range: [1, 64, 1],
    shown: String,
    hint: "Plans that are made at once, with different lengths; the best is chosen.",
  },
  {
    key: "futures",
    label: "Futures",
    range: [1, 16, 1],
    shown: String,
    hint: "Of Monte Carlo guidance: futures over which the pull on a token is averaged.",
  },
  { key: "seed", kind: "number", label: "Seed", hint: "Of all noise; the same seed gives the same plan." },
];
const NO_HINT = "Point at a setting, or move the focus to it, to see what it does.";

/** A labelled control of one setting of the active panel. */
function fieldOf(field) {
  const row = document.createElement("div");
  row.className = `slider ${field.kind ?? ""}`;
  row.dataset.hint = field.hint;
  const id = `set-${field.key}`;
  if (field.kind === "choice") {
    row.className = "segments wide";
    row.setAttribute("role", "radiogroup");
    row.setAttribute("aria-label", field.label);
    for (const [value, text] of field.options) row.append(radio(field.key, value, text, () => set(field.key, value)));
    return [row, errorOf(field.key)];
  }
  const label = Object.assign(document.createElement("label"), { textContent: field.label, htmlFor: id });
  const input = Object.assign(document.createElement("input"), { id, type: field.kind ?? "range" });
  input.setAttribute("aria-describedby", `error-${field.key}`);
  if (field.kind === "number") {
    input.inputMode = "numeric";
    row.append(label, input);
    input.addEventListener("input", () => {
      if (input.value.trim() === "" || !Number.isFinite(+input.value)) return;
      set(field.key, +input.value);
    });
    input.addEventListener("change", () => {
      if (input.value.trim() !== "") return;
      input.value = DEFAULTS[field.key];
      set(field.key, DEFAULTS[field.key]);
    });
  } else {
    [input.min, input.max, input.step] = field.range;
    row.append(label, Object.assign(document.createElement("output"), { id: `out-${field.key}`, htmlFor: id }), input);
    input.addEventListener("input", () => set(field.key, +input.value));
  }
  return [row, errorOf(field.key)];
}

function errorOf(key) {
  return Object.assign(document.createElement("p"), { className: "error", id: `error-${key}`, hidden: true });
}

function radio(name, value, text, chosen, icon = "") {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
  const face = document.createElement("span");
  if (icon) face.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${icon}</svg>`;
  face.append(text);
  input.addEventListener("change", chosen);
  label.append(input, face);
  return label;
}

function set(key, value) {
  const panel = activePanel();
  panel.settings[key] = value;
  for (const field of FIELDS) {
    if (field.most) panel.settings[field.key] = Math.min(panel.settings[field.key], field.most(panel.settings));
  }
  panel.error = null;
  showErrors();
  showSettings();
  ask({ panels: [panel] });
}

function showSettings() {
  const panel = activePanel();
  for (const field of FIELDS) {
    const value = panel.settings[field.key];
    if (field.kind === "choice") {
      for (const input of document.querySelectorAll(`input[name="${field.key}"]`)) input.checked = input.value === value;
      continue;
    }
    const input = element(`set-${field.key}`);
    if (!input) continue;
    if (field.most) input.max = field.most(panel.settings);
    if (document.activeElement !== input || +input.value !== value) input.value = value;
    if (field.range) {
      const [low, high] = [field.range[0], +input.max];
      input.style.setProperty("--done", `${(100 * (value - low)) / (high - low)}%`);
      element(`out-${field.key}`).textContent = field.shown(value);
      const off = field.applies ? !field.applies(panel.settings) : false;
      input.disabled = off;
      input.closest(".slider").classList.toggle("off", off);
    }
  }
  if (recorded) element("set-variant").value = panel.settings.variant;
  element("tabs").hidden = state.panels.length < 2;
  for (const input of element("tabs").querySelectorAll("input")) input.checked = +input.value === state.active;
  state.panels.forEach((one, index) => {
    one.title.textContent = "AB"[index];
    one.summary.textContent = summaryOf(one.settings);
  });
}

function summaryOf(settings) {
  if (recorded) return variantNames()[settings.variant];
  const names = { full_sequence: "full", pyramid: `pyramid ${settings.uncertainty_scale}` };
  const parts = [names[settings.matrix] ?? settings.matrix, counted(settings.steps, "step"), counted(settings.candidates, "candidate")];
  if (settings.rows < 1) parts.push(`${percent(settings.rows)} of rows`);
  if (settings.futures > 1) parts.push(`${settings.futures} futures`);
  if (settings.guidance !== DEFAULTS.guidance) parts.push(`guidance ${settings.guidance.toFixed(1)}`);
  return parts.join(" · ");
}

function variantNames() {
  const names = { full_sequence: "Full sequence", autoregressive: "Autoregressive" };
  return recordings[maze.name][0].runs.map(
    ({ settings }) => names[settings.matrix] ?? `Pyramid, scale ${settings.uncertainty_scale}`,
  );
}

function activate(index) {
  state.active = index;
  showSettings();
  showErrors();
  draw();
}

function compare(on = state.panels.length < 2) {
  if (on === state.panels.length > 1) return;
  if (on) {
    const { settings } = state.panels[0];
    const other = settings.matrix === "pyramid" ? "full_sequence" : "pyramid";
    const variant = recorded ? (settings.variant + 1) % variantNames().length : 0;
    state.panels.push(newPanel({ ...settings, matrix: other, variant }));
    element("stages").append(state.panels[1].node);
  } else {
    const panel = state.panels.pop();
    panel.busy?.abort();
    panel.wanted = null;
    clearTimeout(panel.timer);
    panel.node.remove();
  }
  element("stages").classList.toggle("two", on);
  element("compare").setAttribute("aria-pressed", String(on));
  activate(on ? 1 : 0);
  placeItems();
  if (on) ask({ panels: [state.panels[1]] });
}

function chooseMaze(name) {
  maze = mazeNamed(name);
  element("maze").value = name;
  state.recorded = 0;
  state.problem = { start: maze.start, goal: maze.goal, via: [], zones: [] };
  for (const panel of state.panels) {
    panel.busy?.abort();
    panel.busy = panel.wanted = panel.run = panel.error = null;
    clearTimeout(panel.timer);
    panel.timer = null;
  }
  state.follow = true;
  state.playing = false;
  if (recorded) {
    const problems = recordings[name];
    const named = ({ start, goal }, index) => `${index + 1}: ${written(start)} to ${written(goal)}`;
    element("recorded").replaceChildren(...problems.map((one, index) => new Option(named(one, index), index)));
    element("set-variant").replaceChildren(...variantNames().map((text, index) => new Option(text, index)));
    showSettings();
    settle();
  } else changed();
}

/** Two numbers as someone writes them; null where they are not. */
function readPosition(text) {
  const parts = text.replace(/[[\]()]/g, " ").trim().split(/[\s,;]+/);
  const values = parts.map(Number);
  return parts.length === 2 && parts.every(Boolean) && values.every(Number.isFinite) ? values : null;
}

function listenToControls() {
  for (const id of ["start", "goal"]) {
    element(id).addEventListener("change", () => {
      const text = element(id).value;
      const position = readPosition(text);
      if (!position && !(id === "goal" && text.trim() === "")) {
        refuse(id, `Expected two numbers with a comma between, such as ${written(maze[id])}; got “${text}”.`);
        return;
      }
      state.problem[id] = position;
      changed();
    });
  }
  element("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    // Enter in a field plans what it says; its own event comes first.
    if (local.has("start") || local.has("goal")) return;
    local.clear();
    showErrors();
    ask();
  });
  element("defaults").addEventListener("click", () => {
    activePanel().settings = { ...DEFAULTS };
    showSettings();
    ask({ panels: [activePanel()] });
  });
  element("clear").addEventListener("click", () => {
    state.problem.via = [];
    state.problem.zones = [];
    changed();
  });
  element("maze").addEventListener("change", (event) => chooseMaze(event.target.value));
  element("recorded").addEventListener("change", (event) => {
    state.recorded = +event.target.value;
    settle();
  });
  element("compare").addEventListener("click", () => compare());
  element("help").addEventListener("click", () => element("keys").showModal());
  element("play").addEventListener("click", () => (state.playing ? pause() : play()));
  element("drive").addEventListener("click", () => ask({ drive: true }));
  element("scrubber").addEventListener("input", (event) => {
    state.follow = state.playing = false;
    state.cursor = event.target.value / 1000;
    draw();
  });
  element("scrubber").addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    stepBy(direction);
  });
  for (const kind of ["pointerover", "focusin"]) {
    element("controls").addEventListener(kind, (event) => {
      const hint = event.target.closest("[data-hint]")?.dataset.hint;
      if (hint) element("hint").textContent = hint;
    });
  }
  element("controls").addEventListener("pointerleave", () => (element("hint").textContent = NO_HINT));
}

// --- Keys ----------------------------------------------------------------------------------------

const KEYS = {
  " ": () => (state.playing ? pause() : play()),
  ",": () => stepBy(-1),
  ".": () => stepBy(1),
  s: () => activePanel().items.get("start").focus(),
  g: () => activePanel().items.get("goal")?.focus(),
  d: () => ask({ drive: true }),
  c: () => compare(),
  v: () => !recorded && addByKey(() => addVia(newPlace())),
  z: () => !recorded && addByKey(() => addZone(...[-0.4, 0.4].map((side) => newPlace().map((value) => value + side)))),
  "?": () => element("keys").showModal(),
};

function addByKey(add) {
  const name = add();
  if (!name) return;
  changed();
  activePanel().items.get(name).focus();
}

/** A place along the plan, where a new via-point or zone matters: half way, then where none is yet. */
function newPlace() {
  const line = activePanel().run?.plan?.points;
  const { start, goal, via, zones } = state.problem;
  let [share, part] = [0, 0.5];
  for (let rest = via.length + zones.length + 1; rest; rest >>= 1, part /= 2) share += (rest & 1) * part;
  return toPlace(line ? line[Math.floor(endOf(line) * share)] : between(start, goal ?? start, share));
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (element("keys").open || !maze) return;
    if (event.key === "Escape") {
      if (!cancelDrag()) chooseTool("move");
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input:not([type=range]):not([type=radio]), select, textarea");
    const pressing = event.key === " " && event.target.closest?.("button, input");
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || pressing || !action) return;
    event.preventDefault();
    action();
  });
}

// --- Start ---------------------------------------------------------------------------------------

function fillControls() {
  element("maze").replaceChildren(...mazes.map((one) => new Option(one.name, one.name)));
  element("hint").textContent = NO_HINT;
  element("tabs").append(...["A", "B"].map((text, index) => radio("panel", index, text, () => activate(index))));
  if (!recorded) {
    element("tools").append(...TOOLS.map(([tool, text, icon]) => radio("tool", tool, text, () => chooseTool(tool), icon)));
    element("fields").append(...FIELDS.flatMap(fieldOf));
    return;
  }
  const field = Object.assign(document.createElement("div"), { className: "field" });
  field.append(
    Object.assign(document.createElement("label"), { textContent: "Schedule", htmlFor: "set-variant" }),
    Object.assign(document.createElement("select"), { id: "set-variant" }),
  );
  field.lastChild.addEventListener("change", (event) => set("variant", +event.target.value));
  element("fields").append(field);
  element("field-recorded").hidden = false;
  for (const id of ["start", "goal"]) element(id).readOnly = true;
  element("plan").textContent = "Show again";
  for (const id of ["tools", "clear", "defaults", "hint", "wishes"]) element(id).hidden = true;
  element("tools").closest(".toolbar").hidden = true;
  const notice = element("notice");
  notice.hidden = false;
  notice.append("These plans were recorded. For starts, goals, via-points, zones and settings of your own, run ");
  notice.append(Object.assign(document.createElement("code"), { textContent: "dfplan view" }), ".");
}

async function begin() {
  readTheme();
  darkness.addEventListener("change", () => {
    readTheme();
    draw();
  });
  if (recorded) {
    recordings = await unpacked(recorded.gzip);
    mazes = recordings.planners;
  } else {
    const response = await fetch("mazes.json");
    mazes = (await response.json()).planners;
  }
  fillControls();
  state.panels = [newPanel({ ...DEFAULTS })];
  element("stages").append(state.panels[0].node);
  listenToControls();
  listenToKeys();
  maze = mazes[0];
  showSettings();
  if (!recorded) chooseTool("move");
  chooseMaze(maze.name);
}

begin().catch((failure) => {
  element("notice").hidden = false;
  element("notice").textContent = `The page could not start: ${failure.message}`;
  throw failure;
});
