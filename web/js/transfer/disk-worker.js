// Writes received files into the browser's private storage, in a worker because only there a write can be flushed.
// `N.part` has the bytes of file N, and `N.pieces` the digests of its pieces: together they allow to resume.

const DIGEST = 32;
const LOCK_ATTEMPTS = 20; // the worker of a page that was reloaded holds its files a moment longer
const open = new Map();

async function folderOf(offer, create) {
  const root = await navigator.storage.getDirectory();
  const all = await root.getDirectoryHandle("transfers", { create });
  return all.getDirectoryHandle(offer, { create });
}

async function lock(folder, name) {
  const handle = await folder.getFileHandle(name, { create: true });
  for (let attempt = 1; ; attempt++) {
    try {
      return await handle.createSyncAccessHandle();
    } catch (error) {
      if (error.name !== "NoModificationAllowedError" || attempt === LOCK_ATTEMPTS) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
}

const actions = {
  /** Open a file, and drop what is behind `offset`. */
  async begin(offer, file, offset, pieces) {
    const folder = await folderOf(offer, true);
    const data = await lock(folder, `${file}.part`);
    const digests = await lock(folder, `${file}.pieces`);
    data.truncate(offset);
    digests.truncate(pieces * DIGEST);
    open.set(file, { data, digests });
  },

  write(file, offset, bytes, digest) {
    const { data, digests } = open.get(file);
    const { length } = bytes;
    if (data.write(bytes, { at: offset }) !== length) throw new DOMException("The disk is full.", "QuotaExceededError");
    data.flush();
    digests.write(digest, { at: digests.getSize() });
    digests.flush();
    return bytes.buffer; // the page uses it again
  },

  close(file) {
    const { data, digests } = open.get(file);
    open.delete(file);
    data.close();
    digests.close();
  },

  /** Return how much of a file is here: whole pieces with their digests. */
  async state(offer, file) {
    try {
      const folder = await folderOf(offer, false);
      const part = await (await folder.getFileHandle(`${file}.part`)).getFile();
      const pieces = await (await folder.getFileHandle(`${file}.pieces`)).getFile();
      return { size: part.size, digests: new Uint8Array(await pieces.arrayBuffer()) };
    } catch (error) {
      if (error.name === "NotFoundError") return { size: 0, digests: new Uint8Array(0) };
      throw error;
    }
  },
};

addEventListener("message", async ({ data: { id, action, values } }) => {
  try {
    const result = await actions[action](...values);
    postMessage({ id, result }, result instanceof ArrayBuffer ? [result] : []);
  } catch (error) {
    postMessage({ id, error: { name: error.name, message: error.message } });
  }
});
