// Receives one offer over one open channel into a store: hashes, compares and writes what arrives, in order.
// Knows no code, room or connection. Python: datachan/transfer/receive_offer.py.

import { equalBytes, free, toHex } from "./bytes.js";
import { fileDigest, sha256 } from "./digests.js";
import { Receiving } from "./receiving.js";

export class OfferReceiving {
  #channel;
  #notify;
  #store = null;
  #jobs = [];
  #working = Promise.resolve();
  #isWorking = false;

  /**
   * @param bounds as for `Receiving`
   * @param notify called with {offered}, {requested}, {missing}, {restarted}, {progress} and {ended}
   */
  constructor(channel, bounds, notify) {
    this.machine = new Receiving(bounds);
    this.fileStates = new Map(); // file -> bytes written, or "stored"
    this.blobs = new Map(); // file -> Blob, if the store keeps it for being saved
    this.moved = 0; // bytes that are written, and those that were here before
    this.#channel = channel;
    this.#notify = notify;
  }

  get names() {
    return this.machine.paths.map((path) => path.join("/"));
  }

  /** Ask the peer for the file or folder of this name. */
  request(name) {
    this.#carryOut(this.machine.request(name));
  }

  receive(data) {
    const events = this.machine.receive(data);
    if (typeof data !== "string") free(data); // the machine has copied it
    this.#carryOut(events);
  }

  /** Accept what is offered into this store, under `key` if it keeps several offers. */
  async accept(store, key = this.machine.offer.id) {
    const { machine } = this;
    this.#store = store;
    try {
      store.use({ ...machine.offer, id: key }, machine.entries, machine.paths);
      const have = await store.beginnings();
      if (!machine.isOver) this.#carryOut(machine.accept(have));
    } catch (error) {
      this.fail(error);
    }
  }

  /** Accept no file of what is offered: all of them are here. */
  acceptNothing() {
    this.#carryOut(this.machine.accept(new Map(), [...this.machine.entries.keys()]));
  }

  /** End because of what a store has thrown. */
  fail(error) {
    const code = { QuotaExceededError: "no-space", AbortError: "cancelled" }[error.name] ?? "disk";
    this.end(code, error.message);
  }

  end(code, reason) {
    this.#carryOut(this.machine.end(code, reason));
  }

  channelClosed() {
    this.#carryOut(this.machine.channelClosed());
  }

  /** Resolve when nothing is being written any more. */
  idle() {
    return this.#working;
  }

  #carryOut(events) {
    for (const event of events) this.#perform(event);
    if (!this.#isWorking && this.#jobs.length > 0) this.#working = this.#work();
  }

  #perform(event) {
    if (event.send !== undefined) {
      if (this.#channel.readyState === "open") this.#channel.send(event.send);
    } else if (event.piece !== undefined) {
      this.#jobs.push({ ...event, digest: sha256(event.piece.data) }); // beside the writing
    } else if (event.begin !== undefined || event.finish !== undefined) {
      this.#jobs.push(event);
    } else {
      if (event.ended !== undefined) this.#jobs = [];
      this.#notify(event);
    }
  }

  async #work() {
    this.#isWorking = true;
    while (this.#jobs.length > 0) {
      try {
        this.#carryOut(await this.#do(this.#jobs.shift()));
      } catch (error) {
        this.fail(error);
      }
    }
    this.#isWorking = false;
  }

  async #do(job) {
    const { machine } = this;
    if (job.begin !== undefined) {
      await this.#store.begin(job.begin, job.offset);
      this.fileStates.set(job.begin, job.offset);
      this.moved += job.offset;
    } else if (job.piece !== undefined) {
      const { file, offset, data, digest } = job.piece;
      const { length } = data; // a store may take the buffer over
      if (!equalBytes(await job.digest, digest)) return machine.end("damaged", "a piece arrived damaged");
      const buffer = await this.#store.write(file, offset, data, digest);
      this.moved += length;
      this.fileStates.set(file, offset + length);
      this.#notify({ progress: true });
      return machine.pieceWritten(job.piece, this.#jobs.length === 0, buffer);
    } else {
      const digest = toHex(await fileDigest(job.size, job.pieces));
      const blob = await this.#store.finish(job.finish);
      if (blob !== null && machine.entries[job.finish].kind !== "folder") this.blobs.set(job.finish, blob);
      this.fileStates.set(job.finish, "stored");
      return machine.stored(job.finish, digest, this.#jobs.length === 0);
    }
    return [];
  }
}
