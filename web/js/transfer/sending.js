// The sender of one offer on one connection: which piece to read next, and what the credit allows. Knows no disk or channel.

import { equalBytes, fromHex } from "./bytes.js";
import { totalSize } from "./entries.js";
import { BadMessage, byteLength, endMessage, parseMessage } from "./messages.js";
import { cleanText } from "./names.js";

export const PIECE = 1024 * 1024;
const MAX_PAGE = 1000;
const PAGE_BYTES = 50_000;

/** Return the texts of the offer: `offer`, pages of `entries`, `offered`. */
function offerTexts(id, entries) {
  const size = totalSize(entries);
  const texts = [JSON.stringify({ type: "offer", version: 1, id, count: entries.length, size, hashes: ["sha256"], piece: PIECE })];
  let page = [];
  let used = 0;
  const flush = () => {
    if (page.length > 0) texts.push(`{"type":"entries","entries":[${page.join(",")}]}`);
    page = [];
    used = 0;
  };
  for (const entry of entries) {
    const text = JSON.stringify(entry);
    const length = byteLength(text) + 1;
    if (page.length === MAX_PAGE || used + length > PAGE_BYTES) flush();
    page.push(text);
    used += length;
  }
  flush();
  return [...texts, JSON.stringify({ type: "offered" })];
}

/**
 * `start` and `receive` return events: {send: text}, {accepted: bytes}, {durable: bytes}, {stored: count}, {restarted: file},
 * {ended: {state: "done" | "ended" | "broken", code, reason, byPeer}}.
 */
export class Sending {
  #state = "new";
  #id;
  #have = new Map();
  #unwanted = new Set();
  #plan = [];
  #next = 0; // index in the plan
  #offset = 0;
  #resumed = false;
  #pieces = [];
  #expected = new Map(); // file -> digest, hexadecimal
  #stored = new Set();
  #credit = 0;
  #durable = 0;
  #outbox = [];

  /** @param entries {path, kind, size, mtime} of the protocol */
  constructor(id, entries) {
    this.#id = id;
    this.entries = entries;
    this.missing = new Map();
    this.sent = 0;
    this.queued = 0;
    this.base = 0; // bytes that the receiver had before
  }

