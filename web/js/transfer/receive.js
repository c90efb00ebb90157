// Receives with a code: finds the sender, proves the code, stores the offer, and connects again after a break.

import { RoomSocket } from "../signaling.js";
import { randomHex } from "./bytes.js";
import { slotOf } from "./code.js";
import { Connection } from "./connection.js";
import { totalSize } from "./entries.js";
import { fingerprintOf, Proof } from "./proof.js";
import { OfferReceiving } from "./receive-offer.js";
import { reopened } from "./storage.js";

const FIRST_PAUSE = 500; // milliseconds
const LAST_PAUSE = 10_000;
const BUSY_ATTEMPTS = 20;

/**
 * `disk` is what a page kept on the disk before it was reloaded, null if nothing waits there.
 * Events: "change"; "kept" (what a reloaded page needs has changed: `kept`).
 * `phase` is finding, waiting, connecting, reviewing, moving, interrupted, done or ended; `end` is {code, reason, byPeer}.
 */
export class ReceiveSession extends EventTarget {
  sending = false;
  phase = "finding";
  words = null;
  verify = false;
  path = "";
  end = null;
  size = 0;
  disk;
  #configure;
  #iceServers = []; // known before the room is entered
  #room = null;
  #members = new Map();
  #connection = null;
  #proof = null;
  #store = null;
  #accepted = null; // id of the accepted offer
  #session = null;
  #secret = null;
  #offer = null; // on this connection, or on the last one
  #idle = Promise.resolve(); // until the connection before has nothing to write any more
  #pause = FIRST_PAUSE;
  #busy = 0;
  #stopped = false;

