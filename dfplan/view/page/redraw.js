// Schedules drawing: many changes between two frames of the screen are drawn once.

let scheduled = 0;
let drawEverything = () => {};

/** Set the function that draws everything. */
export function setRedraw(draw) {
  drawEverything = draw;
}

/** Draw everything at the next frame of the screen. */
export function redraw() {
  scheduled ||= requestAnimationFrame(() => {
    scheduled = 0;
    drawEverything();
  });
}
