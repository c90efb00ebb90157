// The WebSocket to a room: joins, reconnects after a break, and dispatches the server's messages.
// docs/signaling.md describes the messages.

import { randomHex } from "./transfer/bytes.js";

const VERSION = 1;
const FIRST_RETRY = 500; // milliseconds
const LAST_RETRY = 10_000;
const WELCOME_TIMEOUT = 15_000; // milliseconds in which the server lets this page in
const MAX_UNCONFIRMED = 256; // messages that the server may not have received when the connection breaks
const TRANSIENT = ["broker-unavailable", "busy"]; // refusals that are over soon

/**
 * A member of a room. When the connection breaks, it returns to its place within two minutes, also over another node of
 * the same service: the others do not see it leave, what it missed follows the welcome, and what it sent meanwhile is
 * delivered. The welcome is `seamless` then.
 * Events: "welcome", "peer-joined", "peer-left", "signal" (offer, answer, candidate, bye), "refused" (the server refused
 * to let this page join), "down" (the connection broke; another attempt follows), "fault" (the server refused a message).
 * `detail` is the server's message.
 */
export class RoomSocket extends EventTarget {
  #socket = null;
  #retry = FIRST_RETRY;
  #timer = 0;
  #left = false;
  #joined = false;
  #token = null; // proves to the server that this is the same member
  #seq = 0; // the number of the last message that was received
  #number = 0; // the number of the last message that was sent
  #unconfirmed = [];
  #hide = () => this.leave();
  isDown = false; // the server does not answer; another attempt follows

  /** @param configure fetches the server's configuration: the path of the rooms, and a token for each connection */
  constructor(configure, room, name) {
    super();
    this.configure = configure;
    this.secret = randomHex(18); // by which the server gives this page the same id when it joins again
    this.room = room;
    this.name = name;
    this.id = "";
    // Without this, the others would keep the place of a page that is closed.
    addEventListener("pagehide", this.#hide);
    this.#connect();
  }

  send(message) {
    const open = this.#joined && this.#socket?.readyState === WebSocket.OPEN;
    if (this.#token === null || this.#left) {
      if (open) this.#socket.send(JSON.stringify(message));
      return;
    }
    if (this.#unconfirmed.length >= MAX_UNCONFIRMED) {
      if (!open) return;
      this.#unconfirmed.shift();
    }
    this.#number += 1;
    const text = JSON.stringify({ ...message, seq: this.#number });
    this.#unconfirmed.push({ number: this.#number, text });
    if (open) this.#socket.send(text);
  }

  leave() {
    this.#left = true;
    removeEventListener("pagehide", this.#hide);
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  async #connect() {
    this.#joined = false;
    let config;
    try {
      config = await this.configure();
    } catch {
      this.#lost();
      return;
    }
    if (this.#left) return;
    const url = new URL(config.rooms + encodeURIComponent(this.room), location.href.split("#")[0]);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("token", config.token);
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(), WELCOME_TIMEOUT);
    socket.addEventListener("open", () => {
      const back = this.#token === null ? { resume: true } : { resume: this.#token, seq: this.#seq };
      socket.send(JSON.stringify({ type: "join", version: VERSION, name: this.name, secret: this.secret, ...back }));
    });
    socket.addEventListener("message", (event) => { if (socket === this.#socket) this.#receive(event.data); });
    socket.addEventListener("close", () => { if (socket === this.#socket) this.#lost(); });
  }

  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.type === "welcome") {
      clearTimeout(this.#timer);
      this.#joined = true;
      this.isDown = false;
      this.#retry = FIRST_RETRY;
      this.id = message.id;
      this.#follow(message);
      this.#dispatch("welcome", { ...message, seamless: message.resumed === true && message.missed !== true });
      return;
    }
    if (Number.isSafeInteger(message.seq)) this.#seq = message.seq;
    if (message.type === "error" && !this.#joined && TRANSIENT.includes(message.code)) return; // it closes, we retry
    if (message.type === "error" && !this.#joined) {
      this.#left = true;
      removeEventListener("pagehide", this.#hide);
      this.#dispatch("refused", message);
    } else if (message.type === "error") {
      this.#dispatch("fault", message);
    } else if (["peer-joined", "peer-left"].includes(message.type)) {
      this.#dispatch(message.type, message);
    } else if (["offer", "answer", "candidate", "bye"].includes(message.type)) {
      this.#dispatch("signal", message);
    }
  }

  /** Keep the token of a welcome, and repeat what the server has not received. */
  #follow({ resume, seq, resumed, received }) {
    this.#token = typeof resume === "string" ? resume : null;
    if (resumed === true) {
      this.#unconfirmed = this.#unconfirmed.filter(({ number }) => number > received);
      for (const { text } of this.#unconfirmed) this.#socket.send(text);
    } else {
      this.#unconfirmed = [];
      if (Number.isSafeInteger(seq)) this.#seq = seq;
    }
  }

  #lost() {
    if (this.#left) return;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null; // what still comes from it is of no interest
    socket?.close();
    this.#joined = false;
    this.isDown = true;
    this.#dispatch("down", { seconds: this.#retry / 1000 });
    // The random part spreads the pages of a server that has ended.
    this.#timer = setTimeout(() => this.#connect(), this.#retry * (0.5 + Math.random() / 2));
    this.#retry = Math.min(LAST_RETRY, this.#retry * 2);
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
