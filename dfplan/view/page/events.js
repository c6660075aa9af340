// Events of a plan: from the server, or from the recordings of an exported file.

import { plannerNamed, state } from "./state.js";
import { reducedMotion } from "./theme.js";

const REPLAY_INTERVAL = 40; // milliseconds between two recorded rows

/** Events from the server, while it plans. */
export async function* liveEvents(request, signal) {
  const response = await fetch("plan", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    const message = answer.error ?? `The server answered with status ${response.status}.`;
    yield { kind: "error", field: answer.field ?? "", message };
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, complete] = ["", false];
  for (;;) {
    const { value, done } = await reader.read();
    if (done && !complete) throw new Error("the answer is incomplete");
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      complete ||= event.kind === "plan" || event.kind === "error";
      yield event;
    }
  }
}

/** Recorded events of the same query and settings. */
export async function* recordedEvents(request, signal) {
  const planner = plannerNamed(request.planner);
  const query = state.recordings[request.planner][request.query];
  for (const event of query.runs[request.variant].events) {
    if (event.kind === "episode" && !request.execute) return;
    if (event.kind === "row" && !reducedMotion.matches) {
      await new Promise((resolve) => setTimeout(resolve, REPLAY_INTERVAL));
    }
    if (signal.aborted) return;
    yield { ...event, ...decodeLines(event, planner) };
  }
}

/** Decode lines of a recording: integers, the first point and then the steps between points. */
function decodeLines(event, planner) {
  const unit = planner.cell_size / state.recordings.units_per_cell;
  const decode = (steps) => {
    const at = [0, 0];
    return steps.map(([a, b]) => {
      at[0] += a;
      at[1] += b;
      return [planner.first_cell[0] + at[0] * unit, planner.first_cell[1] + at[1] * unit];
    });
  };
  if (event.kind === "row") return { points: event.points.map(decode) };
  if (event.kind === "plan") {
    return { points: decode(event.points), other_routes: event.other_routes.map(decode) };
  }
  if (event.kind === "episode") return { positions: decode(event.positions) };
  return {};
}

/** Decode JSON that is compressed with gzip and encoded as base64. */
export async function unpackJson(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}
