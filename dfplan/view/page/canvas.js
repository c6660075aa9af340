// Drawing on canvases.

/** Clear a canvas, at the resolution of the screen. The context's units are CSS pixels. */
export function prepareCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height, ratio };
}

/** Draw a line through points. */
export function drawLine(context, points, cap = "round") {
  context.beginPath();
  points.forEach((point, index) => (index ? context.lineTo(...point) : context.moveTo(...point)));
  context.lineJoin = "round";
  context.lineCap = cap;
  context.stroke();
}

/** Draw a disc, with an edge if it has a width. */
export function drawDisc(context, [x, y], radius, color, edge = "", edgeWidth = 0) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = color;
  context.fill();
  if (!edgeWidth) return;
  context.lineWidth = edgeWidth;
  context.strokeStyle = edge;
  context.stroke();
}
