// Colors of the web app, for light and dark mode.

// Matplotlib's plasma (noise level) and viridis (spread), in eighths.
const PLASMA = [
  "#0d0887", "#4c02a1", "#7e03a8", "#aa2395", "#cc4778", "#e66c5c", "#f89540", "#fdc527", "#f0f921",
];
const VIRIDIS = [
  "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
];
const SPRITES = 16; // noise levels that have a picture of a token, besides 0
const SPRITE_SIZE = 64; // pixels

export const darkMode = matchMedia("(prefers-color-scheme: dark)");
export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Colors by name; `level` and `spread` map shares from 0 to 1 to colors. */
export const theme = {};

/** Read the colors from the style sheet, for the current mode. */
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["floor", "wall", "line", "ink", "muted", "goal"]) {
    theme[name] = style.getPropertyValue(`--${name}`).trim();
  }
  // Clean tokens contrast with the floor: dark in light mode, light in dark mode.
  const colorAt = (map, share) => mixColors(map, darkMode.matches ? 1 - 0.82 * share : 0.9 * share);
  theme.level = (share) => colorAt(PLASMA, share);
  theme.spread = (share) => colorAt(VIRIDIS, share);
  theme.sprites = Array.from({ length: SPRITES + 1 }, (_, index) =>
    tokenSprite(theme.level(index / SPRITES), index / SPRITES),
  );
}

/** Picture of a token at a noise level, given as a share of pure noise. */
export function spriteAt(noise) {
  return theme.sprites[Math.round(noise * SPRITES)];
}

function mixColors(map, share) {
  const at = Math.min(Math.max(share, 0), 1) * (map.length - 1);
  const index = Math.min(Math.floor(at), map.length - 2);
  const channel = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
  const values = [0, 1, 2].map((k) => {
    const [low, high] = [channel(map[index], k), channel(map[index + 1], k)];
    return Math.round(low + (high - low) * (at - index));
  });
  return `rgb(${values.join(" ")})`;
}

/** Draw a token: a sharp disc if it is clean, softer with more noise. */
function tokenSprite(color, noise) {
  const picture = document.createElement("canvas");
  picture.width = picture.height = SPRITE_SIZE;
  const context = picture.getContext("2d");
  const middle = SPRITE_SIZE / 2;
  const gradient = context.createRadialGradient(middle, middle, 0, middle, middle, middle);
  gradient.addColorStop(0, color);
  gradient.addColorStop(Math.max(0.02, 0.9 * (1 - noise) ** 2), color);
  if (noise > 0.2) gradient.addColorStop(0.6, color.replace(")", ` / ${0.28 * noise + 0.1})`));
  gradient.addColorStop(1, color.replace(")", " / 0)"));
  context.fillStyle = gradient;
  context.fillRect(0, 0, SPRITE_SIZE, SPRITE_SIZE);
  return picture;
}
