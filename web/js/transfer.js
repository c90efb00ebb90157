// Files over a data channel: the same protocol as datachan/transfer/machines.py, one channel labeled "file" per file.
// Text messages are control messages in JSON, binary messages are the file's bytes in order.

import { Sha256 } from "./sha256.js";

export const LABEL = "file";
const VERSION = 1;
const CHUNK = 64 * 1024;
const BLOCK = 1024 * 1024; // bytes read from the disk at a time
const HIGH_WATER = 1024 * 1024; // bytes queued on the channel before the sender waits …
const LOW_WATER = 256 * 1024; // … until at most this many are left
const CONSOLIDATE = 8 * 1024 * 1024; // received bytes moved into a Blob at a time, which the browser may keep on disk
const MAX_CONTROL = 8192;

/** The common part of both directions. Events: "change", and "ended" once. */
class Transfer extends EventTarget {
  constructor(channel, direction) {
    super();
    this.channel = channel;
    this.direction = direction;
    this.id = "";
    this.name = "";
    this.size = 0;
    this.transferred = 0;
    this.sha256 = "";
    this.reason = "";
    this.state = "waiting"; // waiting, offered, moving, verifying, then one of: done, refused, cancelled, failed
    this.started = 0;
    this.finished = 0;
    this.hash = new Sha256();
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", (event) => this.receive(event.data));
    channel.addEventListener("close", () => this.fail("the connection closed before the transfer was complete"));
  }

  get ended() {
    return ["done", "refused", "cancelled", "failed"].includes(this.state);
  }

  /** The bytes that were sent or received; queued bytes are not counted. */
  get moved() {
    return Math.max(0, this.transferred - (this.direction === "out" ? this.channel.bufferedAmount : 0));
  }

  cancel(reason = "cancelled by the other side") {
    if (this.ended) return;
    this.sendControl({ type: "file-cancel", id: this.id || undefined, reason });
    this.end("cancelled", "cancelled");
  }

  receive(message) {
    if (this.ended) return;
    if (typeof message !== "string") {
      this.receiveData(message);
      return;
    }
    const control = parseControl(message);
    if (control === null) {
      this.breakOff("a control message cannot be understood");
    } else if (control.type === "file-cancel" || control.type === "file-reject") {
      const reason = String(control.reason ?? "").slice(0, 200) || "no reason given";
      this.end(control.type === "file-reject" ? "refused" : "cancelled", reason);
    } else {
      this.receiveControl(control);
    }
  }

  receiveData() {
    this.breakOff("file data is not expected here");
  }

  sendControl(fields) {
    if (this.channel.readyState === "open") this.channel.send(JSON.stringify(fields));
  }

  become(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }

  /** End the transfer because of a fault found on this side, and notify the peer. */
  breakOff(reason) {
    if (this.ended) return;
    this.sendControl({ type: "file-cancel", id: this.id || undefined, reason });
    this.end("failed", reason);
  }

  /** End the transfer without a message to the peer. */
  fail(reason) {
    if (!this.ended) this.end("failed", reason);
  }

  end(state, reason = "") {
    this.state = state;
    this.reason = reason;
    this.finished = performance.now();
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("ended"));
    // Closing is safe: the channel delivers queued messages first.
    this.channel.close();
  }
}

/** A file that this page sends. */
export class OutgoingFile extends Transfer {
  constructor(channel, file, maxMessageSize) {
    super(channel, "out");
    this.file = file;
    this.id = randomId();
    this.name = file.name;
    this.size = file.size;
    this.chunk = Math.max(1, Math.min(CHUNK, maxMessageSize || CHUNK));
    channel.bufferedAmountLowThreshold = LOW_WATER;
    if (channel.readyState === "open") this.offer();
    else channel.addEventListener("open", () => this.offer(), { once: true });
  }

  offer() {
    const mime = this.file.type || undefined;
    this.sendControl({ type: "file-offer", version: VERSION, id: this.id, name: this.name, size: this.size, mime });
    this.become("offered");
  }

  receiveControl(control) {
    if (control.type === "file-accept" && control.id === this.id && this.state === "offered") {
      if (control.offset !== 0) {
        this.breakOff("version 1 of the protocol sends whole files");
        return;
      }
      this.started = performance.now();
      this.become("moving");
      this.sendFile().catch((error) => this.breakOff(`the file cannot be read: ${error.name}`));
    } else if (control.type === "file-received" && control.id === this.id && this.state === "verifying") {
      if (control.sha256 === this.sha256) this.end("done");
      else this.breakOff("the other side received different data: the hashes differ");
    } else if (isKnown(control.type)) {
      this.breakOff(`${control.type} is not expected here`);
    }
  }

  async sendFile() {
    for (let start = 0; start < this.size; start += BLOCK) {
      const block = new Uint8Array(await this.file.slice(start, start + BLOCK).arrayBuffer());
      if (block.length === 0) throw new DOMException("", "NotReadableError");
      for (let at = 0; at < block.length; at += this.chunk) {
        if (this.channel.bufferedAmount > HIGH_WATER) await lowWater(this.channel);
        if (this.ended) return;
        const chunk = block.subarray(at, at + this.chunk);
        this.channel.send(chunk);
        this.hash.update(chunk);
        this.transferred += chunk.length;
      }
    }
    this.sha256 = this.hash.hex();
    this.sendControl({ type: "file-end", id: this.id, sha256: this.sha256 });
    this.become("verifying");
  }
}

