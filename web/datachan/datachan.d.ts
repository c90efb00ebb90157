/** How one channel is created: the members of RTCDataChannelInit that are not negotiated, and latest values. */
export interface ChannelOptions {
  ordered?: boolean;
  maxRetransmits?: number;
  maxPacketLifeTime?: number;
  protocol?: string;
  priority?: RTCPriorityType;
  /** Give the channel `set`: of each key, only the newest value is kept until the network takes it. */
  latest?: boolean;
  /** With `latest`: milliseconds after which a value that could not be sent is forgotten. */
  maxAge?: number;
}

export interface ConnectOptions<Labels extends string = string> {
  /** The channels, by label; at least one. They stay the same objects when the connection is made again. */
  channels: Record<Labels, ChannelOptions>;
  /** The token for `Authorization: Bearer`, or a function that returns a fresh one for each request, within 20 seconds. */
  token?: string | (() => string | Promise<string>) | null;
  /** STUN and TURN servers besides those that the server names, or a function that returns them for each attempt, within 20 seconds. */
  iceServers?: RTCIceServer[] | (() => RTCIceServer[] | Promise<RTCIceServer[]>);
  /** Milliseconds before the second attempt; each later pause is twice as long. A random part is taken off. */
  firstRetry?: number;
  /** The longest pause between two attempts, in milliseconds. */
  lastRetry?: number;
}

export type ConnectionState = "connecting" | "connected" | "interrupted" | "waiting" | "closed";

export interface Channel extends EventTarget {
  readonly label: string;
  readonly readyState: RTCDataChannelState;
  readonly bufferedAmount: number;
  bufferedAmountLowThreshold: number;
  /** Send a message. Throws InvalidStateError while the channel is not open. */
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): void;
  /** Send the newest value of a key, now or as soon as the network takes it. Needs `latest: true`. */
  set(value: string | ArrayBuffer | ArrayBufferView, key?: string): void;
  addEventListener(type: "message", listener: (event: MessageEvent<string | ArrayBuffer>) => void, options?: AddEventListenerOptions): void;
  addEventListener(type: "open" | "close" | "bufferedamountlow", listener: (event: Event) => void, options?: AddEventListenerOptions): void;
}

export interface Connection<Labels extends string = string> extends EventTarget {
  readonly state: ConnectionState;
  /** Why the connection is in this state, as a sentence. */
  readonly reason: string;
  readonly channels: Record<Labels, Channel>;
  /** The RTCPeerConnection in use; null between two attempts. */
  readonly peerConnection: RTCPeerConnection | null;
  /** Wait until the connection is up; throws if it is closed before. */
  opened(): Promise<this>;
  /** Look for another path to the server. Changes of the network do this, too. */
  restartIce(): Promise<void>;
  close(): void;
  addEventListener(type: "state", listener: (event: Event) => void, options?: AddEventListenerOptions): void;
  /** A channel that the server opened. */
  addEventListener(type: "channel", listener: (event: CustomEvent<RTCDataChannel>) => void, options?: AddEventListenerOptions): void;
}

/** Connect to the endpoint of a datachan server. The connection is made, and made again, in the background. */
export function connect<Labels extends string>(url: string | URL, options: ConnectOptions<Labels>): Connection<Labels>;

/** The newest value of each key of any channel. */
export class LatestValues {
  constructor(channel: Channel | RTCDataChannel, options?: { maxAge?: number; threshold?: number });
  readonly replaced: number;
  readonly expired: number;
  set(value: string | ArrayBuffer | ArrayBufferView, key?: string): void;
}
