// Formats numbers for people.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Return a number of bytes as text: 52428800 is "52.4 MB". */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Return bytes per second as text. */
export function rate(bytesPerSecond) {
  return `${bytes(bytesPerSecond)}/s`;
}

/** Return the remaining seconds of a transfer as text. */
export function seconds(value) {
  if (!Number.isFinite(value)) return "";
  if (value < 60) return `${Math.max(1, Math.round(value))} s`;
  const minutes = Math.round(value / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Return the milliseconds of a round trip as text. */
export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
