// Applies what a peer signals to a peer connection: its description, then its candidates, of which some come first.

const MAX_EARLY = 256; // candidates that arrive before their description

/** Return the lines of a description that name its certificate. */
export function certificateOf(sdp) {
  return sdp.split(/\r\n|\r|\n/).filter((line) => /fingerprint/i.test(line)).map((line) => line.toLowerCase()).sort().join();
}

export class RemoteSide {
  #pc;
  #early = [];

  constructor(pc) {
    this.#pc = pc;
    this.isDescribed = false;
  }

  async describe(description) {
    await this.#pc.setRemoteDescription(description);
    this.isDescribed = true;
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
  }

  /** Keep candidates from now on for another description. */
  expect() {
    this.isDescribed = false;
  }

  /** Add a candidate, or null for the end of them; keep it until the description it belongs to has arrived. */
  async add(candidate) {
    if (this.isDescribed) await this.#add(candidate);
    else if (this.#early.length < MAX_EARLY) this.#early.push(candidate);
  }

  async #add(candidate) {
    try {
      await this.#pc.addIceCandidate(candidate ?? undefined);
    } catch {
      // One path less; the connection may still come up over another.
    }
  }
}
