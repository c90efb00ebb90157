// Keeps what a page receives in the browser's private storage, where a reloaded page finds it again. Knows no message.

import { beginning } from "./receiving.js";
import { fileDigest } from "./digests.js";
import { scriptAddress } from "./script-address.js";

const SPARE = 32 * 1024 * 1024; // bytes that stay free
const DIGEST = 32;
const MAX_CHECKED = 500; // files whose beginnings are looked for
const LOCK_TIMEOUT = 3_000; // milliseconds
const RECENT = 3_600_000; // milliseconds

/** Files in the private storage, from which the person saves them afterwards. */
export class PrivateStore {
  where = "private";
  #offer = null;
  #entries = [];
  #worker = null;
  #waiting = new Map();
  #count = 0;
  #release = null; // the lock of the offer's files

  static async hasRoomFor(size) {
    if (navigator.storage?.getDirectory === undefined || !("createWritable" in FileSystemFileHandle.prototype)) return false;
    try {
      await navigator.storage.getDirectory(); // fails in private windows of some browsers
      const { quota, usage } = await navigator.storage.estimate();
      return size + SPARE < quota - usage;
    } catch {
      return false;
    }
  }

  use(offer, entries) {
    this.#offer = offer;
    this.#entries = entries;
  }

  /** Hold the lock of the offer's files, so that no other tab writes to them or tidies them away. */
  async #hold() {
    if (this.#release !== null) return;
    const signal = AbortSignal.timeout(LOCK_TIMEOUT); // a reloaded page gives its lock back a moment later
    await new Promise((resolve, reject) => {
      const held = () => new Promise((release) => {
        this.#release = release;
        resolve();
      });
      navigator.locks.request(lockName(this.#offer.id), { signal }, held).catch(() => {
        reject(new DOMException("another tab of this browser receives the same files", "NoModificationAllowedError"));
      });
    });
  }

  #ask(action, values, transfer = []) {
    if (this.#worker === null) this.#start();
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, action, values }, transfer);
    });
  }

  #start() {
    this.#worker = new Worker(scriptAddress(new URL("disk-worker.js", import.meta.url)));
    this.#worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new DOMException(error.message, error.name));
    });
  }

  async beginnings() {
    await this.#hold();
    const found = new Map();
    for (const [file, entry] of this.#entries.slice(0, MAX_CHECKED).entries()) {
      if (entry.kind !== "file" || !entry.size) continue;
      const { size, digests } = await this.#ask("state", [this.#offer.id, file]);
      const whole = Math.min(Math.floor(digests.length / DIGEST), Math.ceil(entry.size / this.#offer.piece));
      const offset = Math.min(whole * this.#offer.piece, entry.size);
      if (offset === 0 || size < offset) continue;
      const pieces = Array.from({ length: whole }, (_, at) => digests.slice(at * DIGEST, (at + 1) * DIGEST));
      found.set(file, beginning(offset, await fileDigest(offset, pieces), pieces));
    }
    return found;
  }

  begin(file, offset) {
    if (this.#entries[file].kind === "folder") return null;
    return this.#ask("begin", [this.#offer.id, file, offset, Math.ceil(offset / this.#offer.piece)]);
  }

  /** Write a piece; return its buffer, which is the worker's meanwhile. */
  write(file, offset, data, digest) {
    return this.#ask("write", [file, offset, data, digest], [data.buffer]);
  }

  async finish(file) {
    if (this.#entries[file].kind === "folder") return null;
    await this.#ask("close", [file]);
    const root = await navigator.storage.getDirectory();
    const folder = await (await root.getDirectoryHandle("transfers")).getDirectoryHandle(this.#offer.id);
    return (await folder.getFileHandle(`${file}.part`)).getFile();
  }

  pause() {
    return this.close(); // what was written stays
  }

  async close() {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(new DOMException("the storage was closed", "AbortError"));
    this.#waiting.clear();
  }

  /** Give the offer's files up: a later visit may tidy them away. */
  release() {
    this.#release?.();
    this.#release = null;
  }

  /**
   * Remove what earlier visits left, except for the offer that goes on and for offers that another tab holds.
   * What was written less than `age` milliseconds ago stays: its tab may be reloading, or its files are being saved.
   */
  static async tidy(keep, age = RECENT) {
    try {
      const root = await navigator.storage.getDirectory();
      const all = await root.getDirectoryHandle("transfers");
      for await (const [name, folder] of all.entries()) {
        if (name === keep) continue;
        await navigator.locks.request(lockName(name), { ifAvailable: true }, async (lock) => {
          if (lock !== null && Date.now() - await lastWrite(folder) >= age) await all.removeEntry(name, { recursive: true });
        });
      }
    } catch {
      // nothing is there
    }
  }
}

function lockName(offer) {
  return `datachan-transfer-${offer}`;
}

/** Return the time at which a file of the folder was written last, in milliseconds since 1970. */
async function lastWrite(folder) {
  let last = 0;
  for await (const handle of folder.values()) last = Math.max(last, (await handle.getFile()).lastModified);
  return last;
}
