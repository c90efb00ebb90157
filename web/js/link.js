// The connection to one peer: its peer connection, chat, files and measurements. Knows no element of the page.

import { verificationCode } from "./code.js";
import { RemoteSide } from "./remote-side.js";
import { IncomingShare, isTransfer, OutgoingShare } from "./share.js";
import { randomHex } from "./transfer/bytes.js";
import { CHANNEL_LABEL, CHANNEL_PROTOCOL } from "./transfer/messages.js";

export const SAMPLE_INTERVAL = 500; // milliseconds
export const SAMPLES = 120; // one minute
const CALL_TIMEOUT = 30_000;
const GATHERING_TIMEOUT = 3_000;
const PING_TIMEOUT = 5_000;
const MAX_UNANSWERED = 3;
export const MAX_ENTRIES = 500; // messages kept for display
const MAX_TEXT = 16_384;
const MAX_OFFERS = 50; // files that the peer may offer or send at the same time
const MAX_TRANSFERS = 100; // transfers in the list; the oldest that failed are dropped past this

const HUNG_UP = "The other side hung up.";

/**
 * One peer and the call with it.
 * Events: "state", "entry" (a new message), "transfer" (a new transfer), "dropped" (a transfer that left the list),
 * "sample" (new measurements).
 * `state` is idle, connecting, connected, interrupted, failed or closed; `reason` is a sentence.
 */
export class PeerLink extends EventTarget {
  #pc = null;
  #session = "";
  #remote = null;
  #timeout = 0;
  #sampler = 0;
  #chat = null;
  #ping = null;
  #pinged = null;
  #unanswered = 0;
  #rtt = null;
  #bytes = { sent: 0, received: 0, at: 0 };
  #settled = { sent: 0, received: 0 };
  #offering = new Set(); // file channels of the peer without an offer yet
  #entryCount = 0;

  /**
   * @param info {id, name}
   * @param iceServers the member of RTCConfiguration
   * @param sendSignal sends a message to the room, or null for the echo peer
   * @param echoPath the URL for offers to the echo peer, or null
   */
  constructor(info, { iceServers, sendSignal = null, echoPath = null }) {
    super();
    this.id = info.id;
    this.name = info.name;
    this.iceServers = iceServers;
    this.sendSignal = sendSignal;
    this.echoPath = echoPath;
    this.isEcho = echoPath !== null;
    this.state = "idle";
    this.reason = "";
    this.gone = false; // left the room
    this.calling = false;
    this.unread = 0;
    this.entries = [];
    this.transfers = [];
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
      await pc.setLocalDescription();
      if (this.isEcho) await this.#callEcho(pc);
      else this.#signal({ type: "offer", sdp: pc.localDescription.sdp });
    } catch (error) {
      if (pc === this.#pc) this.#fail(error.sentence ?? `The call could not be made: ${error.message}`);
    }
  }

