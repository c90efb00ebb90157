// Writes what a page receives to the disk of the person, through the File System Access API. Knows no message.
// A file has a partial name beside its place until it is complete and verified.

import { OpenFiles } from "./open-files.js";

const PARTIAL = ".part";

/** Files that are written through a FileSystemWritableFileStream each: `place` and `writable` of its state. */
class WritableStore extends OpenFiles {
  async begin(file, offset) {
    if (this.entries[file].kind === "folder") {
      await this.makeFolder(this.paths[file]);
      return;
    }
    let state = this.files.get(file);
    if (state === undefined) {
      const place = await this.place(file);
      state = { place, writable: await place.open(), pieces: [], size: 0, stored: false };
      this.files.set(file, state);
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
    return data.buffer;
  }

  async finish(file) {
    const state = this.files.get(file);
    if (state === undefined || state.stored) return null; // a folder, or a file that was complete before the break
    await state.writable.close();
    await state.place.settle();
    state.stored = true;
    return null;
  }

  async close() {
    for (const { place, writable, stored } of this.files.values()) {
      if (stored) continue;
      await writable.abort().catch(() => null);
      await place.discard();
    }
    this.files.clear();
  }
}

/** Files in a folder that the person chose. */
export class FolderStore extends WritableStore {
  where = "folder";
  #root;

  constructor(root) {
    super();
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

  constructor(handle) {
    super();
    this.#handle = handle;
  }

  async place() {
    return { open: () => this.#handle.createWritable(), settle: async () => null, discard: async () => null };
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
    const writable = await (await this.#folder.getFileHandle(name, { create: true })).createWritable();
    await (await this.#handle.getFile()).stream().pipeTo(writable);
    await this.discard();
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
