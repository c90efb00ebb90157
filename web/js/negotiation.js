// Negotiates one peer connection with a member of a room: descriptions and candidates in both directions, ICE restarts.
// Knows no channel, and does not decide what follows when the path of packets does not come back.

const MAX_EARLY = 256; // candidates that arrive before their description
const RESTART_AGAIN = 5_000; // milliseconds after which an offer of new ICE credentials is repeated
export const RESTART_REFUSED = "the restart is refused"; // the reason of a bye

/** Return the lines of a description that name its certificate. */
export function certificateOf(sdp) {
  return sdp.split(/\r\n|\r|\n/).filter((line) => /fingerprint/i.test(line)).map((line) => line.toLowerCase()).sort().join();
}

/** Return the DTLS role of the other side, "active" or "passive", which lasts as long as the connection. */
function roleOf({ currentLocalDescription: ours, currentRemoteDescription: theirs }) {
  if (theirs.type === "answer") return /^a=setup:(\w+)/m.exec(theirs.sdp)?.[1];
  return /^a=setup:active/m.test(ours.sdp) ? "passive" : "active";
}

/** `isDescribed` tells whether the latest description of the other side has arrived. */
export class Negotiation {
  #pc;
  #signal;
  #broken;
  #early = [];
  #awaitsAnswer = false;
  #restarting = 0; // timer
  #closed = false;
  isDescribed = false;

  /**
   * @param signal sends a message to the other side: offer, answer, candidate or bye
   * @param broken called when an ICE restart cannot be offered
   */
  constructor(pc, signal, broken) {
    this.#pc = pc;
    this.#signal = (message) => { if (!this.#closed) signal(message); };
    this.#broken = broken;
    pc.addEventListener("icecandidate", ({ candidate }) => {
      this.#signal({ type: "candidate", candidate: candidate === null ? null : candidate.toJSON() });
    });
    pc.addEventListener("connectionstatechange", () => {
      if (pc.connectionState === "connected") clearTimeout(this.#restarting);
    });
  }

  async offer() {
    this.#awaitsAnswer = true;
    await this.#pc.setLocalDescription();
    this.#signal({ type: "offer", sdp: this.#pc.localDescription.sdp });
  }

  async answer(sdp) {
    this.#awaitsAnswer = false;
    await this.#describe({ type: "offer", sdp });
    await this.#pc.setLocalDescription();
    this.#signal({ type: "answer", sdp: this.#pc.localDescription.sdp });
  }

  /** Process an answer or a candidate; throws if the answer cannot be used. */
  async handle({ type, sdp, candidate }) {
    if (type === "candidate") {
      await this.#take(candidate);
    } else if (type === "answer" && this.#awaitsAnswer) {
      this.#awaitsAnswer = false;
      await this.#describe({ type, sdp });
    }
  }

  /** Offer new ICE credentials now, and again until there is a path. */
  async restart() {
    if (this.#closed) return;
    this.restartLater();
    this.isDescribed = false;
    try {
      this.#pc.restartIce();
      await this.offer();
    } catch {
      if (!this.#closed) this.#broken();
    }
  }

  /** Offer new ICE credentials if there is no path after a while. */
  restartLater() {
    clearTimeout(this.#restarting);
    this.#restarting = setTimeout(() => { if (this.#pc.connectionState !== "connected") this.restart(); }, RESTART_AGAIN);
  }

  /** Answer new ICE credentials, unless they are of another party than before; throws if they cannot be used. */
  async answerRestart(sdp) {
    if (!this.#isSameParty(sdp)) {
      this.#signal({ type: "bye", reason: RESTART_REFUSED });
      return;
    }
    this.isDescribed = false;
    await this.answer(sdp);
  }

  /** Signal nothing any more. */
  close() {
    this.#closed = true;
    clearTimeout(this.#restarting);
  }

  /** Return whether a description has the certificate of the one before, if there was one. */
  #isSameParty(sdp) {
    const before = this.#pc.remoteDescription;
    return before === null || certificateOf(before.sdp) === certificateOf(sdp);
  }

  async #describe(description) {
    if (!this.#isSameParty(description.sdp)) throw new Error("it has another certificate");
    await this.#pc.setRemoteDescription(this.#withRole(description));
    this.isDescribed = true;
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
  }

  /** Return an answer with the role from before: Firefox answers each restart as active, and Chromium refuses another role. */
  #withRole({ type, sdp }) {
    const role = type === "answer" && this.#pc.currentRemoteDescription !== null ? roleOf(this.#pc) : undefined;
    return { type, sdp: role === undefined ? sdp : sdp.replace(/^a=setup:\w+/gm, `a=setup:${role}`) };
  }

  /** Add a candidate, or null for the end of them; keep it until the description it belongs to has arrived. */
  async #take(candidate) {
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
