// Draws the legend: the color scale of uncertainty, and the marks that are shown.

import { prepareCanvas } from "./canvas.js";
import {
  drawCandidate,
  drawExecuted,
  drawOtherRoute,
  drawRegions,
  drawTokens,
  drawTooFast,
  drawTube,
} from "./marks.js";
import { showsPlan, shownRow } from "./playback.js";
import { levelsUntilArrival, shownCandidate, showsSpread, spreadScale } from "./results.js";
import { element, state } from "./state.js";
import { uncertaintyColor } from "./theme.js";

const SIZE = 8; // of a token, in pixels
const LINE = [[2, 9], [34, 9]]; // in the picture of a mark

/** Marks: when they are shown, what they mean, and how they are drawn. */
const MARKS = [
  {
    name: "region",
    shown: ({ noisy, regions }) => noisy && regions,
    text: () => "holds the final place with 50 and 90%",
    draw: (context) => drawRegions(context, [[18, 9]], [[5, 9]], [0.6]),
  },
  {
    name: "ring",
    shown: ({ pure }) => pure,
    text: () => "pure noise: place unknown",
    draw: (context) => drawTokens(context, [[6, 9], [30, 9]], [1, 1], SIZE, { unknown: () => true }),
  },
  {
    name: "tube",
    shown: ({ spread }) => spread,
    text: () => "how far a point moves if the plan is made again",
    draw: (context) => drawTube(context, LINE, [4, 8], [0.1, 0.9]),
  },
  {
    name: "route",
    shown: ({ finished, result }) => finished && result.plan.other_routes.length,
    text: ({ plan }) => `another route, ${plan.other_routes.length} of ${plan.replans} plans made again`,
    draw: (context) => drawOtherRoute(context, LINE, SIZE),
  },
  {
    name: "fast",
    shown: ({ finished, result }) => finished && result.plan.too_fast.length,
    text: () => "faster than the body",
    draw: (context) => drawTooFast(context, LINE, SIZE),
  },
  {
    name: "candidate",
    shown: ({ result }) => result.ends.length > 1,
    text: () => "other candidates",
    draw: (context) => drawCandidate(context, LINE, SIZE),
  },
  {
    name: "path",
    shown: ({ result }) => result.positions.length,
    text: () => "executed path",
    draw: (context) => drawExecuted(context, LINE, SIZE),
  },
];

/** Add the marks to the legend. */
export function addLegend() {
  for (const { name } of MARKS) {
    const item = document.createElement("li");
    item.dataset.mark = name;
    item.append(document.createElement("canvas"), document.createElement("span"));
    element("legend-marks").append(item);
  }
}

/** Draw the legend of a result at a time (see shownTime); without a result, the scale alone. */
export function drawLegend(result, time) {
  const what = result ? shownOf(result, time) : null;
  drawLevelBar(Boolean(what?.spread));
  for (const { name, shown, text, draw } of MARKS) {
    const item = element("legend-marks").querySelector(`[data-mark=${name}]`);
    item.hidden = !(what && shown(what));
    if (item.hidden) continue;
    draw(prepareCanvas(item.firstChild).context);
    const words = text(result);
    if (item.lastChild.textContent !== words) item.lastChild.textContent = words;
  }
}

function shownOf(result, time) {
  const candidate = shownCandidate(result);
  const row = shownRow(result, time);
  const levels = levelsUntilArrival(result, candidate, row.level[candidate]);
  return {
    result,
    finished: showsPlan(result, time),
    spread: showsSpread(result, time),
    noisy: levels.some((level) => level > 0),
    pure: levels.includes(state.maze.max_level),
    regions: Boolean(row.regions),
  };
}

/** The color scale of plan spread, or of noise levels. */
function drawLevelBar(spread) {
  const { context, width, height } = prepareCanvas(element("legend-bar"));
  for (let x = 0; x < width; x += 1) {
    context.fillStyle = uncertaintyColor(x / (width - 1));
    context.fillRect(x, 0, 1.5, height);
  }
  const texts = spread
    ? ["Plan spread", "0", `${spreadScale()} units or more`]
    : ["Noise level", "clean", "pure noise"];
  ["legend-name", "legend-low", "legend-high"].forEach((id, index) => {
    element(id).textContent = texts[index];
  });
}
