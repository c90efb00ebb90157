// Files of one offer that stay open across a break of the connection: how far each is. Knows no way to write.

import { fileDigest } from "./digests.js";
import { beginning } from "./receiving.js";

/** The common part of stores that go on in the files that they have opened, until the page is closed. */
export class OpenFiles {
  files = new Map(); // file -> {pieces, size, stored}, and what a store needs besides
  entries = [];
  paths = [];
  offer = null;

  use(offer, entries, paths) {
    if (this.offer?.id !== offer.id) this.files.clear();
    this.offer = offer;
    this.entries = entries;
    this.paths = paths;
  }

  async beginnings() {
    const found = new Map();
    for (const [file, { size, pieces }] of this.files) {
      if (this.entries[file].size === null || size === 0) continue;
      found.set(file, beginning(size, await fileDigest(size, pieces), [...pieces]));
    }
    return found;
  }

  async pause() {
    // The files stay open until the connection is back.
  }
}
