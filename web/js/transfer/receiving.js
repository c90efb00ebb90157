// The receiver of one offer on one connection: the manifest, the stream, the credit. Knows no disk or channel.

import { toHex } from "./bytes.js";
import { totalSize } from "./entries.js";
import { BadMessage, endMessage, MAX_ENTRIES, parseMessage } from "./messages.js";
import { storedPaths } from "./names.js";

const DIGEST = 32;
const WINDOW = 16 * 1024 * 1024; // bytes that may wait for being written
const MAX_DATA = 262_144;
const MAX_MANIFEST = 16 * 1024 * 1024; // characters of all entries' paths
const MAX_ROWS = 500;

/**
 * Methods return events: {send: text}, {offered: true}, {piece: {file, offset, data, digest, length}}, {begin: file, offset},
 * {finish: file, size, pieces}, {missing: file, reason}, {restarted: file}, {ended: {state, code, reason, byPeer}}.
 * The caller answers `piece` with `pieceWritten`, and `finish` with `stored`, in order.
 */
export class Receiving {
  #state = "waiting"; // manifest, reviewing, receiving, over
  #manifestSize = 0;
  #plan = [];
  #next = 0;
  #have = new Map();
  #offset = 0;
  #pieces = [];
  #begun = false;
  #buffer = null;
  #filled = 0;
  #spare = []; // buffers of whole pieces that were written
  #received = 0;
  #written = 0;
  #granted = 0;
  #sent = false;
  #unstored = new Set();
  #storedRows = [];
  #maxEntries;
  #answers;
  #requested = null;

  /**
   * @param maxEntries larger offers are refused before their manifest is read
   * @param answers whether a request of the peer is answered: {requested: name} ends this machine, and another one sends
   */
  constructor({ maxEntries = MAX_ENTRIES, answers = false } = {}) {
    this.#maxEntries = maxEntries;
    this.#answers = answers;
    this.offer = null;
    this.entries = [];
    this.paths = [];
    this.missing = new Map();
    this.base = 0; // bytes that were here before
  }

  get isOver() {
    return this.#state === "over";
  }

  /** Bytes of the stream that were written. */
  get written() {
    return this.#written;
  }

  /** Bytes of the stream that have arrived. */
  get received() {
    return this.#received;
  }

  /** Ask the peer for the file or folder of this name. */
  request(name) {
    this.#requested = name;
    return [send({ type: "request", name })];
  }