/** A file that this page receives: offered by the peer, or requested with `request`. */
export class IncomingFile extends Transfer {
  constructor(channel, request = null) {
    super(channel, "in");
    this.requested = request !== null;
    this.name = request ?? "";
    this.mime = "application/octet-stream";
    this.blob = null;
    this.parts = [];
    this.buffer = null; // received bytes that are in no Blob yet
    this.filled = 0;
    if (request !== null) {
      const ask = () => this.sendControl({ type: "file-request", name: request });
      if (channel.readyState === "open") ask();
      else channel.addEventListener("open", ask, { once: true });
    }
  }

  accept() {
    if (this.state !== "offered") return;
    this.sendControl({ type: "file-accept", id: this.id, offset: 0 });
    this.started = performance.now();
    this.become("moving");
  }

  reject() {
    if (this.state !== "offered") return;
    this.sendControl({ type: "file-reject", id: this.id, reason: "declined" });
    this.end("refused", "declined here");
  }

  receiveControl(control) {
    if (control.type === "file-offer" && this.state === "waiting") {
      this.receiveOffer(control);
    } else if (control.type === "file-end" && control.id === this.id && this.state === "moving") {
      this.receiveEnd(control);
    } else if (isKnown(control.type)) {
      this.breakOff(`${control.type} is not expected here`);
    }
  }

  receiveOffer(offer) {
    const fits = offer.version === VERSION && typeof offer.id === "string" && /^[\w-]{1,64}$/.test(offer.id)
      && typeof offer.name === "string" && Number.isSafeInteger(offer.size) && offer.size >= 0;
    if (!fits) {
      this.breakOff("the offer cannot be understood");
      return;
    }
    this.id = offer.id;
    this.name = safeName(offer.name);
    this.size = offer.size;
    if (typeof offer.mime === "string" && /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.test(offer.mime)) this.mime = offer.mime;
    this.become("offered");
    if (this.requested) this.accept(); // the user requested it
  }

  receiveData(data) {
    if (this.state !== "moving") {
      super.receiveData(data);
      return;
    }
    const chunk = new Uint8Array(data);
    if (chunk.length === 0) return;
    if (this.transferred + chunk.length > this.size) {
      this.breakOff("more bytes arrived than announced");
      return;
    }
    this.hash.update(chunk);
    this.transferred += chunk.length;
    this.keep(chunk);
  }

  /** Copy a chunk into the buffer: thousands of small chunks would each cost an object of their own. */
  keep(chunk) {
    this.buffer ??= new Uint8Array(Math.min(CONSOLIDATE, this.size));
    for (let start = 0; start < chunk.length;) {
      const piece = chunk.subarray(start, start + this.buffer.length - this.filled);
      this.buffer.set(piece, this.filled);
      this.filled += piece.length;
      start += piece.length;
      if (this.filled === this.buffer.length) this.consolidate();
    }
  }

  receiveEnd(control) {
    if (this.transferred !== this.size) {
      this.breakOff("fewer bytes arrived than announced");
      return;
    }
    this.sha256 = this.hash.hex();
    if (control.sha256 !== this.sha256) {
      this.breakOff("the file arrived damaged: the hashes differ");
      return;
    }
    this.consolidate();
    // Never use a type that the browser would execute when the user opens the file from this page.
    this.blob = new Blob(this.parts, { type: "application/octet-stream" });
    this.parts = [];
    this.sendControl({ type: "file-received", id: this.id, sha256: this.sha256 });
    this.end("done");
  }

  end(state, reason) {
    this.parts = [];
    this.buffer = null;
    super.end(state, reason);
  }

  consolidate() {
    if (this.filled > 0) this.parts.push(new Blob([this.buffer.subarray(0, this.filled)])); // a Blob copies its bytes
    this.filled = 0;
  }
}

const TYPES = ["request", "offer", "accept", "end", "received", "reject", "cancel"].map((word) => `file-${word}`);

function isKnown(type) {
  return TYPES.includes(type);
}

function parseControl(text) {
  if (text.length > MAX_CONTROL) return null;
  try {
    const control = JSON.parse(text);
    return control !== null && typeof control === "object" && typeof control.type === "string" ? control : null;
  } catch {
    return null;
  }
}

function lowWater(channel) {
  return new Promise((resolve) => {
    const done = () => {
      channel.removeEventListener("bufferedamountlow", done);
      channel.removeEventListener("close", done);
      resolve();
    };
    channel.addEventListener("bufferedamountlow", done);
    channel.addEventListener("close", done);
    if (channel.bufferedAmount <= LOW_WATER || channel.readyState !== "open") done();
  });
}

/** Return the last component without control and direction characters; the browser sanitizes the rest when it saves. */
export function safeName(name) {
  const last = name.split(/[/\\]/).filter(Boolean).at(-1) ?? "";
  const clean = last.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}<>:"|?*]/gu, "").replace(/^[.\s]+|[.\s]+$/g, "");
  return clean.slice(0, 200) || "file";
}

function randomId() {
  const values = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(values, (value) => value.toString(16).padStart(2, "0")).join("");
}
