// Keeps what a page receives in memory: for texts and small offers, where the browser has nothing else.

/** Files as Blobs. Nothing survives a break: the sender starts again. */
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
    this.#parts.get(file).push(new Blob([data])); // a copy
    return data.buffer;
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
