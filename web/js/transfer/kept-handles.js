// Remembers the file or folder that a person chose, and how far each file in it is, for a page that is reloaded.
// In IndexedDB, because only there a browser keeps file handles. Knows no message, and writes no file.

const NAME = "datachan-transfers";
const ROOT = -1; // in place of a file's number
const KEPT_TIME = 14 * 86_400_000; // milliseconds

function settled(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}

/** Run `act` on the object store, and return what its request gives. */
async function inStore(mode, act) {
  const opening = indexedDB.open(NAME, 1);
  opening.addEventListener("upgradeneeded", () => opening.result.createObjectStore("kept"));
  const database = await settled(opening);
  try {
    return await settled(act(database.transaction("kept", mode).objectStore("kept")));
  } finally {
    database.close();
  }
}

function all(key) {
  return IDBKeyRange.bound([key, ROOT], [key, Number.POSITIVE_INFINITY]);
}

/** What one offer needs to go on. Where the browser keeps nothing, such as in private windows, it starts again. */
export class KeptHandles {
  constructor(key) {
    this.key = key;
  }

  async #put(value, file) {
    const row = { ...value, file, key: this.key, at: Date.now() };
    await inStore("readwrite", (store) => store.put(row, [this.key, file])).catch(() => null);
  }

  /** Remember what the person chose: a file or a folder. */
  async keepRoot(where, handle) {
    const rows = await inStore("readonly", (store) => store.getAll()).catch(() => []);
    const old = rows.filter(({ file, at }) => file === ROOT && at < Date.now() - KEPT_TIME);
    for (const { key } of old) await new KeptHandles(key).forget();
    await this.#put({ where, handle }, ROOT);
  }

  /** Remember how far a file is on the disk: {part, size, pieces, stored}. */
  keepFile(file, state) {
    return this.#put(state, file);
  }

  /** Return {where, handle, files}, or null if nothing is kept. */
  async load() {
    const [root, ...files] = await inStore("readonly", (store) => store.getAll(all(this.key))).catch(() => []);
    return root?.handle === undefined ? null : { where: root.where, handle: root.handle, files };
  }

  async forget() {
    await inStore("readwrite", (store) => store.delete(all(this.key))).catch(() => null);
  }
}

/** Return whether the page may write to a handle; `ask` asks the person, which needs a click. */
export async function mayWrite(handle, ask) {
  if (handle.queryPermission === undefined) return true; // a browser that asks for no permission
  const mode = { mode: "readwrite" };
  return await (ask ? handle.requestPermission(mode) : handle.queryPermission(mode)) === "granted";
}
