// Where a page stores what it receives: a folder that the person chose, the browser's private storage, or memory.
// All have the same methods: begin, write, finish (returns a Blob to save, or null), beginnings, pause, close.

import { beginning } from "./receiving.js";
import { fileDigest } from "./digests.js";

const SPARE = 32 * 1024 * 1024; // bytes that stay free in the private storage
const DIGEST = 32;
const MAX_CHECKED = 500; // files whose beginnings are looked for

/**
 * Files in a folder that the person chose. An incomplete file is removed at the end, and continued after a break.
 */
export class FolderStore {
  where = "folder";
  #root;
  #offer = null;
  #paths = [];
  #entries = [];
  #files = new Map(); // file -> {folder, name, handle, writable, pieces, size, stored}

  constructor(root) {
    this.#root = root;
  }

  use(offer, entries, paths) {
    if (this.#offer?.id !== offer.id) this.#files.clear();
    this.#offer = offer;
    this.#paths = paths;
    this.#entries = entries;
  }

  async beginnings() {
    const found = new Map();
    for (const [file, { size, pieces }] of this.#files) {
      if (this.#entries[file].size === null || size === 0) continue;
      found.set(file, beginning(size, await fileDigest(size, pieces), [...pieces]));
    }
    return found;
  }

  async begin(file, offset) {
    const path = this.#paths[file];
    const isFolder = this.#entries[file].kind === "folder";
    let folder = this.#root;
    for (const name of isFolder ? path : path.slice(0, -1)) folder = await folder.getDirectoryHandle(name, { create: true });
    if (isFolder) return;
    let state = this.#files.get(file);
    if (state === undefined) {
      const name = await freeName(folder, path.at(-1));
      state = { folder, name, handle: await folder.getFileHandle(name, { create: true }), writable: null, pieces: [], size: 0 };
      this.#files.set(file, state);
    }
    state.stored = false;
    state.size = offset;
    state.pieces.length = Math.ceil(offset / this.#offer.piece);
    state.writable = await state.handle.createWritable({ keepExistingData: offset > 0 });
    if (offset > 0) await state.writable.truncate(offset);
  }

  async write(file, offset, data, digest) {
    const state = this.#files.get(file);
    await state.writable.write({ type: "write", position: offset, data });
    state.pieces.push(digest);
    state.size = offset + data.length;
  }

  async finish(file) {
    const state = this.#files.get(file);
    if (state === undefined) return null; // a folder
    await state.writable.close();
    state.writable = null;
    state.stored = true;
    return null;
  }

  /** Keep what was written, because the connection broke. */
  async pause() {
    for (const state of this.#files.values()) {
      await state.writable?.close();
      state.writable = null;
    }
  }

  async close() {
    for (const { folder, name, writable, stored } of this.#files.values()) {
      if (stored) continue;
      await writable?.abort().catch(() => null);
      await folder.removeEntry(name).catch(() => null);
    }
    this.#files.clear();
  }
}

/** Return a name like `name` that no file of the folder has. */
async function freeName(folder, name) {
  const dot = name.lastIndexOf(".") > 0 ? name.lastIndexOf(".") : name.length;
  for (let number = 1; ; number++) {
    const chosen = number === 1 ? name : `${name.slice(0, dot)} (${number})${name.slice(dot)}`;
    try {
      await folder.getFileHandle(chosen);
    } catch (error) {
      if (error.name === "NotFoundError") return chosen;
      if (error.name !== "TypeMismatchError") throw error;
    }
  }
}

/** The browser's private storage, from which the person saves the files afterwards. It survives a reload. */
export class PrivateStore {
  where = "private";
  #offer = null;
  #entries = [];
  #worker = null;
  #waiting = new Map();
  #count = 0;

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

  #ask(action, ...values) {
    if (this.#worker === null) this.#start();
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, action, values });
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
    const found = new Map();
    for (const [file, entry] of this.#entries.slice(0, MAX_CHECKED).entries()) {
      if (entry.kind !== "file" || !entry.size) continue;
      const { size, digests } = await this.#ask("state", this.#offer.id, file);
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
    return this.#ask("begin", this.#offer.id, file, offset, Math.ceil(offset / this.#offer.piece));
  }

  write(file, offset, data, digest) {
    return this.#ask("write", file, offset, data, digest);
  }

  async finish(file) {
    if (this.#entries[file].kind === "folder") return null;
    await this.#ask("close", file);
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

  /** Remove what earlier visits left, except for the offer that goes on. */
  static async tidy(keep) {
    try {
      const root = await navigator.storage.getDirectory();
      const all = await root.getDirectoryHandle("transfers");
      for await (const name of all.keys()) if (name !== keep) await all.removeEntry(name, { recursive: true });
    } catch {
      // nothing is there, or another tab uses it
    }
  }
}

/** Memory, for small offers in browsers without private storage. */
export class MemoryStore {
  where = "memory";
  #parts = new Map();

  use() {
    this.#parts.clear();
  }

  async beginnings() {
    return new Map();
  }

  async begin(file) {
    this.#parts.set(file, []);
  }

  async write(file, _offset, data) {
    this.#parts.get(file).push(new Blob([data]));
  }

  async finish(file) {
    const blob = new Blob(this.#parts.get(file));
    this.#parts.delete(file);
    return blob;
  }

  async pause() {
    // What was written is not kept: the sender starts again.
  }

  async close() {
    this.#parts.clear();
  }
}

/** Return a script's address in the form that the page's Content-Security-Policy accepts. */
function scriptAddress(url) {
  const policy = globalThis.trustedTypes?.createPolicy("datachan-worker", { createScriptURL: (address) => address });
  return policy === undefined ? url : policy.createScriptURL(url.href);
}
