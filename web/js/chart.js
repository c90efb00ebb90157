// Draws the last samples as a line on a canvas, in the colors of the theme. The canvas' label describes it in words.

/** Return the smallest of 1, 2, 5, 10, 20, … that is at least `value`. */
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value * 0.999) ?? value;
}

/**
 * Draw the samples.
 * @param canvas the canvas
 * @param samples numbers, oldest first; null where there is no sample
 * @param count number of samples that fill the width
 * @param format returns a number as text
 * @param variable CSS variable of the color
 * @param floor smallest top of the scale
 */
export function drawChart(canvas, samples, { count, format, variable, floor }) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (width === 0 || height === 0) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);

  const known = samples.filter((sample) => sample !== null);
  const top = niceCeiling(Math.max(floor, ...known));
  const left = 10;
  const right = width - 10;
  const upper = 22;
  const lower = height - 10;

  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 1;
  for (const part of [0, 0.5, 1]) {
    const y = Math.round(lower - part * (lower - upper)) + 0.5;
    context.beginPath();
    context.moveTo(left, y);
    context.lineTo(right, y);
    context.stroke();
  }
  context.fillStyle = style.getPropertyValue("--soft");
  context.font = `12px ${style.fontFamily}`;
  context.fillText(format(top), left, 15);

  const place = (index) => right - ((samples.length - 1 - index) / (count - 1)) * (right - left);
  const level = (sample) => lower - (Math.min(sample, top) / top) * (lower - upper);
  const color = style.getPropertyValue(variable);
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  samples.forEach((sample, index) => {
    if (sample === null) {
      drawing = false;
    } else if (drawing) {
      context.lineTo(place(index), level(sample));
    } else {
      context.moveTo(place(index), level(sample));
      drawing = true;
    }
  });
  context.stroke();
  const last = samples.at(-1);
  if (last !== undefined && last !== null) {
    context.fillStyle = color;
    context.beginPath();
    context.arc(right, level(last), 3, 0, 2 * Math.PI);
    context.fill();
  }
}
