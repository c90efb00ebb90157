// Patterns on one channel each, with the messages of datachan.patterns in Python (docs/patterns.md).
// A channel is one of connect(), or an RTCDataChannel.

export { LatestValues } from "./datachan.js";

const MAX_DEADLINE = 60_000; // milliseconds
const SAMPLES = 8;

function parsed(data) {
  if (typeof data !== "string") return {};
  try {
    return JSON.parse(data) ?? {};
  } catch {
    return {};
  }
}

/** Requests and responses. `request` rejects with an Error whose name is RequestTimeout or RequestError. */
export class RequestChannel {
  #waiting = new Map();
  #next = 1;
  #running = 0;

  constructor(channel, handler = null, { maxPending = 64 } = {}) {
    this.channel = channel;
    this.handler = handler;
    this.maxPending = maxPending;
    channel.addEventListener("message", ({ data }) => this.#receive(parsed(data)));
    channel.addEventListener("close", () => {
      for (const settle of this.#waiting.values()) settle(failure("RequestError", "the channel closed"));
    });
  }

  request(body = null, { timeout = 1000 } = {}) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.channel.send(JSON.stringify({ request: id, deadline: Math.min(timeout, MAX_DEADLINE), body }));
      const settle = (error, response) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        if (error === null) resolve(response);
        else reject(error);
      };
      const timer = setTimeout(() => settle(failure("RequestTimeout", `no response within ${timeout} ms`)), timeout);
      this.#waiting.set(id, settle);
    });
  }

  #receive(message) {
    if ("response" in message) {
      const settle = this.#waiting.get(message.response);
      if (settle === undefined) return; // it comes after the deadline
      if ("error" in message) settle(failure("RequestError", String(message.error)));
      else settle(null, message.body);
    } else if ("request" in message) {
      this.#answer(message);
    }
  }

  async #answer({ request, deadline = MAX_DEADLINE, body }) {
    const end = performance.now() + deadline;
    if (this.handler === null || this.#running >= this.maxPending) {
      this.#send({ response: request, error: this.handler === null ? "requests are not answered here" : "too many requests at once" });
      return;
    }
    this.#running += 1;
    try {
      const response = { response: request, body: (await this.handler(body)) ?? null };
      if (performance.now() <= end) this.#send(response);
    } catch (error) {
      this.#send({ response: request, error: error.name === "RequestError" ? error.message : "the request failed" });
    } finally {
      this.#running -= 1;
    }
  }

  #send(message) {
    if (this.channel.readyState === "open") this.channel.send(JSON.stringify(message));
  }
}

function failure(name, message) {
  return Object.assign(new Error(message), { name });
}

/** The peer's clock: `offset` is its clock minus ours and `rtt` the round trip, in milliseconds. */
export class Clock {
  #samples = [];
  #asked = new Map();

  constructor(channel, { now = () => performance.timeOrigin + performance.now() } = {}) {
    this.channel = channel;
    this.now = now;
    this.rtt = null;
    this.offset = null;
    channel.addEventListener("message", ({ data }) => this.#receive(parsed(data)));
  }

  peerTime() {
    if (this.offset === null) throw new Error("the peer's clock is not known: call measure() first");
    return this.now() + this.offset;
  }

  /** Take one sample; resolves to whether the peer answered in time. */
  measure({ timeout = 1000 } = {}) {
    const asked = Math.round(1000 * this.now()) / 1000;
    this.channel.send(JSON.stringify({ clock: asked }));
    return new Promise((resolve) => {
      const timer = setTimeout(() => { this.#asked.delete(asked); resolve(false); }, timeout);
      this.#asked.set(asked, () => { clearTimeout(timer); this.#asked.delete(asked); resolve(true); });
    });
  }

  #receive({ clock, received, sent }) {
    const now = this.now();
    if (!Number.isFinite(clock)) return;
    if (sent === undefined) {
      const { channel } = this;
      if (channel.readyState !== "open" || channel.bufferedAmount > 4096) return; // a late answer would measure the queue
      channel.send(JSON.stringify({ clock, received: now, sent: this.now() }));
    } else if (this.#asked.has(clock) && Number.isFinite(received) && Number.isFinite(sent)) {
      this.#samples.push({ rtt: Math.max(now - clock - (sent - received), 0), offset: (received - clock + sent - now) / 2 });
      if (this.#samples.length > SAMPLES) this.#samples.shift();
      const best = this.#samples.reduce((least, one) => (one.rtt < least.rtt ? one : least));
      this.rtt = best.rtt;
      this.offset = best.offset;
      this.#asked.get(clock)();
    }
  }
}

/** Beats with a watchdog. Events: silence, return. The peer counts as silent until its first beat. */
export class Heartbeat extends EventTarget {
  #heard = 0;
  #sender;
  #watchdog = 0;

  constructor(channel, { interval = 100, timeout = 300 } = {}) {
    super();
    this.alive = false;
    this.#sender = setInterval(() => {
      if (channel.readyState === "open" && channel.bufferedAmount <= 256) channel.send("beat");
    }, interval);
    const watch = () => {
      const left = this.#heard + timeout - performance.now();
      if (left > 0) this.#watchdog = setTimeout(watch, left);
      else this.#fallSilent();
    };
    channel.addEventListener("message", () => {
      this.#heard = performance.now();
      if (this.alive) return;
      this.alive = true;
      this.#watchdog = setTimeout(watch, timeout);
      this.dispatchEvent(new Event("return"));
    });
    channel.addEventListener("close", () => this.#fallSilent());
  }

  stop() {
    clearInterval(this.#sender);
    this.#fallSilent();
  }

  #fallSilent() {
    clearTimeout(this.#watchdog);
    if (!this.alive) return;
    this.alive = false;
    this.dispatchEvent(new Event("silence"));
  }
}

/** One message to many channels; one that is too slow misses messages instead of making memory grow. */
export class Broadcast {
  #channels = new Set();
  #maxBuffered;

  constructor({ maxBuffered = 65_536 } = {}) {
    this.#maxBuffered = maxBuffered;
    this.dropped = 0;
  }

  get size() {
    return this.#channels.size;
  }

  add(channel) {
    this.#channels.add(channel);
    channel.addEventListener("close", () => this.#channels.delete(channel), { once: true });
  }

  send(message) {
    let sent = 0;
    for (const channel of this.#channels) {
      if (channel.readyState !== "open") continue;
      if (channel.bufferedAmount > this.#maxBuffered) {
        this.dropped += 1;
        continue;
      }
      channel.send(message);
      sent += 1;
    }
    return sent;
  }
}