  /**
   * @param kept {session, secret, accepted} of this tab before it was reloaded, or null; with them
   * @param store what the page has received into the browser's private storage, or null
   * @param disk what it kept of a file or folder that the person chose, or null
   */
  constructor(configure, code, kept = null, { store = null, disk = null } = {}) {
    super();
    this.#configure = async () => {
      const config = await configure();
      this.#iceServers = config.iceServers;
      return config;
    };
    this.code = code;
    this.disk = disk;
    if (kept !== null) {
      this.#session = kept.session;
      this.#secret = kept.secret;
      this.#accepted = kept.accepted;
      this.#store = store;
    }
    this.#enter();
  }

  get kept() {
    return { session: this.#session, secret: this.#secret, accepted: this.#accepted };
  }

  get entries() {
    return this.machine?.entries ?? [];
  }

  get machine() {
    return this.#offer?.machine ?? null;
  }

  /** From file to the bytes that are written, or "stored". */
  get fileStates() {
    return this.#offer?.fileStates ?? new Map();
  }

  /** From file to Blob: what may be saved. */
  get blobs() {
    return this.#offer?.blobs ?? new Map();
  }

  /** Whether the server, over which the two sides find each other, does not answer. */
  get isOffline() {
    return this.#room?.isDown === true;
  }

  get moved() {
    return this.#offer?.moved ?? 0;
  }

  get names() {
    return this.#offer?.names ?? [];
  }

  // -- rendezvous -------------------------------------------------------------------------------------------------

  #enter() {
    if (this.#stopped) return;
    const room = new RoomSocket(this.#configure, `send-${slotOf(this.code)}`, "receiver");
    this.#room = room;
    this.#members.clear();
    const during = (handler) => ({ detail }) => { if (this.#room === room) handler(detail); };
    room.addEventListener("welcome", during(({ peers }) => {
      for (const peer of peers) this.#members.set(peer.id, peer.name);
      this.dispatchEvent(new Event("change"));
      const sender = peers.find((peer) => peer.name === "sender");
      if (this.#connection !== null) {
        this.#connection.roomIsBack();
        return;
      }
      if (sender === undefined) this.#become(this.machine === null ? "waiting" : "interrupted");
      else this.#connect(sender.id, null);
    }));
    room.addEventListener("down", during(() => this.dispatchEvent(new Event("change"))));
    room.addEventListener("peer-joined", during(({ peer }) => this.#members.set(peer.id, peer.name)));
    room.addEventListener("refused", during(({ message }) => this.#finish({ code: "failed", reason: message, byPeer: false })));
    room.addEventListener("signal", during((message) => {
      if (message.type === "offer" && this.#members.get(message.from) === "sender" && this.#connection === null) {
        this.#connect(message.from, message);
      } else if (message.session === this.#connection?.session) {
        this.#connection.handle(message);
      }
    }));
  }

  async #connect(to, offer) {
    const room = this.#room;
    const session = offer?.session ?? randomHex(12);
    if (this.#stopped || this.#connection !== null) return;
    const connection = new Connection(this.#iceServers, (message) => room.send({ ...message, to, session }), { restarts: true });
    connection.session = session;
    this.#connection = connection;
    if (this.machine === null) this.#become("connecting");
    connection.addEventListener("open", () => this.#opened(connection));
    connection.addEventListener("path", () => {
      this.path = connection.path;
      this.dispatchEvent(new Event("change"));
    });
    connection.receive = (data) => {
      if (connection === this.#connection) this.#receive(data);
    };
    connection.addEventListener("closed", () => {
      if (connection === this.#connection) this.#lost();
    });
    try {
      await (offer === null ? connection.call() : connection.answer(offer.sdp));
    } catch {
      connection.close();
    }
  }

  #opened(connection) {
    let local;
    let remote;
    try {
      [local, remote] = [fingerprintOf(connection.localSdp), fingerprintOf(connection.remoteSdp)];
    } catch (error) {
      this.#finish({ code: "protocol", reason: error.message, byPeer: false });
      return;
    }
    this.#proof = new Proof({ role: "receiver", password: this.#secret ?? this.code, session: this.#session, local, remote });
    for (const text of this.#proof.start()) connection.send(text);
  }

  #lost() {
    this.#connection = null;
    const proof = this.#proof;
    this.#proof = null;
    this.#room?.leave();
    if (proof?.confirmed && proof.session === null) {
      this.#finish({ code: "failed", reason: "the connection broke while the code was being checked; open the link again", byPeer: false });
      return;
    }
    this.#offer?.channelClosed();
    this.#become(this.machine === null ? "waiting" : "interrupted");
    setTimeout(() => this.#enter(), this.#pause);
    this.#pause = Math.min(LAST_PAUSE, this.#pause * 2);
  }

  // -- messages ---------------------------------------------------------------------------------------------------

  #receive(data) {
    if (this.#proof === null) {
      this.#offer.receive(data);
      return;
    }
    const { send, done, failed } = this.#proof.receive(typeof data === "string" ? data : "");
    for (const text of send) this.#connection.send(text);
    if (failed !== null) this.#proofFailed(failed);
    else if (done !== null) this.#proven(done);
  }

  #proofFailed(failed) {
    if (failed.code === "busy" && this.#busy < BUSY_ATTEMPTS) {
      this.#busy += 1;
      this.#proof = null;
      this.#connection.close();
    } else {
      this.#finish(failed);
    }
  }

  #proven({ keys, verify }) {
    this.#proof = null;
    this.#pause = FIRST_PAUSE;
    this.words = keys.words;
    this.verify = verify;
    this.#session = keys.session;
    this.#secret = keys.reconnectSecret;
    this.#idle = this.#offer?.idle() ?? this.#idle;
    const offer = new OfferReceiving(this.#connection.channel, {}, (event) => this.#take(offer, event));
    this.#offer = offer;
    this.dispatchEvent(new Event("kept"));
    this.dispatchEvent(new Event("change"));
  }

  #take(offer, event) {
    if (offer !== this.#offer) return;
    if (event.offered) this.#review();
    else if (event.ended !== undefined && event.ended.state !== "broken") this.#ended(event.ended);
    else this.dispatchEvent(new Event("change"));
  }

  #ended(ended) {
    if (ended.state === "done") this.#complete();
    else if (ended.code === "busy" && this.#busy < BUSY_ATTEMPTS) {
      this.#busy += 1;
      this.#connection.close();
    } else this.#finish(ended);
  }

  #review() {
    this.#busy = 0;
    this.size = totalSize(this.entries);
    if (this.#accepted === this.machine.offer.id && this.#store !== null) this.accept(this.#store);
    else this.#reviewAgain();
  }

  /** Go on with what is on the disk, if the page may still write there; otherwise let the person decide. */
  async #reviewAgain() {
    const offer = this.#offer;
    if (this.disk !== null && this.#accepted !== offer.machine.offer.id) this.disk = null;
    const store = this.disk === null ? null : await reopened(this.disk, offer.machine, false).catch(() => null);
    if (offer !== this.#offer || offer.machine.isOver) return;
    if (store === null) this.#become("reviewing");
    else this.accept(store);
  }

  /** Receive the offer into this store. */
  async accept(store) {
    const offer = this.#offer;
    await this.#idle;
    try {
      await this.#store?.pause();
    } catch (error) {
      offer.fail(error);
    }
    if (offer !== this.#offer || offer.machine.isOver) return;
    this.#store = store;
    this.#accepted = offer.machine.offer.id;
    this.dispatchEvent(new Event("kept"));
    this.#become("moving");
    await offer.accept(store);
  }

  decline() {
    this.#offer.end("refused", "the person does not want the files");
  }

  /** Where the files go: folder, file, downloads, private or memory; null before the offer is accepted. */
  get where() {
    return this.#store?.where ?? null;
  }

  /** The name under which a reloaded page finds what is on the disk, or null. */
  get storeKey() {
    return this.#store?.key ?? this.disk?.kept.key ?? null;
  }

  /** Give up what a later visit would need to go on, or to save. */
  release() {
    this.#store?.release?.();
  }

  cancel() {
    if (this.machine !== null && !this.machine.isOver) this.#offer.end("cancelled", "the receiver stopped the transfer");
    else this.#finish({ code: "cancelled", reason: "", byPeer: false });
  }

  // -- ends -------------------------------------------------------------------------------------------------------

  #complete() {
    const connection = this.#connection;
    this.#stop();
    setTimeout(() => connection?.close(), 10_000); // the sender closes it: that is its receipt
    this.#store?.close();
    this.#become("done");
  }

  #finish(end) {
    if (this.phase === "done" || this.phase === "ended") return;
    this.end = end;
    const connection = this.#connection;
    this.#stop();
    connection?.closeGently();
    this.#store?.close();
    this.#become("ended");
  }

  #stop() {
    this.#stopped = true;
    this.#connection = null;
    this.#room?.leave();
    this.#room = null;
  }

  #become(phase) {
    this.phase = phase;
    this.dispatchEvent(new Event("change"));
  }
}
