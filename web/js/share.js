// Files between two members of a room, or a page and the echo peer: one channel for each offer, without a code.
// docs/transfer-protocol.md, "Without a code". Knows no element of the page, and no peer connection.

import { randomHex } from "./transfer/bytes.js";
import { totalSize } from "./transfer/entries.js";
import { CHANNEL_LABEL, CHANNEL_PROTOCOL } from "./transfer/messages.js";
import { OfferReceiving } from "./transfer/receive-offer.js";
import { safeTop } from "./transfer/receiving.js";
import { OfferSending } from "./transfer/send-offer.js";
import { directWay, openDirect, openKeeping } from "./transfer/storage.js";

const MAX_ENTRIES = 1000; // of an offer, which any member of the room may make
const RECEIPT_TIMEOUT = 10_000; // milliseconds in which the sender closes the channel
const REFUSALS = ["refused", "too-large", "not-found", "busy"];
const ENDS = ["done", "refused", "cancelled", "failed"];

function topOf(path) {
  return path.split("/")[0];
}

/** Return whether a channel that the peer opened is for a transfer, and can carry one. */
export function isTransfer({ label, protocol, ordered, maxRetransmits, maxPacketLifeTime }) {
  const reliable = (maxRetransmits ?? null) === null && (maxPacketLifeTime ?? null) === null;
  return label === CHANNEL_LABEL && protocol === CHANNEL_PROTOCOL && ordered && reliable;
}

/** One channel with the machine of its transfer. After a break, a transfer goes on with another line. */
class Line {
  /** @param make makes the machine's shell from a function that takes its events */
  constructor(channel, make) {
    this.channel = channel;
    this.listener = () => null; // of the transfer that this line belongs to
    this.offer = make((event) => this.listener(event));
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }) => this.offer.receive(data));
    channel.addEventListener("close", () => this.offer.channelClosed());
  }

  whenOpen(act) {
    if (this.channel.readyState === "open") act();
    else this.channel.addEventListener("open", act, { once: true });
  }
}

/** A channel on which this page receives, or which the peer has opened for an offer or a request. */
export class IncomingLine extends Line {
  #manifest = null;

  constructor(channel) {
    super(channel, (notify) => new OfferReceiving(channel, { maxEntries: MAX_ENTRIES, answers: true }, notify));
  }

  get offerId() {
    return this.offer.machine.offer?.id ?? null;
  }

  /** What was offered, as a text to compare. */
  get manifest() {
    const { offer, entries } = this.offer.machine;
    this.#manifest ??= JSON.stringify([offer.size, entries]);
    return this.#manifest;
  }

  /** End the offer of a transfer that is over here: the peer learns how, and no byte is sent again. */
  answerAs({ state, reason }) {
    this.listener = ({ ended }) => { if (ended !== undefined) setTimeout(() => this.channel.close(), RECEIPT_TIMEOUT); };
    if (state === "done") this.offer.acceptNothing();
    else this.offer.end(state === "failed" ? "failed" : state, reason || "the transfer is over");
  }
}

/**
 * The common part of both directions. Events: "change", and "ended" once.
 * `state` is waiting, offered, moving, interrupted (the connection broke, and may come back), then one of: done, refused,
 * cancelled, failed; `reason` says why.
 */
class Share extends EventTarget {
  state = "waiting";
  reason = "";
  names = []; // as they are or will be stored
  size = 0;
  started = 0;
  finished = 0;
  accepted = false;
  certificate = ""; // of the peer that it was agreed with
  epoch = 0; // the number of the connection that it was on last
  withdrawn = false; // the person no longer wants it
  line = null;
  before = null;
  code = null; // of the end
  #reached = 0; // bytes that are here, or there, for good: the place where an interrupted transfer goes on

  constructor(direction) {
    super();
    this.direction = direction;
  }

  /** Go on with this line, and no longer with the one before, which may still write. */
  use(line) {
    this.before = this.line;
    this.line = line;
    line.listener = (event) => { if (this.line === line) this.take(event); };
  }

  get offer() {
    return this.line.offer;
  }

  get channel() {
    return this.line.channel;
  }

  get ended() {
    return ENDS.includes(this.state);
  }