  async answer(offer) {
    const pc = this.#begin();
    this.calling = false;
    this.#session = offer.session;
    try {
      await this.#remote.describe({ type: "offer", sdp: offer.sdp });
      await pc.setLocalDescription();
      if (pc === this.#pc) this.#signal({ type: "answer", sdp: pc.localDescription.sdp });
    } catch (error) {
      if (pc !== this.#pc) return;
      this.#signal({ type: "bye", reason: "the offer cannot be understood" });
      this.#fail(`The other side's offer cannot be understood: ${error.message}`);
    }
  }

  /** Process an answer, a candidate or a bye from the room. */
  async handle(message) {
    if (message.session !== this.#session || this.#pc === null) return;
    if (message.type === "candidate") {
      await this.#remote.add(message.candidate);
    } else if (message.type === "bye") {
      this.#finish("closed", message.reason ? `The other side ended the call: ${message.reason}.` : HUNG_UP);
    } else if (this.calling && !this.#remote.isDescribed) {
      const pc = this.#pc;
      try {
        await this.#remote.describe({ type: "answer", sdp: message.sdp });
      } catch (error) {
        if (pc === this.#pc) this.#fail(`The answer cannot be used: ${error.message}`);
      }
    }
  }

  /** End the call if the server refused one of its messages. */
  refused(message) {
    if (message.session === this.#session && this.state === "connecting") this.#fail(message.message);
  }

  /** Whether the call lasts, at the moment perhaps without packets. */
  get isUp() {
    return this.state === "connected" || this.state === "interrupted";
  }

  hangUp(reason = "You hung up.") {
    if (this.#pc === null) return;
    this.#signal({ type: "bye", reason: "" });
    this.#finish("closed", reason);
  }

  #begin() {
    this.#drop();
    const pc = new RTCPeerConnection({ iceServers: this.iceServers });
    this.#pc = pc;
    this.#remote = new RemoteSide(pc);
    this.#unanswered = 0;
    this.#rtt = null;
    this.#bytes = { sent: 0, received: 0, at: performance.now() };
    this.#settled = { sent: 0, received: 0 };
    this.rtts = [];
    this.rates = [];
    this.facts = {};
    pc.addEventListener("icecandidate", ({ candidate }) => {
      if (pc === this.#pc && !this.isEcho) {
        this.#signal({ type: "candidate", candidate: candidate === null ? null : candidate.toJSON() });
      }
    });
    pc.addEventListener("connectionstatechange", () => {
      if (pc === this.#pc) this.#connectionChanged(pc);
    });
    pc.addEventListener("datachannel", ({ channel }) => {
      if (pc === this.#pc) this.#takeChannel(channel);
    });
    this.#timeout = setTimeout(() => this.#fail(
      this.#remote.isDescribed
        ? "The two sides cannot reach each other. If they are on different networks, the server needs a TURN server (datachan serve --ice-server)."
        : "No answer. The other side may have closed the page: ask them to open the link again.",
    ), CALL_TIMEOUT);
    this.#become("connecting");
    return pc;
  }

  async #callEcho(pc) {
    await gathered(pc);
    let response;
    try {
      response = await fetch(this.echoPath, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Datachan": "page" },
        body: JSON.stringify({ type: "offer", sdp: pc.localDescription.sdp }),
      });
    } catch {
      throw sentence("The server does not answer. Is `datachan serve` still running? Start it and call again.");
    }
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw sentence(body.error?.message ?? `The server answered with status ${response.status}.`);
    if (pc === this.#pc) await this.#remote.describe({ type: "answer", sdp: body.sdp });
  }

  #signal(message) {
    if (this.sendSignal !== null) this.sendSignal({ ...message, to: this.id, session: this.#session });
  }

  #connectionChanged(pc) {
    if (pc.connectionState === "connected") {
      clearTimeout(this.#timeout);
      if (this.#sampler === 0) this.#sampler = setInterval(() => this.#sample(), SAMPLE_INTERVAL);
      this.facts.code = verificationCode(pc.localDescription.sdp, pc.remoteDescription.sdp);
      this.#become("connected");
    } else if (pc.connectionState === "disconnected" && this.state === "connected") {
      this.#become("interrupted", "No packets arrive at the moment. The connection may recover by itself.");
    } else if (pc.connectionState === "failed") {
      this.#fail(
        this.state === "connecting"
          ? "The two sides cannot reach each other. If they are on different networks, the server needs a TURN server (datachan serve --ice-server)."
          : "The connection was lost: the other side is gone, or the network has changed. Call again.",
      );
    } else if (pc.connectionState === "closed") {
      this.#finish("closed", HUNG_UP);
    }
  }

  #become(state, reason = "") {
    if (this.state === state && this.reason === reason) return;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event("state"));
  }

  #fail(reason) {
    this.#finish("failed", reason);
  }

  #finish(state, reason) {
    this.#drop();
    this.#become(state, reason);
  }

  #drop() {
    clearTimeout(this.#timeout);
    clearInterval(this.#sampler);
    this.#sampler = 0;
    const pc = this.#pc;
    this.#pc = null;
    this.#chat = null;
    this.#ping = null;
    this.#pinged = null;
    for (const transfer of [...this.#offering, ...this.transfers]) {
      transfer.fail("the connection ended before the transfer was complete");
    }
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
      if (isTransfer(channel)) this.#awaitOffer(channel);
      else channel.close();
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
        if (this.#chat === channel) this.#finish("closed", HUNG_UP);
      });
    }
    channel.addEventListener("message", ({ data }) => {
      const size = typeof data === "string" ? data.length : data.byteLength;
      this.#settled.received += size;
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
    this.#settled.sent += text.length;
    this.#addEntry("mine", text);
    return true;
  }

  /** Offer files and folders: {entry, blob} for each entry of the manifest. */
  sendFiles(sources) {
    if (!this.canTalk) return;
    this.#addTransfer(new OutgoingShare(this.#openTransfer(), sources, this.#pc.sctp?.maxMessageSize ?? 65_536));
  }

  /** Request a file or a folder from the peer. */
  requestFile(name) {
    if (this.canTalk) this.#addTransfer(new IncomingShare(this.#openTransfer(), name));
  }

  #openTransfer() {
    return this.#pc.createDataChannel(CHANNEL_LABEL, { protocol: CHANNEL_PROTOCOL });
  }

  /** Remove a transfer that has ended. */
  forget(transfer) {
    this.transfers = this.transfers.filter((other) => other !== transfer);
  }

  #addTransfer(transfer) {
    this.transfers.push(transfer);
    transfer.addEventListener("ended", () => {
      this.#settled[transfer.direction === "out" ? "sent" : "received"] += transfer.moved;
      this.#dropTransfers();
    });
    this.dispatchEvent(new CustomEvent("transfer", { detail: transfer }));
  }

  /** Take a channel of the peer; it becomes a transfer in the list when the peer offers a file on it. */
  #awaitOffer(channel) {
    if (this.#offering.size + this.#openOffers() >= MAX_OFFERS) {
      channel.close();
      return;
    }
    const transfer = new IncomingShare(channel);
    this.#offering.add(transfer);
    const decide = () => {
      if (transfer.state === "waiting" || !this.#offering.delete(transfer)) return;
      if (!transfer.ended) this.#addTransfer(transfer);
    };
    transfer.addEventListener("change", decide);
  }

  #openOffers() {
    return this.transfers.filter((transfer) => transfer.direction === "in" && !transfer.ended).length;
  }

