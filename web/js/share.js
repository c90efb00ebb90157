// Files between two members of a room, or a page and the echo peer: one channel for each offer, without a code.
// docs/transfer-protocol.md, "Without a code". Knows no element of the page, and no peer connection.

import { randomHex } from "./transfer/bytes.js";
import { totalSize } from "./transfer/entries.js";
import { CHANNEL_LABEL, CHANNEL_PROTOCOL } from "./transfer/messages.js";
import { OfferReceiving } from "./transfer/receive-offer.js";
import { OfferSending } from "./transfer/send-offer.js";
import { directWay, openDirect, openKeeping } from "./transfer/storage.js";

const MAX_ENTRIES = 1000; // of an offer, which any member of the room may make
const RECEIPT_TIMEOUT = 10_000; // milliseconds in which the sender closes the channel
const REFUSALS = ["refused", "too-large", "not-found", "busy"];

/** Return whether a channel that the peer opened is for a transfer, and can carry one. */
export function isTransfer({ label, protocol, ordered, maxRetransmits, maxPacketLifeTime }) {
  const reliable = (maxRetransmits ?? null) === null && (maxPacketLifeTime ?? null) === null;
  return label === CHANNEL_LABEL && protocol === CHANNEL_PROTOCOL && ordered && reliable;
}

/**
 * The common part of both directions. Events: "change", and "ended" once.
 * `state` is waiting, offered, moving, then one of: done, refused, cancelled, failed; `reason` says why.
 */
class Share extends EventTarget {
  state = "waiting";
  reason = "";
  names = []; // as they are or will be stored
  size = 0;
  started = 0;
  finished = 0;

  constructor(channel, direction) {
    super();
    this.channel = channel;
    this.direction = direction;
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }) => this.offer.receive(data));
    channel.addEventListener("close", () => this.fail("the connection closed before the transfer was complete"));
  }

  get ended() {
    return ["done", "refused", "cancelled", "failed"].includes(this.state);
  }

  /** The names of the files and folders, without what is in the folders. */
  get tops() {
    return [...new Set(this.names.map((name) => name.split("/")[0]))];
  }

  /** What it is about, in a few words. */
  get name() {
    const count = this.names.length;
    if (count === 1) return this.names[0];
    return this.tops.length === 1 ? `${this.tops[0]} (${count} files)` : `${count} files`;
  }

  /** Files that the sender could not read. */
  get missing() {
    return this.offer.machine.missing.size;
  }

  cancel() {
    this.offer.end("cancelled", `the ${this.direction === "out" ? "sender" : "receiver"} stopped the transfer`);
  }

  /** End without a message to the peer: there is no connection any more. */
  fail(reason) {
    if (this.ended) return;
    this.reason = reason;
    this.offer.channelClosed();
  }

  become(state) {
    this.state = state;
    if (state === "moving") this.started = performance.now();
    this.dispatchEvent(new Event("change"));
  }

  take(event) {
    if (event.ended !== undefined) this.#end(event.ended);
  }

  #end({ state, code, reason }) {
    this.finished = performance.now();
    this.reason ||= reason;
    const failure = REFUSALS.includes(code) ? "refused" : code === "cancelled" ? "cancelled" : "failed";
    this.become(state === "done" ? "done" : failure);
    this.settle();
    this.dispatchEvent(new Event("ended"));
    this.close();
  }

  /** Release what the ended transfer no longer needs. */
  settle() {
    // what is sent belongs to the person
  }

  release() {
    // as above
  }

  close() {
    this.channel.close(); // it delivers queued messages first
  }
}

function whenOpen(channel, act) {
  if (channel.readyState === "open") act();
  else channel.addEventListener("open", act, { once: true });
}

/** Files that this page sends. */
export class OutgoingShare extends Share {
  /** @param sources {entry, blob} for each entry of the manifest; `maxMessageSize` of the connection */
  constructor(channel, sources, maxMessageSize) {
    super(channel, "out");
    this.offer = new OfferSending(channel, randomHex(12), sources, maxMessageSize, (event) => this.take(event));
    this.names = sources.map(({ entry }) => entry.path);
    this.size = totalSize(sources.map(({ entry }) => entry));
    whenOpen(channel, () => {
      if (this.ended) return;
      this.become("offered");
      this.offer.start();
    });
  }

  /** Bytes that were sent, and those that the other side had before; queued ones are not counted. */
  get moved() {
    const { base, sent } = this.offer.machine;
    return Math.max(0, Math.min(this.size, base + sent - this.channel.bufferedAmount));
  }

  take(event) {
    if (event.accepted === undefined) {
      super.take(event);
      return;
    }
    this.size = event.accepted;
    this.become("moving");
  }
}

/** Files that this page receives: offered by the peer, or requested by name. */
export class IncomingShare extends Share {
  #requested;
  #store = null;

  constructor(channel, requested = null) {
    super(channel, "in");
    this.#requested = requested;
    this.names = requested === null ? [] : [requested];
    this.offer = new OfferReceiving(channel, { maxEntries: MAX_ENTRIES }, (event) => this.take(event));
    if (requested !== null) whenOpen(channel, () => this.offer.request(requested));
  }

  get entries() {
    return this.offer.machine.entries;
  }

  /** From file to Blob: what may be saved. */
  get blobs() {
    return this.offer.blobs;
  }

  /** Bytes that have arrived, and those that were here before. */
  get moved() {
    const { base, received } = this.offer.machine;
    return Math.min(this.size, base + received);
  }

  take(event) {
    if (event.offered) this.#review();
    else super.take(event);
  }

  #review() {
    this.names = this.offer.names;
    this.size = totalSize(this.entries);
    this.become("offered");
    if (this.#requested !== null) this.accept(); // the person has asked for it
  }

  /** Receive the files: written to the disk as they arrive if `direct`, otherwise kept until the person saves them. */
  async accept(direct = false) {
    if (this.state !== "offered") return;
    const { offer, entries, paths } = this.offer.machine;
    const id = randomHex(12); // a peer may offer twice under one id
    let store = null;
    try {
      if (direct) store = await openDirect(directWay(entries), paths);
      store ??= await openKeeping({ ...offer, id }, entries);
    } catch (error) {
      if (error.name === "AbortError") return; // the person has closed the dialog
      this.offer.end("no-space", "this browser has no room for the files, or may not write them");
    }
    if (this.ended || this.state !== "offered") return;
    this.#store = store;
    this.become("moving");
    await this.offer.accept(store, id);
  }

  reject() {
    if (this.state === "offered") this.offer.end("refused", "the other person does not want the files");
  }

  settle() {
    this.offer.idle().then(() => this.#store?.close());
    if (this.state !== "done") this.release();
  }

  /** Give up what the person would need to save the files. */
  release() {
    this.#store?.release?.();
  }

  /** Where the files are: folder, file, downloads, private or memory; null before the offer is accepted. */
  get where() {
    return this.#store?.where ?? null;
  }

  close() {
    if (this.state !== "done") super.close();
    else setTimeout(() => super.close(), RECEIPT_TIMEOUT); // the sender closes it: that is its receipt
  }
}
