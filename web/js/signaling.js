// The WebSocket to a room: joins, reconnects after a break, and dispatches the server's messages.
// docs/signaling.md describes the messages.

const VERSION = 1;
const FIRST_RETRY = 500; // milliseconds
const LAST_RETRY = 10_000;

/**
 * A member of a room.
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

  /** @param configure fetches the server's configuration: the path of the rooms, and a token for each connection */
  constructor(configure, room, name) {
    super();
    this.configure = configure;
    this.secret = randomSecret();
    this.room = room;
    this.name = name;
    this.id = "";
    this.#connect();
  }

  send(message) {
    if (this.#joined && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  leave() {
    this.#left = true;
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
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ type: "join", version: VERSION, name: this.name, secret: this.secret }));
    });
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", () => this.#lost());
  }

  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.type === "welcome") {
      this.#joined = true;
      this.#retry = FIRST_RETRY;
      this.id = message.id;
      this.#dispatch("welcome", message);
    } else if (message.type === "error" && !this.#joined) {
      this.#left = true;
      this.#dispatch("refused", message);
    } else if (message.type === "error") {
      this.#dispatch("fault", message);
    } else if (["peer-joined", "peer-left"].includes(message.type)) {
      this.#dispatch(message.type, message);
    } else if (["offer", "answer", "candidate", "bye"].includes(message.type)) {
      this.#dispatch("signal", message);
    }
  }

  #lost() {
    if (this.#left) return;
    this.#joined = false;
    this.#dispatch("down", { seconds: this.#retry / 1000 });
    this.#timer = setTimeout(() => this.#connect(), this.#retry);
    this.#retry = Math.min(LAST_RETRY, this.#retry * 2);
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Return a secret by which the server gives this page the same id when it joins again. */
function randomSecret() {
  return Array.from(crypto.getRandomValues(new Uint8Array(18)), (value) => value.toString(16).padStart(2, "0")).join("");
}
