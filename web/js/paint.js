// Runs drawing functions once per frame, however often they are requested.

const HIDDEN_INTERVAL = 250; // milliseconds; a page in the background gets no frames

const pending = new Set();
let frame = 0;
let timer = 0;

/** Call `draw` with the next frame. A function that is requested again before that is called once. */
export function paint(draw) {
  pending.add(draw);
  if (pending.size > 1) return;
  frame = requestAnimationFrame(run);
  timer = setTimeout(run, HIDDEN_INTERVAL);
}

function run() {
  cancelAnimationFrame(frame);
  clearTimeout(timer);
  const draws = [...pending];
  pending.clear();
  for (const draw of draws) draw();
}
