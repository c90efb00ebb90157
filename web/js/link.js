// The call with one peer: made, and made again after a break; its messages and measurements. Knows no element of the page.

import { verificationCode } from "./code.js";
import { Negotiation, RESTART_REFUSED } from "./negotiation.js";
import { selectedPair, selectedPath } from "./selected-path.js";
import { request } from "./server.js";
import { randomHex } from "./transfer/bytes.js";
import { CHANNEL_LABEL } from "./transfer/messages.js";
import { Transfers } from "./transfers.js";

export const SAMPLE_INTERVAL = 500; // milliseconds
export const SAMPLES = 120; // one minute
const CALL_TIMEOUT = 30_000;
const GATHERING_TIMEOUT = 3_000;
const PING_TIMEOUT = 5_000;
const MAX_UNANSWERED = 3;
const DISCONNECTED = 12_000; // milliseconds without a path after which the other side is called again
const CALLED_DELAY = 5_000; // milliseconds in which the side that called before calls again
const FIRST_PAUSE = 500; // milliseconds between attempts to connect again
const LAST_PAUSE = 10_000;
const RETURN_TIMEOUT = 600_000; // milliseconds in which a lost connection is made again
export const MAX_ENTRIES = 500; // messages kept for display
const MAX_TEXT = 16_384;

const HUNG_UP = "The other side hung up.";
const LOST = "The connection was lost. It is made again by itself, and transfers go on where they were.";

/**
 * One peer and the call with it.
 * Events: "state", "entry" (a new message), "sample" (new measurements).
 * `state` is idle, connecting, connected, interrupted (no packets arrive), reconnecting (it is being called again), failed
 * or closed; `reason` is a sentence.
 */
export class PeerLink extends EventTarget {
  #pc = null;
  #session = "";
  #negotiation = null;
  #timeout = 0;
  #sampler = 0;
  #chat = null;
  #ping = null;
  #pinged = null;
  #unanswered = 0;
  #rtt = null;
  #bytes = { sent: 0, received: 0, at: 0 };
  #spoken = { sent: 0, received: 0 }; // bytes of messages
  #entryCount = 0;
  #wasUp = false; // this connection has been up
  #lostAt = 0; // when the connection before was lost; 0 if none was
  #pause = FIRST_PAUSE;
  #again = 0; // timer of the next call
  #noPath = 0; // timer of a connection without a path

  /**
   * @param info {id, name}
   * @param configuration RTCConfiguration; with a certificate, by which the other side knows this page again
   * @param sendSignal sends a message to the room, or null for the echo peer
   * @param echoPath the URL for offers to the echo peer, or null
   */
  constructor(info, { configuration, sendSignal = null, echoPath = null }) {
    super();
    this.id = info.id;
    this.name = info.name;
    this.configuration = configuration;
    this.sendSignal = sendSignal;
    this.echoPath = echoPath;
    this.isEcho = echoPath !== null;
    this.state = "idle";
    this.reason = "";
    this.gone = false; // left the room
    this.calling = false;
    this.unread = 0;
    this.entries = [];
    this.transfers = new Transfers(this.isEcho);
    this.rtts = [];
    this.rates = [];
    this.facts = {};
  }

  // -- calls ------------------------------------------------------------------------------------------------------