  get #window() {
    return Math.max(WINDOW, 2 * (this.offer.piece + DIGEST) + MAX_DATA);
  }

  /**
   * Accept the offer.
   * @param have from file to {offset, digest (hexadecimal), pieces}: the beginnings that are here
   * @param unwanted the files not to send, ascending
   */
  accept(have = new Map(), unwanted = []) {
    const leftOut = new Set(unwanted);
    this.#plan = this.entries.map((_entry, file) => file).filter((file) => !leftOut.has(file));
    this.#unstored = new Set(this.#plan);
    this.#have = have;
    this.#state = "receiving";
    this.#granted = this.#window;
    const events = [];
    const rows = [...have].sort(([a], [b]) => a - b).map(([file, { offset, digest }]) => [file, offset, digest]);
    for (let at = 0; at < rows.length; at += MAX_ROWS) events.push(send({ type: "have", files: rows.slice(at, at + MAX_ROWS) }));
    for (let at = 0; at < unwanted.length; at += MAX_ROWS) {
      events.push(send({ type: "unwanted", files: unwanted.slice(at, at + MAX_ROWS).map((file) => [file, file]) }));
    }
    events.push(send({ type: "accept", id: this.offer.id, hash: "sha256", credit: this.#granted }));
    return [...events, ...this.#skipEmpty()];
  }

  /**
   * Take that a piece was written.
   * @param idle whether nothing else waits for being written
   * @param buffer the buffer of the piece, to be used again, or null
   */
  pieceWritten(piece, idle, buffer = null) {
    this.#written += piece.length;
    if (buffer?.byteLength === this.offer.piece + DIGEST) this.#spare.push(buffer);
    const grant = this.#written + this.#window;
    if (this.isOver || (!idle && grant - this.#granted < this.#window / 8)) return [];
    this.#granted = Math.max(this.#granted, grant);
    return [send({ type: "credit", bytes: this.#granted, durable: this.#written })];
  }

  /** Take that a file is in place; `digest` is that of the whole file, hexadecimal. */
  stored(file, digest, idle) {
    this.#unstored.delete(file);
    this.#storedRows.push([file, digest]);
    const last = this.#unstored.size === 0;
    const events = idle || last || this.#storedRows.length === MAX_ROWS ? this.#flushStored() : [];
    return [...events, ...this.#checkComplete()];
  }

  #flushStored() {
    if (this.isOver || this.#storedRows.length === 0) return [];
    return [send({ type: "stored", files: this.#storedRows.splice(0) })];
  }

  end(code, reason, more = {}) {
    if (this.isOver) return [];
    this.#state = "over";
    return [{ send: endMessage(code, reason, more) }, { ended: { state: "ended", code, reason, byPeer: false } }];
  }

  channelClosed() {
    if (this.isOver) return [];
    this.#state = "over";
    return [{ ended: { state: "broken", code: null, reason: "the connection closed", byPeer: false } }];
  }

  receive(data) {
    if (this.isOver) return [];
    try {
      if (typeof data !== "string") return this.#takeData(new Uint8Array(data));
      const message = parseMessage(data);
      return message === null ? [] : this.#take(message);
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      return this.end("protocol", error.message);
    }
  }

  // -- the manifest -----------------------------------------------------------------------------------------------

  #take(message) {
    if (message.type === "end") {
      this.#state = "over";
      return [{ ended: { state: "ended", code: message.code, reason: message.reason, byPeer: true } }];
    }
    const handlers = {
      waiting: { offer: this.#takeOffer, request: this.#takeRequest },
      manifest: { entries: this.#takeEntries, offered: this.#takeOffered },
      reviewing: {},
      receiving: { resume: this.#takeResume, size: this.#takeSize, missing: this.#takeMissing, sent: this.#takeSent },
    }[this.#state];
    if (!Object.hasOwn(handlers, message.type)) throw new BadMessage("a message of the sender does not fit the state of the transfer");
    return handlers[message.type].call(this, message);
  }

  #takeRequest({ name }) {
    if (!this.#answers) return this.end("not-found", "this side has nothing to send on request");
    this.#state = "over";
    return [{ requested: name }];
  }

  #takeOffer(offer) {
    if (offer.count > this.#maxEntries) return this.end("too-large", `the receiver accepts at most ${this.#maxEntries} files at once`);
    this.offer = offer;
    this.#state = "manifest";
    return [];
  }

  #takeEntries({ entries }) {
    this.#manifestSize += entries.reduce((sum, entry) => sum + entry.path.length, 0);
    if (this.entries.length + entries.length > this.offer.count || this.#manifestSize > MAX_MANIFEST) {
      throw new BadMessage("the manifest is longer than the offer says");
    }
    for (const entry of entries) this.entries.push(entry);
    return [];
  }

  #takeOffered() {
    const { entries } = this;
    const unknown = entries.filter((entry, file) => entry.size === null && file < entries.length - 1).length;
    const texts = entries.filter((entry) => entry.kind === "text").length;
    const total = totalSize(entries);
    const sizeFits = this.offer.size === null ? entries.at(-1)?.size === null : total === this.offer.size && entries.at(-1)?.size !== null;
    if (entries.length !== this.offer.count || unknown > 0 || (texts > 0 && entries.length > 1) || !sizeFits) {
      throw new BadMessage("the manifest is not what the offer says");
    }
    this.paths = storedPaths(entries);
    if (this.#requested !== null && this.paths.some(([top]) => top !== safeTop(this.#requested))) {
      throw new BadMessage("the sender offers something else than was requested");
    }
    this.#state = "reviewing";
    return [{ offered: true }];
  }

  // -- the stream -------------------------------------------------------------------------------------------------

  /** Finish entries that take no room in the stream. */
  #skipEmpty() {
    const events = [];
    while (this.#next < this.#plan.length && this.entries[this.#plan[this.#next]].size === 0) {
      const file = this.#plan[this.#next];
      events.push({ begin: file, offset: 0 }, { finish: file, size: 0, pieces: [] });
      this.#next += 1;
    }
    return events;
  }

  get #file() {
    if (this.#next >= this.#plan.length) throw new BadMessage("the sender sends more than it offered");
    return this.#plan[this.#next];
  }

  #wanted() {
    const { size } = this.entries[this.#file];
    return Math.min(this.offer.piece, size === null ? this.offer.piece : size - this.#offset);
  }

  /** Return room for the next piece and its digest. A new buffer costs more than filling one that was used before. */
  #emptyPiece() {
    const length = this.#wanted() + DIGEST;
    return new Uint8Array(length === this.offer.piece + DIGEST ? this.#spare.pop() ?? length : length);
  }

  #takeData(data) {
    if (this.#state !== "receiving" || data.length > MAX_DATA || data.length === 0) throw new BadMessage("data came that was not asked for");
    this.#received += data.length;
    if (this.#received > this.#granted) throw new BadMessage("the sender sends more than the credit allows");
    const events = [];
    let at = 0;
    while (at < data.length) {
      if (!this.#begun) events.push(...this.#begin(0));
      this.#buffer ??= this.#emptyPiece();
      const part = data.subarray(at, at + this.#buffer.length - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#buffer.length) events.push(...this.#endPiece());
    }
    return events;
  }

  #begin(offset) {
    const file = this.#file;
    if (this.#have.has(file)) throw new BadMessage("the sender does not say where it goes on");
    this.#begun = true;
    this.#offset = offset;
    return [{ begin: file, offset }];
  }

  #endPiece() {
    const bytes = this.#buffer;
    const size = bytes.length - DIGEST;
    const digest = bytes.slice(size);
    const piece = { file: this.#file, offset: this.#offset, data: bytes.subarray(0, size), digest, length: bytes.length };
    this.#buffer = null;
    this.#filled = 0;
    this.#offset += size;
    this.#pieces.push(digest);
    const events = [{ piece }];
    if (this.#offset === this.entries[piece.file].size) events.push(...this.#endFile());
    return events;
  }

  #endFile() {
    const events = [{ finish: this.#file, size: this.#offset, pieces: this.#pieces }];
    this.#nextFile();
    return [...events, ...this.#skipEmpty()];
  }

  #nextFile() {
    this.#next += 1;
    this.#begun = false;
    this.#offset = 0;
    this.#pieces = [];
    this.#buffer = null;
    this.#filled = 0;
  }

  #takeResume({ file, offset }) {
    const known = this.#have.get(file);
    if (file !== this.#file || this.#begun || known === undefined || (offset !== known.offset && offset !== 0)) {
      throw new BadMessage("the sender resumes at an offset that was not stated");
    }
    this.#have.delete(file);
    const events = offset < known.offset ? [{ restarted: file }] : [];
    events.push(...this.#begin(offset));
    this.#pieces = offset === 0 ? [] : [...known.pieces];
    this.base += offset;
    if (offset === this.entries[file].size) events.push(...this.#endFile());
    return events;
  }

  #takeSize({ file, size }) {
    if (file !== this.#file || this.entries[file].size !== null || size < this.#offset) {
      throw new BadMessage("the sender states a size that is known");
    }
    if (this.#filled > 0 || size > this.#offset + this.offer.piece) throw new BadMessage("the sender states a size inside of a piece");
    this.entries[file] = { ...this.entries[file], size };
    const events = this.#begun ? [] : this.#begin(0);
    return size === this.#offset ? [...events, ...this.#endFile()] : events;
  }

  #takeMissing({ file, reason }) {
    if (file !== this.#file || this.#filled > 0) throw new BadMessage("the sender gives up a file whose turn it is not");
    this.#have.delete(file);
    this.#unstored.delete(file);
    this.missing.set(file, reason);
    this.#nextFile();
    return [{ missing: file, reason }, ...this.#skipEmpty(), ...this.#checkComplete()];
  }

  #takeSent() {
    if (this.#next < this.#plan.length) throw new BadMessage("the sender says that it sent everything, and has not");
    this.#sent = true;
    return this.#checkComplete();
  }

  #checkComplete() {
    if (!this.#sent || this.#unstored.size > 0 || this.isOver) return [];
    const events = this.#flushStored();
    this.#state = "over";
    return [...events, send({ type: "complete" }), { ended: { state: "done", code: null, reason: "", byPeer: false } }];
  }
}

/** Return the first component of a path, as a receiver stores it. */
export function safeTop(name) {
  return storedPaths([{ path: name, kind: "file" }])[0][0];
}

function send(message) {
  return { send: JSON.stringify(message) };
}

/** Return the row of a beginning for `accept`. */
export function beginning(offset, digest, pieces) {
  return { offset, digest: toHex(digest), pieces };
}
