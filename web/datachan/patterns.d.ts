import type { Channel } from "./datachan.js";

export { LatestValues } from "./datachan.js";

type AnyChannel = Channel | RTCDataChannel;

/** Requests and responses. Rejections are Errors named RequestTimeout or RequestError. */
export class RequestChannel {
  constructor(channel: AnyChannel, handler?: ((body: unknown) => unknown) | null, options?: { maxPending?: number });
  /** Send a request; `timeout` is in milliseconds. */
  request(body?: unknown, options?: { timeout?: number }): Promise<unknown>;
}

/** The peer's clock; times are milliseconds. */
export class Clock {
  constructor(channel: AnyChannel, options?: { now?: () => number });
  readonly rtt: number | null;
  /** The peer's clock minus ours. */
  readonly offset: number | null;
  peerTime(): number;
  measure(options?: { timeout?: number }): Promise<boolean>;
}

/** Beats with a watchdog; times are milliseconds. Events: silence, return. */
export class Heartbeat extends EventTarget {
  constructor(channel: AnyChannel, options?: { interval?: number; timeout?: number });
  readonly alive: boolean;
  stop(): void;
}

/** One message to many channels. */
export class Broadcast {
  constructor(options?: { maxBuffered?: number });
  readonly size: number;
  readonly dropped: number;
  add(channel: AnyChannel): void;
  send(message: string | ArrayBuffer | ArrayBufferView): number;
}