  async call() {
    const pc = this.#begin();
    this.calling = true;
    this.#session = randomHex(9);
    this.#useChat(pc.createDataChannel("chat"));
    this.#startPing(pc);
    try {
      await this.#negotiation.offer();
      if (this.isEcho) await this.#askEcho(pc);
    } catch (error) {
      if (pc === this.#pc) this.#fail(error.sentence ?? `The call could not be made: ${error.message}`);
    }
  }

  async answer(offer) {
    if (offer.session === this.#session) {
      await this.#answerRestart(offer.sdp);
      return;
    }
    const pc = this.#begin();
    this.calling = false;
    this.#session = offer.session;
    try {
      await this.#negotiation.answer(offer.sdp);
    } catch (error) {
      if (pc !== this.#pc) return;
      this.#signal({ type: "bye", reason: "the offer cannot be understood" });
      this.#fail(`The other side's offer cannot be understood: ${error.message}`);
    }
  }

  /** Process an answer, a candidate or a bye from the room. */
  async handle(message) {
    if (message.session !== this.#session || this.#pc === null) return;
    if (message.type === "bye" && message.reason === RESTART_REFUSED && this.#wasUp) {
      this.#lose();
    } else if (message.type === "bye") {
      this.#finish("closed", message.reason ? `The other side ended the call: ${message.reason}.` : HUNG_UP);
    } else {
      await this.#negotiate(message);
    }
  }

  /** Process an answer or a candidate; if it cannot be used, a connection that was up is made again. */
  async #negotiate(message) {
    const pc = this.#pc;
    try {
      await this.#negotiation.handle(message);
    } catch (error) {
      if (pc !== this.#pc) return;
      if (this.#wasUp) this.#lose();
      else this.#fail(`The answer cannot be used: ${error.message}`);
    }
  }

  /** Answer new ICE credentials, unless this connection is over. */
  async #answerRestart(sdp) {
    const pc = this.#pc;
    if (pc === null || !this.#wasUp) {
      this.#signal({ type: "bye", reason: RESTART_REFUSED });
      return;
    }
    try {
      await this.#negotiation.answerRestart(sdp);
    } catch {
      if (pc === this.#pc) this.#lose();
    }
  }

  /** End the call if the server refused one of its messages. */
  refused(message) {
    if (message.session === this.#session && this.#pc !== null && !this.#wasUp) this.#fail(message.message);
  }

  /** Whether this side calls, and the other side has not answered for good. */
  get isCalling() {
    return this.calling && this.#pc !== null && !this.#wasUp;
  }

  /** Expect the call of this member, who has just joined the room: it never got an offer that was made before. */
  joined() {
    if (this.isCalling) this.calling = false;
  }

  /** Wait for a member that left the room while it was being called again, or end the call if no transfer waits. */
  left() {
    if (this.state !== "reconnecting") return;
    if (this.transfers.unfinished.length === 0) this.#finish("closed", `${this.name} left the room.`);
    else this.#become("reconnecting", `${this.name} left the room. If ${this.name} comes back, transfers go on where they were.`);
  }

  /** Whether the call lasts, at the moment perhaps without packets. */
  get isUp() {
    return this.state === "connected" || this.state === "interrupted";
  }

  hangUp(reason = "You hung up.") {
    if (this.#pc === null && this.#lostAt === 0) return;
    this.#signal({ type: "bye", reason: "" });
    this.#finish("closed", reason);
  }

  #begin() {
    this.#drop();
    const pc = new RTCPeerConnection(this.configuration);
    this.#pc = pc;
    this.#wasUp = false;
    this.#negotiation = new Negotiation(pc, (message) => this.#signal(message), () => this.#lose());
    this.#unanswered = 0;
    this.#rtt = null;
    this.#bytes = { sent: 0, received: 0, at: performance.now() };
    this.#spoken = { sent: 0, received: 0 };
    this.transfers.use(pc);
    this.rtts = [];
    this.rates = [];
    this.facts = {};
    pc.addEventListener("connectionstatechange", () => {
      if (pc === this.#pc) this.#connectionChanged(pc);
    });
    pc.addEventListener("datachannel", ({ channel }) => {
      if (pc === this.#pc) this.#takeChannel(channel);
    });
    this.#timeout = setTimeout(() => this.#fail(
      this.#negotiation.isDescribed
        ? "The two sides cannot reach each other. If they are on different networks, the server needs a TURN server (datachan serve --ice-server)."
        : "No answer. The other side may have closed the page: ask them to open the link again.",
    ), CALL_TIMEOUT);
    if (this.#lostAt === 0) this.#become("connecting");
    return pc;
  }

  async #askEcho(pc) {
    await gathered(pc);
    let answer;
    try {
      answer = await request(this.echoPath, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ type: "offer", sdp: pc.localDescription.sdp }),
      });
    } catch (error) {
      throw sentence(error.sentence ?? "The server does not answer. Is `datachan serve` still running? Start it and call again.");
    }
    if (pc === this.#pc) await this.#negotiation.handle({ type: "answer", sdp: answer.sdp });
  }

  #signal(message) {
    if (this.sendSignal !== null) this.sendSignal({ ...message, to: this.id, session: this.#session });
  }

  #connectionChanged(pc) {
    if (pc.connectionState === "connected") {
      this.#connected(pc);
    } else if (this.#wasUp && ["disconnected", "failed"].includes(pc.connectionState)) {
      this.#pathLost();
    } else if (pc.connectionState === "failed") {
      this.#fail("The two sides cannot reach each other. If they are on different networks, the server needs a TURN server (datachan serve --ice-server).");
    } else if (pc.connectionState === "closed") {
      this.#closedByPeer();
    }
  }

  #connected(pc) {
    clearTimeout(this.#timeout);
    clearTimeout(this.#noPath);
    this.#noPath = 0;
    if (!this.#wasUp) {
      this.#wasUp = true;
      this.#lostAt = 0;
      this.#pause = FIRST_PAUSE;
      this.#sampler = setInterval(() => this.#sample(), SAMPLE_INTERVAL);
      this.facts.code = verificationCode(pc.localDescription.sdp, pc.remoteDescription.sdp);
      this.transfers.goOn();
    }
    this.#become("connected");
  }

  /** Look for another path; the channels and everything on its way stay. Without one, the other side is called again. */
  #pathLost() {
    this.#become("interrupted", "No packets arrive at the moment. The connection is restored by itself, if there is a way.");
    if (this.#noPath !== 0) return;
    this.#noPath = setTimeout(() => this.#lose(), DISCONNECTED);
    if (this.isEcho) return;
    if (this.calling) this.#negotiation.restart();
    else this.#negotiation.restartLater();
  }

  /** Call again, until it succeeds or too much time has passed. */
  #lose() {
    if (this.#lostAt === 0) {
      this.#lostAt = performance.now();
      this.#pause = FIRST_PAUSE;
    }
    const delay = this.calling ? 0 : CALLED_DELAY;
    this.#drop();
    this.#become("reconnecting", LOST);
    this.#callAfter(delay);
  }

  #callAfter(delay) {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => {
      if (performance.now() - this.#lostAt > RETURN_TIMEOUT) this.#finish("failed", "The connection was lost, and did not come back. Call again.");
      else if (this.gone) this.#callAfter(LAST_PAUSE); // it calls when it is in the room again
      else this.call();
    }, delay);
  }

  /** End the call that the other side has closed without a word; with transfers on their way, call again. */
  #closedByPeer() {
    if (this.transfers.unfinished.length === 0) this.#finish("closed", HUNG_UP);
    else this.#lose();
  }

