// Writes what a page receives to the disk of the person, through the File System Access API. Knows no message.
// A file has a partial name beside its place until it is complete and verified.
// A browser drops what was written to a file and not closed when the page is reloaded. So a store that may have to go on
// then closes a file and opens it again each time it has doubled; a reload loses at most half of a file.

import { equalBytes } from "./bytes.js";
import { sha256 } from "./digests.js";
import { OpenFiles } from "./open-files.js";

const PARTIAL = ".part";
const CHECKPOINT = 32 * 1024 * 1024; // bytes after which a file is closed for the first time

/** Files that are written through a FileSystemWritableFileStream each: `place` and `writable` of its state. */
class WritableStore extends OpenFiles {
  /** @param kept `KeptHandles`, or null if nothing is remembered for a page that is reloaded */
  constructor(kept) {
    super();
    this.kept = kept;
  }

  /** The name under which a reloaded page finds what it needs; null without one. */
  get key() {
    return this.kept?.key ?? null;
  }

  /** Go on where a page was before it was reloaded: with what is on the disk, and has the digests that were kept. */
  async goOn(offer, entries, paths, files) {
    this.use(offer, entries, paths);
    for (const { file, part, pieces, stored } of files) {
      if (file >= entries.length || entries[file].kind === "folder") continue;
      try {
        const place = await this.place(file);
        await place.find(part);
        const agreeing = await this.#agreeing(await place.bytes(), pieces);
        const size = Math.min(agreeing.length * offer.piece, entries[file].size);
        if (size > 0 || entries[file].size === 0) this.files.set(file, { place, writable: null, pieces: agreeing, size, closed: size, stored: stored && size === entries[file].size });
      } catch (error) {
        if (!["NotFoundError", "TypeMismatchError"].includes(error.name)) throw error; // it is no longer there
      }
    }
  }

  /** Return the digests of the pieces that a file still has. */
  async #agreeing(blob, pieces) {
    const { piece } = this.offer;
    for (const [at, digest] of pieces.entries()) {
      const bytes = new Uint8Array(await blob.slice(at * piece, (at + 1) * piece).arrayBuffer());
      if (bytes.length === 0 || !equalBytes(await sha256(bytes), digest)) return pieces.slice(0, at);
    }
    return pieces;
  }

  async begin(file, offset) {
    if (this.entries[file].kind === "folder") {
      await this.makeFolder(this.paths[file]);
      return;
    }
    let state = this.files.get(file);
    if (state === undefined) {
      const place = await this.place(file);
      state = { place, writable: await place.open(), pieces: [], size: 0, closed: 0, stored: false };
      this.files.set(file, state);
    }
    if (state.writable === null && !state.stored) {
      state.writable = await state.place.reopen();
      await state.writable.truncate(state.size);
    }
    if (offset === state.size) return;
    if (state.stored) Object.assign(state, { writable: await state.place.open(), stored: false }); // the source has changed
    state.size = offset;
    state.pieces.length = Math.ceil(offset / this.offer.piece);
    await state.writable.truncate(offset);
  }

  async write(file, offset, data, digest) {
    const state = this.files.get(file);
    await state.writable.write({ type: "write", position: offset, data });
    state.pieces.push(digest);
    state.size = offset + data.length;
    if (this.kept !== null && state.size - state.closed >= Math.max(CHECKPOINT, state.closed)) await this.#checkpoint(file, state);
    return data.buffer;
  }

  /** Put what was written onto the disk, where a reloaded page finds it. */
  async #checkpoint(file, state) {
    await state.writable.close();
    state.closed = state.size;
    await this.#keep(file, state);
    state.writable = await state.place.reopen();
  }

  #keep(file, { place, size, pieces, stored }) {
    return this.kept?.keepFile(file, { part: place.name, size, pieces: [...pieces], stored });
  }

  async finish(file) {
    const state = this.files.get(file);
    if (state === undefined || state.stored) return null; // a folder, or a file that was complete before the break
    await state.writable.close();
    await state.place.settle();
    state.stored = true;
    await this.#keep(file, state);
    return null;
  }

  async close() {
    for (const { place, writable, stored } of this.files.values()) {
      if (stored) continue;
      await writable?.abort().catch(() => null);
      await place.discard();
    }
    this.files.clear();
    await this.kept?.forget();
  }
}

/** Files in a folder that the person chose. */
export class FolderStore extends WritableStore {
  where = "folder";
  #root;

  constructor(root, kept = null) {
    super(kept);
    this.#root = root;
  }

  async makeFolder(path) {
    let folder = this.#root;
    for (const name of path) folder = await folder.getDirectoryHandle(name, { create: true });
    return folder;
  }

  async place(file) {
    const path = this.paths[file];
    return new PlaceInFolder(await this.makeFolder(path.slice(0, -1)), path.at(-1));
  }
}

/** The one file for which the person chose a name. The browser writes beside it, and puts it in place when it is closed. */
export class FileStore extends WritableStore {
  where = "file";
  #handle;

  constructor(handle, kept = null) {
    super(kept);
    this.#handle = handle;
  }

  async place() {
    const handle = this.#handle;
    return {
      name: handle.name,
      find: async () => null,
      bytes: () => handle.getFile(),
      open: () => handle.createWritable(),
      reopen: () => handle.createWritable({ keepExistingData: true }),
      settle: async () => null,
      discard: async () => { if ((await handle.getFile()).size > 0) await (await handle.createWritable()).close(); }, // a part of it
    };
  }
}

class PlaceInFolder {
  #folder;
  #name;
  #handle = null;

  constructor(folder, name) {
    this.#folder = folder;
    this.#name = name;
  }

  async open() {
    this.#handle = await this.#folder.getFileHandle(await freeName(this.#folder, this.#name + PARTIAL), { create: true });
    return this.#handle.createWritable();
  }

  /** Find the file again that has this name. */
  async find(name) {
    this.#handle = await this.#folder.getFileHandle(name);
  }

  get name() {
    return this.#handle.name;
  }

  bytes() {
    return this.#handle.getFile();
  }

  reopen() {
    return this.#handle.createWritable({ keepExistingData: true });
  }

  /** Rename the complete file to its name, or to a free one like it. */
  async settle() {
    const name = await freeName(this.#folder, this.#name);
    try {
      await this.#handle.move(name);
    } catch (error) {
      if (!["TypeError", "NotSupportedError", "AbortError"].includes(error.name)) throw error;
      await this.#copyTo(name); // a browser that renames in its private storage only
    }
  }

  async #copyTo(name) {
    const complete = await this.#folder.getFileHandle(name, { create: true });
    await (await this.#handle.getFile()).stream().pipeTo(await complete.createWritable());
    await this.discard();
    this.#handle = complete;
  }

  async discard() {
    await this.#folder.removeEntry(this.#handle.name).catch(() => null);
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