  #dropTransfers() {
    while (this.transfers.length > MAX_TRANSFERS) {
      const oldest = this.transfers.find((transfer) => transfer.ended && transfer.state !== "done");
      if (oldest === undefined) return;
      this.forget(oldest);
      this.dispatchEvent(new CustomEvent("dropped", { detail: oldest }));
    }
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
    const pair = this.#readStats(report);
    if (this.#unanswered >= MAX_UNANSWERED) {
      this.#rtt = pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000;
    }
    const { sent, received } = this.#counted();
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

  /** Return the bytes of messages and files that were sent and received. */
  #counted() {
    let { sent, received } = this.#settled;
    for (const transfer of this.transfers) {
      if (transfer.ended) continue;
      if (transfer.direction === "out") sent += transfer.moved;
      else received += transfer.moved;
    }
    return { sent, received };
  }

  #readStats(report) {
    const entries = [...report.values()];
    const transport = entries.find((entry) => entry.type === "transport");
    const isSelected = (entry) => entry.type === "candidate-pair" && (entry.selected || entry.nominated);
    const pair = report.get(transport?.selectedCandidatePairId) ?? entries.find(isSelected) ?? null;
    const kind = (id) => report.get(id)?.candidateType;
    if (pair !== null) {
      const types = [kind(pair.localCandidateId), kind(pair.remoteCandidateId)];
      this.facts.path = types.includes("relay") ? "through a relay (TURN)" : types.includes(undefined) ? "" : "direct";
    }
    if (transport?.tlsVersion) this.facts.dtls = { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" }[transport.tlsVersion] ?? "DTLS";
    this.facts.limit = this.#pc.sctp?.maxMessageSize;
    return pair;
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