  #become(state, reason = "") {
    if (this.state === state && this.reason === reason) return;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event("state"));
  }

  /** Give up after a failed attempt to connect; a connection that was lost is tried again. */
  #fail(reason) {
    if (this.#lostAt === 0) {
      this.#finish("failed", reason);
      return;
    }
    this.#drop();
    this.#callAfter(this.#pause);
    this.#pause = Math.min(LAST_PAUSE, 2 * this.#pause);
  }

  #finish(state, reason) {
    this.#lostAt = 0;
    this.#drop();
    this.transfers.fail("the connection ended before the transfer was complete");
    this.#become(state, reason);
  }

  /** Close the connection. What it carried is interrupted. */
  #drop() {
    for (const timer of [this.#timeout, this.#again, this.#noPath]) clearTimeout(timer);
    this.#noPath = 0;
    clearInterval(this.#sampler);
    const pc = this.#pc;
    this.#pc = null;
    this.#chat = null;
    this.#ping = null;
    this.#pinged = null;
    this.transfers.interrupt();
    this.#negotiation?.close();
    pc?.close();
  }

  // -- channels ---------------------------------------------------------------------------------------------------

  #takeChannel(channel) {
    if (channel.label === "ping") {
      channel.addEventListener("message", ({ data }) => {
        // Answer short pings only, and only while the queue is short: a late answer would measure the queue.
        if ((data.length ?? data.byteLength ?? data.size) <= 64 && channel.bufferedAmount < 4096) channel.send(data);
      });
    } else if (channel.label === CHANNEL_LABEL) {
      this.transfers.take(channel);
    } else {
      this.#useChat(channel);
    }
    if (!this.calling && this.#ping === null && channel.label !== CHANNEL_LABEL) this.#startPing(this.#pc);
  }

  #useChat(channel) {
    channel.binaryType = "arraybuffer";
    if (this.#chat === null) {
      this.#chat = channel;
      channel.addEventListener("open", () => this.dispatchEvent(new Event("state")));
      channel.addEventListener("close", () => {
        if (this.#chat === channel) this.#closedByPeer();
      });
    }
    channel.addEventListener("message", ({ data }) => {
      const size = typeof data === "string" ? data.length : data.byteLength;
      this.#spoken.received += size;
      this.#addEntry("theirs", typeof data === "string" ? data.slice(0, MAX_TEXT) : `(binary message of ${size} bytes)`);
      this.unread += 1;
    });
  }

  get canTalk() {
    return this.#chat?.readyState === "open";
  }

  say(text) {
    if (!this.canTalk) return false;
    this.#chat.send(text);
    this.#spoken.sent += text.length;
    this.#addEntry("mine", text);
    return true;
  }

  /** Offer files and folders: {entry, blob} for each entry of the manifest. */
  sendFiles(sources) {
    if (this.canTalk) this.transfers.offer(sources);
  }

  /** Request a file or a folder from the peer. */
  requestFile(name) {
    if (this.canTalk) this.transfers.request(name);
  }

  #addEntry(kind, text) {
    this.#entryCount += 1;
    this.entries.push({ kind, text, number: this.#entryCount });
    if (this.entries.length > MAX_ENTRIES) this.entries.shift();
    this.dispatchEvent(new CustomEvent("entry", { detail: this.entries.at(-1) }));
  }

  // -- measurements -----------------------------------------------------------------------------------------------

  #startPing(pc) {
    const channel = pc.createDataChannel("ping", { ordered: false, maxRetransmits: 0 });
    this.#ping = channel;
    channel.addEventListener("message", ({ data }) => {
      if (this.#pinged === null || data !== this.#pinged.text) return;
      this.#rtt = performance.now() - this.#pinged.at;
      this.#pinged = null;
      this.#unanswered = 0;
    });
  }

  #sendPing(now) {
    if (this.#pinged !== null) {
      if (now - this.#pinged.at < PING_TIMEOUT) return;
      this.#unanswered += 1;
      this.#pinged = null;
      this.#rtt = null;
    }
    // Stop pinging a peer that does not answer: unread pings would fill its receive window.
    if (this.#unanswered >= MAX_UNANSWERED || this.#ping?.readyState !== "open") return;
    this.#pinged = { text: String(Math.round(now)), at: now };
    this.#ping.send(this.#pinged.text);
  }

  async #sample() {
    const pc = this.#pc;
    const now = performance.now();
    const report = await pc.getStats().catch(() => null);
    if (pc !== this.#pc || report === null) return;
    this.#readStats(report);
    const pair = selectedPair(report);
    if (this.#unanswered >= MAX_UNANSWERED) {
      this.#rtt = pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000;
    }
    const files = this.transfers.counted();
    const sent = this.#spoken.sent + files.sent;
    const received = this.#spoken.received + files.received;
    const elapsed = (now - this.#bytes.at) / 1000;
    const rate = Math.max(0, (sent - this.#bytes.sent + received - this.#bytes.received) / elapsed);
    this.#bytes = { sent, received, at: now };
    this.facts.sent = sent;
    this.facts.received = received;
    push(this.rtts, this.#rtt);
    push(this.rates, rate);
    this.dispatchEvent(new Event("sample"));
    this.#sendPing(performance.now());
  }

  #readStats(report) {
    const entries = [...report.values()];
    const transport = entries.find((entry) => entry.type === "transport");
    this.facts.path = { relayed: "through a relay (TURN)", direct: "direct" }[selectedPath(report)] ?? this.facts.path;
    if (transport?.tlsVersion) this.facts.dtls = { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" }[transport.tlsVersion] ?? "DTLS";
    this.facts.limit = this.#pc.sctp?.maxMessageSize;
  }
}

function push(samples, value) {
  samples.push(value);
  if (samples.length > SAMPLES) samples.shift();
}

function gathered(pc) {
  return new Promise((resolve) => {
    const check = () => pc.iceGatheringState === "complete" && resolve();
    pc.addEventListener("icegatheringstatechange", check);
    setTimeout(resolve, GATHERING_TIMEOUT); // use the candidates found so far; the peer learns others from our checks
    check();
  });
}

function sentence(text) {
  return Object.assign(new Error(text), { sentence: text });
}
