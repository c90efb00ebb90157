// One peer connection to one member of a room, with the channel of a transfer. Knows no message of the transfer.
// When its path is lost, the receiver restarts ICE over the room: the channel and everything on its way stay.

import { Negotiation } from "../negotiation.js";
import { selectedPath } from "../selected-path.js";
import { CHANNEL_LABEL, CHANNEL_PROTOCOL } from "./messages.js";

const CONNECT_TIMEOUT = 60_000; // milliseconds
const DISCONNECTED = 12_000; // after which a connection without a path counts as lost
const PATH_INTERVAL = 1_000; // milliseconds between two looks at the path

/**
 * Events: "open", "path" (packets travel in another way now: `path`), "closed" (detail: whether it was ever open).
 * `receive` is called with the data of each message. After "closed" nothing follows.
 */
export class Connection extends EventTarget {
  #pc;
  #negotiation;
  #restarts; // whether this side restarts ICE
  #timer = 0;
  #watching = 0; // timer
  #closed = false;
  #opened = false;
  receive = () => null;
  path = ""; // "direct", "relayed", or "" if the browser does not say

  /**
   * @param signal sends a message to the member: offer, answer, candidate or bye
   * @param restarts whether this side offers new ICE credentials when the path is lost; only one side may
   */
  constructor(iceServers, signal, { restarts = false } = {}) {
    super();
    this.#restarts = restarts;
    const pc = new RTCPeerConnection({ iceServers });
    this.#pc = pc;
    this.#negotiation = new Negotiation(pc, signal, () => this.close());
    this.channel = pc.createDataChannel(CHANNEL_LABEL, { protocol: CHANNEL_PROTOCOL, negotiated: true, id: 0, ordered: true });
    this.channel.binaryType = "arraybuffer";
    this.channel.addEventListener("open", () => {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#opened = true;
      this.#watching = setInterval(() => this.#readPath(), PATH_INTERVAL);
      this.#readPath();
      this.dispatchEvent(new Event("open"));
    });
    this.channel.addEventListener("message", ({ data }) => {
      if (!this.#closed) this.receive(data);
    });
    this.channel.addEventListener("close", () => this.close());
    pc.addEventListener("connectionstatechange", () => this.#stateChanged());
    this.#timer = setTimeout(() => this.close(), CONNECT_TIMEOUT);
  }

  call() {
    return this.#negotiation.offer();
  }

  answer(sdp) {
    return this.#negotiation.answer(sdp);
  }

  /** Process an answer, a candidate, a bye, or an offer that restarts ICE. */
  async handle(message) {
    try {
      if (message.type === "bye") this.close();
      else if (message.type !== "offer") await this.#negotiation.handle(message);
      else if (this.#opened) await this.#negotiation.answerRestart(message.sdp);
    } catch {
      this.close();
    }
  }

  /** Offer new ICE credentials, until there is a path. */
  restart() {
    return this.#negotiation.restart();
  }

  #stateChanged() {
    const state = this.#pc.connectionState;
    if (!this.#opened) {
      if (state === "failed") this.close();
      return;
    }
    if (state === "closed") {
      this.close();
    } else if (state === "connected") {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#readPath();
    } else if (state !== "connecting" && this.#timer === 0) {
      this.#timer = setTimeout(() => this.close(), DISCONNECTED);
      if (this.#restarts) this.restart();
    }
  }

  /** Offer new ICE credentials again, now that this page is in the room again. */
  roomIsBack() {
    if (this.#opened && this.#timer !== 0 && this.#restarts) this.restart();
  }

  get closed() {
    return this.#closed;
  }

  get localSdp() {
    return this.#pc.localDescription.sdp;
  }

  get remoteSdp() {
    return this.#pc.remoteDescription.sdp;
  }

  get maxMessageSize() {
    return this.#pc.sctp?.maxMessageSize ?? 65_536;
  }

  async #readPath() {
    const report = await this.#pc.getStats().catch(() => null);
    const path = report === null ? "" : selectedPath(report);
    if (this.#closed || path === "" || path === this.path) return;
    this.path = path;
    this.dispatchEvent(new Event("path"));
  }

  send(data) {
    if (this.channel.readyState === "open") this.channel.send(data);
  }

  /** Close once what was sent has left, at the latest after two seconds. */
  async closeGently() {
    const end = performance.now() + 2000;
    while (!this.#closed && this.channel.readyState === "open" && this.channel.bufferedAmount > 0 && performance.now() < end) {
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    if (!this.#closed) this.channel.close();
    setTimeout(() => this.close(), 500);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#negotiation.close();
    clearInterval(this.#watching);
    this.#pc.close();
    this.dispatchEvent(new CustomEvent("closed", { detail: this.#opened }));
  }
}
