// Requests of the page to its server. Each has a bound: a server that is silent counts as one that is away.

const ANSWER_TIMEOUT = 10_000; // milliseconds in which the whole answer arrives
const LOAD_TIMEOUT = 20_000; // milliseconds in which modules of the page arrive

/** Return what a promise gives; throw if it gives nothing in this time. */
export function within(milliseconds, promise) {
  let timer = 0;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came within ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Request JSON from the server. If the server refuses, the error has a `sentence` for the person. */
export async function request(path, { headers = {}, ...init } = {}) {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT);
  const response = await fetch(path, { ...init, headers: { ...headers, "X-Datachan": "page" }, signal });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  const text = body.error?.message ?? `The server answered with status ${response.status}.`;
  throw Object.assign(new Error(text), { sentence: text });
}

/** Fetch the configuration, which has a fresh token for the WebSocket of a room. */
export function fetchConfiguration() {
  return request("config.json");
}

/** Load modules of the page, and return all that they export. */
export async function load(paths) {
  try {
    return Object.assign({}, ...await within(LOAD_TIMEOUT, Promise.all(paths.map((path) => import(path)))));
  } catch {
    throw new Error("A part of this page did not arrive from the server. Try again, or reload the page.");
  }
}