  /** The names of the files and folders, without what is in the folders. */
  get tops() {
    return [...new Set(this.names.map(topOf))];
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

  /** Bytes that have moved, and those that were there before. */
  get moved() {
    if (this.state === "done") return this.size;
    return Math.min(this.size, Math.max(this.#reached, this.state === "interrupted" ? 0 : this.counted));
  }

  cancel() {
    this.withdrawn = true;
    const reason = `the ${this.direction === "out" ? "sender" : "receiver"} stopped the transfer`;
    if (this.state === "interrupted") this.end({ state: "ended", code: "cancelled", reason });
    else this.offer.end("cancelled", reason);
  }

  /** End without a message to the peer: the connection does not come back. */
  fail(reason) {
    if (this.ended) return;
    this.offer.channelClosed();
    if (!this.ended) this.end({ state: "ended", code: "failed", reason });
  }

  /** Wait for the connection to come back. */
  interrupt() {
    if (!this.ended) this.offer.channelClosed();
  }

  become(state) {
    this.state = state;
    if (state === "moving" && this.started === 0) this.started = performance.now();
    this.dispatchEvent(new Event("change"));
  }

  take(event) {
    if (event.restarted !== undefined) this.#reached = 0;
    if (event.ended?.state === "broken") {
      if (this.ended || this.state === "interrupted") return;
      this.#reached = Math.min(this.size, Math.max(this.#reached, this.durable));
      this.become("interrupted");
    } else if (event.ended !== undefined) {
      this.end(event.ended);
    }
  }

  end({ state, code, reason }) {
    this.finished = performance.now();
    this.reason ||= reason;
    this.code = code;
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

/** Files that this page sends. */
export class OutgoingShare extends Share {
  #id = randomHex(12);
  #byName = null;

  /**
   * @param sources {entry, blob} for each entry of the manifest
   * @param requested the name by which the peer has asked for them, undefined if this page offers them
   */
  constructor(sources, requested) {
    super("out");
    this.sources = sources;
    this.requested = requested;
    this.names = sources.map(({ entry }) => entry.path);
    this.size = totalSize(sources.map(({ entry }) => entry));
  }

  /** The sources of each file or folder, by the name under which a receiver stores it. */
  get sourcesByName() {
    this.#byName ??= byName(this.sources);
    return this.#byName;
  }

  /** Offer the files on this channel; after a break they go on there. `maxMessageSize` is that of the connection. */
  start(channel, maxMessageSize) {
    const line = new Line(channel, (notify) => new OfferSending(channel, this.#id, this.sources, maxMessageSize, notify));
    this.use(line);
    line.whenOpen(() => {
      if (this.ended || this.line !== line) return;
      if (!this.accepted) this.become("offered");
      line.offer.start();
    });
  }

  /** Bytes that were sent, and those that the other side had before; queued ones are not counted. */
  get counted() {
    const { base, sent } = this.offer.machine;
    return base + sent - this.channel.bufferedAmount;
  }

  /** Bytes that the other side has written. */
  get durable() {
    return this.offer.machine.base + this.offer.machine.durable;
  }

  take(event) {
    if (event.accepted === undefined) {
      super.take(event);
      return;
    }
    this.size = event.accepted;
    this.accepted = true;
    this.become("moving");
  }
}

/** Files that this page receives: offered by the peer, or requested by name. */
export class IncomingShare extends Share {
  #store = null;
  #key = randomHex(12); // a peer may offer twice under one id
  #manifest = "";

  /** @param requested the name that this page asks for, null if the peer offers by itself */
  constructor(requested = null) {
    super("in");
    this.requested = requested;
    this.names = requested === null ? [] : [requested];
  }

  /** Take an offer that the peer has made on this line. */
  review(line) {
    this.use(line);
    this.#review();
  }

  /** Ask for the files on a channel of this page; after a break they go on there. */
  ask(channel) {
    const line = new IncomingLine(channel);
    this.use(line);
    line.whenOpen(() => { if (this.line === line && !this.ended) line.offer.request(this.requested); });
  }

  /** Whether an offer of the peer is this one, which goes on after a break. */
  isSame(line) {
    return this.requested === null && this.line.offerId === line.offerId && this.#manifest === line.manifest;
  }

  /**
   * Go on with the same offer on another line.
   * @param trusted whether the peer has the certificate from before: otherwise the person decides again
   */
  goOn(line, trusted) {
    this.use(line);
    if (this.accepted && trusted) this.#receive();
    else this.become("offered");
  }

  get entries() {
    return this.offer.machine.entries;
  }

  /** From file to Blob: what may be saved. */
  get blobs() {
    return this.offer.blobs;
  }

  /** Bytes that have arrived, and those that were here before. */
  get counted() {
    const { base, received } = this.offer.machine;
    return base + received;
  }

  /** Bytes that are written here. */
  get durable() {
    return this.where === "memory" ? 0 : this.offer.moved; // memory does not keep a part of a file
  }

  take(event) {
    if (event.offered) this.#review();
    else super.take(event);
  }

  #review() {
    const { manifest } = this.line;
    if (this.accepted && manifest !== this.#manifest) {
      this.offer.end("failed", "the other side has something else under this name now: ask for it again");
      return;
    }
    this.#manifest = manifest;
    this.names = this.offer.names;
    this.size = totalSize(this.entries);
    if (this.accepted) {
      this.#receive(); // what the person has asked for goes on
      return;
    }
    this.become("offered");
    if (this.requested !== null) this.accept(); // the person has asked for it
  }

  /** Receive the files: written to the disk as they arrive if `direct`, otherwise kept until the person saves them. */
  async accept(direct = false) {
    if (this.state !== "offered") return;
    if (this.#store !== null) {
      this.#receive();
      return;
    }
    const { offer, entries, paths } = this.offer.machine;
    let store = null;
    try {
      if (direct) store = await openDirect(directWay(entries), paths);
      store ??= await openKeeping({ ...offer, id: this.#key }, entries);
    } catch (error) {
      if (error.name === "AbortError") return; // the person has closed the dialog
      if (this.state === "interrupted") this.end({ state: "ended", code: "no-space", reason: NO_ROOM });
      else this.offer.end("no-space", NO_ROOM);
    }
    if (this.ended || this.#store !== null) return;
    this.#store = store;
    this.accepted = true;
    if (this.state === "offered") this.#receive(); // otherwise the connection broke meanwhile
  }

  /** Receive into the store, once the line before no longer writes to it. */
  async #receive() {
    const { line, before } = this;
    this.become("moving");
    try {
      await before?.offer.idle();
      if (before !== null) await this.#store.pause();
    } catch (error) {
      line.offer.fail(error);
    }
    if (this.line === line && !line.offer.machine.isOver) await line.offer.accept(this.#store, this.#key);
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
    const { channel } = this;
    if (this.state !== "done") super.close();
    else setTimeout(() => channel.close(), RECEIPT_TIMEOUT); // the sender closes it: that is its receipt
  }
}

const NO_ROOM = "this browser has no room for the files, or may not write them";

function byName(sources) {
  const tops = new Map();
  for (const source of sources) {
    const top = topOf(source.entry.path);
    if (!tops.has(top)) tops.set(top, []);
    tops.get(top).push(source);
  }
  return new Map(Array.from(tops, ([top, ofTop]) => [safeTop(top), ofTop]));
}