  start() {
    this.#state = "offered";
    return offerTexts(this.#id, this.entries).map((text) => ({ send: text }));
  }

  get isSending() {
    return this.#state === "sending";
  }

  get isOver() {
    return this.#state === "over";
  }

  /** Bytes of the stream that the receiver has written. */
  get durable() {
    return this.#durable;
  }

  /** The next thing to do: {check: file, offset}, {read: file, offset, length}, {finish: file, size, pieces} or null. */
  nextWork() {
    if (this.#state !== "sending" || this.#next === this.#plan.length) return null;
    const file = this.#plan[this.#next];
    const { size = 0 } = this.entries[file];
    if (this.#have.has(file) && !this.#resumed) return { check: file, offset: this.#have.get(file).offset };
    if (this.#offset === size) return { finish: file, size, pieces: this.#pieces };
    return { read: file, offset: this.#offset, length: Math.min(PIECE, size - this.#offset) };
  }

  /** Take the digest and the piece digests of the beginning that the receiver has; null if it cannot be read. */
  checked(work, digest, pieces) {
    const agrees = digest !== null && equalBytes(digest, fromHex(this.#have.get(work.check).digest));
    this.#offset = agrees ? work.offset : 0;
    this.#pieces = agrees ? pieces : [];
    this.#resumed = true;
    this.base += this.#offset;
    this.#outbox.push(JSON.stringify({ type: "resume", file: work.check, offset: this.#offset }));
    return agrees ? [] : [{ restarted: work.check }];
  }

  /** Take the bytes of a piece and their digest. */
  read(data, digest) {
    this.#offset += data.length;
    this.#pieces.push(digest);
    this.#outbox.push(data, digest);
    this.queued += data.length + digest.length;
  }

  /** Take the digest of a whole file, hexadecimal. */
  finished(work, digest) {
    this.#expected.set(work.finish, digest);
    this.#advance();
  }

  /** Give a file up; the others are sent. */
  unreadable(file, reason) {
    this.missing.set(file, reason);
    this.#outbox.push(JSON.stringify({ type: "missing", file, code: "changed", reason: cleanText(reason, 500) }));
    this.#advance();
  }

  #advance() {
    this.#next += 1;
    this.#offset = 0;
    this.#pieces = [];
    this.#resumed = false;
    if (this.#next === this.#plan.length) this.#outbox.push(JSON.stringify({ type: "sent" }));
  }

  /** Return the next message that the credit allows, of at most `limit` bytes; null if there is none. */
  nextMessage(limit) {
    const first = this.#outbox[0];
    if (first === undefined || this.#state !== "sending") return null;
    if (typeof first === "string") return this.#outbox.shift();
    const length = Math.min(first.length, limit, this.#credit - this.sent);
    if (length <= 0) return null;
    this.sent += length;
    this.queued -= length;
    if (length === first.length) return this.#outbox.shift();
    this.#outbox[0] = first.subarray(length);
    return first.subarray(0, length);
  }

  end(code, reason) {
    if (this.isOver) return [];
    this.#state = "over";
    return [{ send: endMessage(code, reason) }, { ended: { state: "ended", code, reason, byPeer: false } }];
  }

  channelClosed() {
    if (this.isOver) return [];
    this.#state = "over";
    return [{ ended: { state: "broken", code: null, reason: "the connection closed", byPeer: false } }];
  }

  receive(data) {
    if (this.isOver) return [];
    try {
      if (typeof data !== "string") throw new BadMessage("a receiver sends no data");
      const message = parseMessage(data);
      return message === null ? [] : this.#take(message);
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      return this.end("protocol", error.message);
    }
  }

  #take(message) {
    if (message.type === "end") {
      this.#state = "over";
      return [{ ended: { state: "ended", code: message.code, reason: message.reason, byPeer: true, missing: message.missing } }];
    }
    const handlers = this.#state === "offered"
      ? { have: this.#takeHave, unwanted: this.#takeUnwanted, accept: this.#takeAccept }
      : { credit: this.#takeCredit, stored: this.#takeStored, complete: this.#takeComplete };
    if (!Object.hasOwn(handlers, message.type)) throw new BadMessage("a message of the receiver does not fit the state of the transfer");
    return handlers[message.type].call(this, message);
  }

  #takeHave({ files }) {
    for (const [file, offset, digest] of files) {
      const entry = this.entries[file];
      if (entry === undefined || entry.kind !== undefined || entry.size === 0 || offset > entry.size || this.#have.has(file)) {
        throw new BadMessage("the receiver states more of a file than there is");
      }
      if (offset % PIECE !== 0 && offset !== entry.size) throw new BadMessage("the receiver states an offset inside of a piece");
      this.#have.set(file, { offset, digest });
    }
    return [];
  }

  #takeUnwanted({ files }) {
    for (const [first, last] of files) {
      if (first > last || last >= this.entries.length) throw new BadMessage("the receiver does not want files that are not offered");
      for (let file = first; file <= last; file++) this.#unwanted.add(file);
    }
    return [];
  }

  #takeAccept({ id, hash, credit }) {
    if (id !== this.#id || hash !== "sha256") throw new BadMessage("the receiver accepts another offer or an unknown hash");
    this.#credit = credit;
    this.#state = "sending";
    this.#plan = this.entries.map((_entry, file) => file).filter((file) => !this.#unwanted.has(file));
    if (this.#plan.length === 0) this.#outbox.push(JSON.stringify({ type: "sent" }));
    return [{ accepted: totalSize(this.#plan.map((file) => this.entries[file])) }];
  }

  #takeCredit({ bytes, durable }) {
    if (bytes < this.#credit || durable < this.#durable || durable > this.sent) {
      throw new BadMessage("the receiver takes back credit, or claims bytes that were not sent");
    }
    this.#credit = bytes;
    this.#durable = durable;
    return [{ durable }];
  }

  #takeStored({ files }) {
    for (const [file, digest] of files) {
      if (!this.#expected.has(file) || this.#stored.has(file)) throw new BadMessage("the receiver claims to have stored a file that was not sent");
      if (this.#expected.get(file) !== digest) return this.end("damaged", "a file arrived damaged: the digests differ");
      this.#stored.add(file);
    }
    return [{ stored: this.#stored.size }];
  }

  #takeComplete() {
    const all = this.#next === this.#plan.length && this.#outbox.length === 0 && this.#stored.size === this.#expected.size;
    if (!all) throw new BadMessage("the receiver claims to be complete before it is");
    this.#state = "over";
    return [{ ended: { state: "done", code: null, reason: "", byPeer: true } }];
  }
}
