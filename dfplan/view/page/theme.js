// Colors of the web app, for light and dark mode. They are those of dfplan.plotting.

export const darkMode = matchMedia("(prefers-color-scheme: dark)");
export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Colors by name; `uncertainty` is the scale from certain to uncertain. */
export const theme = {};

/** Read the colors from the style sheet, for the current mode. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  for (const name of ["floor", "wall", "line", "ink", "muted", "goal", "warning"]) {
    theme[name] = read(name);
  }
  theme.uncertainty = read("uncertainty").split(/\s+/).map(channelsOf);
}

/** The color of an uncertainty from 0 to 1. */
export const uncertaintyColor = (value) => cssColor(uncertaintyChannels(value));

/** The color of an uncertainty, blended with the floor; `share` is the share of the color. */
export function paleColor(value, share) {
  return cssColor(mix(channelsOf(theme.floor), uncertaintyChannels(value), share));
}

function uncertaintyChannels(value) {
  const colors = theme.uncertainty;
  const at = Math.min(Math.max(value, 0), 1) * (colors.length - 1);
  const index = Math.min(Math.floor(at), colors.length - 2);
  return mix(colors[index], colors[index + 1], at - index);
}

const channelsOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mix = (low, high, share) => low.map((value, k) => value + (high[k] - value) * share);
const cssColor = (channels) => `rgb(${channels.map(Math.round).join(" ")})`;
