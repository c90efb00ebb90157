// Sends one offer over one open channel: reads, hashes and sends what is accepted, and keeps the channel's queue short.
// Knows no code, room or connection. Python: datachan/transfer/send_offer.py.

import { toHex } from "./bytes.js";
import { fileDigest, sha256 } from "./digests.js";
import { PIECE, Sending } from "./sending.js";

const HIGH_WATER = 4 * 1024 * 1024; // bytes queued on the channel before the sender waits …
const LOW_WATER = 1024 * 1024; // … until at most this many are left
const MESSAGE = 65_536;

export class OfferSending {
  #channel;
  #sources;
  #limit;
  #notify;
  #wake = () => null;

  /**
   * @param sources {entry, blob} for each entry of the manifest
   * @param maxMessageSize of the connection
   * @param notify called with each event of `Sending` that is no message
   */
  constructor(channel, id, sources, maxMessageSize, notify) {
    this.machine = new Sending(id, sources.map(({ entry }) => entry));
    this.fileStates = new Map(); // file -> bytes read, or "stored"
    this.#channel = channel;
    this.#sources = sources;
    this.#limit = Math.min(MESSAGE, maxMessageSize);
    this.#notify = notify;
  }

  start() {
    this.#carryOut(this.machine.start());
    this.#pump();
  }

  receive(data) {
    this.#carryOut(this.machine.receive(data));
  }

  end(code, reason) {
    this.#carryOut(this.machine.end(code, reason));
  }

  channelClosed() {
    this.#carryOut(this.machine.channelClosed());
  }

  #carryOut(events) {
    for (const event of events) {
      if (event.send === undefined) this.#notify(event);
      else if (this.#channel.readyState === "open") this.#channel.send(event.send);
    }
    this.#wake();
  }

  async #pump() {
    const { machine } = this;
    const channel = this.#channel;
    channel.bufferedAmountLowThreshold = LOW_WATER;
    while (!machine.isOver) {
      const woken = new Promise((resolve) => { this.#wake = resolve; });
      for (let message = machine.nextMessage(this.#limit); message !== null; message = machine.nextMessage(this.#limit)) {
        if (channel.readyState === "open") channel.send(message);
        if (channel.bufferedAmount > HIGH_WATER) await lowWater(channel);
      }
      const work = machine.queued < 2 * PIECE ? machine.nextWork() : null;
      if (work === null) await woken;
      else await this.#do(work);
    }
  }

  async #do(work) {
    const { machine } = this;
    const file = work.check ?? work.read ?? work.finish;
    try {
      const { blob } = this.#sources[file];
      if (work.check !== undefined) {
        const pieces = [];
        for (let at = 0; at < work.offset; at += PIECE) pieces.push(await sha256(await bytesOf(blob, at, Math.min(at + PIECE, work.offset))));
        this.#carryOut(machine.checked(work, await fileDigest(work.offset, pieces), pieces));
      } else if (work.read !== undefined) {
        const data = await bytesOf(blob, work.offset, work.offset + work.length);
        machine.read(data, await sha256(data));
        this.fileStates.set(file, work.offset + work.length);
      } else {
        machine.finished(work, toHex(await fileDigest(work.size, work.pieces)));
        this.fileStates.set(file, "stored");
      }
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      machine.unreadable(file, "the file changed or cannot be read any more");
    }
  }
}

async function bytesOf(blob, start, end) {
  const bytes = new Uint8Array(await blob.slice(start, end).arrayBuffer());
  if (bytes.length !== end - start) throw new DOMException("The file became shorter.", "NotReadableError");
  return bytes;
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
