// Sends with a code: waits in the room of a slot, and sends one offer to each receiver that proves the code, several at once.

import { RoomSocket } from "../signaling.js";
import { randomHex } from "./bytes.js";
import { makeCode, randomSlot } from "./code.js";
import { Connection } from "./connection.js";
import { totalSize } from "./entries.js";
import { endMessage } from "./messages.js";
import { fingerprintOf, Proof } from "./proof.js";
import { OfferSending } from "./send-offer.js";

const SLOT_ATTEMPTS = 12;
const PROOF_TIMEOUT = 30_000; // milliseconds
const SILENCE = 2_000; // of a receiver that has accepted, after which another one with the code may take its place
const MAX_CONNECTIONS = 16;
const OVER = ["refused", "too-large", "protocol", "wrong-code"];

/** One receiver, over all its connections. `phase` is comparing, reviewing, moving, interrupted, done or ended. */
class Receiver {
  phase = "reviewing";
  connection = null;
  offer = null; // on this connection
  heard = 0;
  accepted = false; // a person who still reviews the offer says nothing
  end = null; // {code, reason, byPeer}; how it ended for good
  words = null;
  path = "";
  moved = 0;
  size = 0;
  agree = null;

  constructor(number, size) {
    this.number = number;
    this.size = size;
  }

  get isOver() {
    return this.phase === "done" || this.phase === "ended";
  }

  /** Whether another one with the code may take its place. */
  get isSilent() {
    return this.connection === null || (this.accepted && performance.now() - this.heard > SILENCE);
  }
}

// What the session shows when its receivers are in different phases: the first of these that one of them is in.
const BY_IMPORTANCE = ["comparing", "moving", "reviewing", "interrupted"];

/**
 * Events: "change". `phase` is finding, waiting, comparing, reviewing, moving, interrupted, done or ended.
 * `receivers` have a `number`, a `phase`, `moved`, `size` and `path` of their own.
 */
export class SendSession extends EventTarget {
  sending = true;
  code = null;
  end = null;
  receivers = [];
  #outcome = null; // "done" or "ended"
  #configure;
  #iceServers = []; // known before the room is entered
  #sources;
  #id = randomHex(12);
  #room = null;
  #members = new Map();
  #connections = new Map(); // member's id -> Connection
  #sessions = new Map(); // session -> {secret, receiver}
  #burnt = false;
  #proving = Promise.resolve();
  #stopped = false;

  /**
   * @param sources {entry, blob} for each entry of the manifest
   * @param verify whether the people compare words
   * @param to how many receivers get it
   */
  constructor(configure, sources, { verify = false, to = 1 } = {}) {
    super();
    this.#configure = async () => {
      const config = await configure();
      this.#iceServers = config.iceServers;
      return config;
    };
    this.#sources = sources;
    this.verify = verify;
    this.to = to;
    this.entries = sources.map(({ entry }) => entry);
    this.offered = totalSize(this.entries); // bytes for each receiver
    this.#claim(0);
  }

  get phase() {
    if (this.#outcome !== null) return this.#outcome;
    if (this.code === null) return "finding";
    const shown = BY_IMPORTANCE.find((phase) => this.receivers.some((receiver) => receiver.phase === phase));
    return shown ?? "waiting";
  }

  /** Whether another receiver may still come with the code. */
  get isOpen() {
    if (this.code === null || this.#outcome !== null) return false;
    return this.receivers.length < this.to || this.receivers.some(({ phase }) => phase === "interrupted");
  }

  /** Whether the server, over which the two sides find each other, does not answer. */
  get isOffline() {
    return this.#room?.isDown === true;
  }

  get moved() {
    return this.receivers.reduce((sum, receiver) => sum + receiver.moved, 0);
  }

  get size() {
    return this.receivers.reduce((sum, receiver) => sum + receiver.size, 0);
  }

  /** "direct", "relayed", both or "". */
  get path() {
    return [...new Set(this.receivers.map(({ path }) => path).filter(Boolean))].join(" and ");
  }

  /** The four words of the receiver that is compared now, otherwise of the last one. */
  get words() {
    return (this.#comparing ?? this.receivers.at(-1))?.words ?? null;
  }

  /** How far each file is; for several receivers only their sums are known. */
  get fileStates() {
    return this.to === 1 ? this.receivers[0]?.offer?.fileStates ?? new Map() : new Map();
  }

  get missing() {
    return this.receivers.at(-1)?.offer?.machine.missing ?? new Map();
  }

  get #comparing() {
    return this.receivers.find(({ phase }) => phase === "comparing");
  }

  get names() {
    return this.#sources.map(({ entry }) => entry.path);
  }

  // -- rendezvous -------------------------------------------------------------------------------------------------

  #claim(attempt) {
    const slot = randomSlot(attempt);
    const room = new RoomSocket(this.#configure, `send-${slot}`, "sender");
    this.#room = room;
    const during = (handler) => ({ detail }) => { if (this.#room === room) handler(detail); };
    room.addEventListener("welcome", during(({ peers, seamless }) => {
      if (this.code === null && peers.length > 0) {
        room.leave();
        if (attempt + 1 < SLOT_ATTEMPTS) this.#claim(attempt + 1);
        else this.#fail("the server has no free slot; try again in a minute");
        return;
      }
      this.code ??= makeCode(slot);
      this.#members = new Map(peers.map((peer) => [peer.id, peer.name]));
      this.#changed();
      if (seamless) return; // receivers that came meanwhile have called, and their offers follow
      for (const peer of peers) if (peer.name === "receiver" && !this.#connections.has(peer.id)) this.#connect(peer.id, null);
    }));
    room.addEventListener("down", during(() => this.#changed()));
    room.addEventListener("peer-joined", during(({ peer }) => this.#members.set(peer.id, peer.name)));
    room.addEventListener("refused", during(({ message }) => this.#fail(message)));
    room.addEventListener("signal", during((message) => {
      const known = this.#connections.get(message.from);
      if (message.type === "offer" && known?.session !== message.session) {
        if (this.#members.get(message.from) === "receiver") this.#connect(message.from, message);
      } else if (known?.session === message.session) {
        known.handle(message);
      }
    }));
  }

  async #connect(id, offer) {
    const room = this.#room;
    const session = offer?.session ?? randomHex(12);
    if (this.#stopped || this.#connections.size >= MAX_CONNECTIONS) return;
    const connection = new Connection(this.#iceServers, (message) => room.send({ ...message, to: id, session }));
    connection.session = session;
    this.#connections.set(id, connection);
    const inbox = { held: [], handle: null };
    connection.receive = (data) => {
      if (inbox.handle !== null) inbox.handle(data);
      else if (inbox.held.length < 4) inbox.held.push(data); // until it is this receiver's turn to prove the code
      else connection.close();
    };
    connection.addEventListener("closed", () => {
      if (this.#connections.get(id) === connection) this.#connections.delete(id);
      const receiver = this.receivers.find((each) => each.connection === connection);
      if (receiver !== undefined) this.#lost(receiver);
    });
    connection.addEventListener("open", () => {
      this.#proving = this.#proving.then(() => this.#prove(connection, inbox));
    });
    try {
      await (offer === null ? connection.call() : connection.answer(offer.sdp));
    } catch {
      connection.close();
    }
  }

  /** Run one exchange; resolves when it is over. */
  async #prove(connection, inbox) {
    if (connection.closed) return; // it left while it waited for its turn
    let proof;
    try {
      proof = new Proof({
        role: "sender", password: this.code, verify: this.verify, codeIsValid: !this.#burnt,
        secretOf: (session) => this.#sessions.get(session)?.secret ?? null,
        local: fingerprintOf(connection.localSdp), remote: fingerprintOf(connection.remoteSdp),
      });
    } catch {
      connection.close();
      return;
    }
    await new Promise((resolve) => {
      const timer = setTimeout(() => connection.close(), PROOF_TIMEOUT);
      const over = () => {
        clearTimeout(timer);
        resolve();
      };
      connection.addEventListener("closed", over);
      inbox.handle = (data) => {
        const { send, done, failed } = proof.receive(typeof data === "string" ? data : "");
        for (const text of send) connection.send(text);
        if (done === null && failed === null) return;
        inbox.handle = () => null;
        over();
        if (done !== null) this.#admit(connection, inbox, proof, done);
        else this.#refuse(connection, proof);
      };
      for (const data of inbox.held.splice(0)) inbox.handle(data);
    });
  }

  #refuse(connection, proof) {
    connection.closeGently();
    if (!proof.guessed) return;
    this.#burnt = true;
    this.end = { code: "wrong-code", reason: "", byPeer: false };
    this.#checkOver();
  }

  #admit(connection, inbox, proof, { keys, verify }) {
    const before = proof.session === null ? null : this.#sessions.get(proof.session).receiver;
    const receiver = before ?? this.#place();
    if (receiver === null || receiver.isOver) {
      connection.send(endMessage("busy", "the sender serves another receiver"));
      connection.closeGently();
      return;
    }
    this.#sessions.set(keys.session, { secret: keys.reconnectSecret, receiver });
    const old = receiver.connection;
    receiver.connection = connection;
    old?.close();
    receiver.words = keys.words;
    inbox.handle = (data) => {
      if (receiver.connection === connection) this.#receive(receiver, data);
    };
    const again = receiver.offer !== null;
    const { channel, maxMessageSize } = connection;
    receiver.offer = new OfferSending(channel, this.#id, this.#sources, maxMessageSize, (event) => this.#take(receiver, event));
    receiver.heard = performance.now();
    receiver.accepted = false;
    if ((verify || this.verify) && !again) this.#compare(receiver);
    else this.#start(receiver);
  }

  #place() {
    if (this.receivers.length < this.to) {
      const receiver = new Receiver(this.receivers.length + 1, this.offered);
      this.receivers.push(receiver);
      return receiver;
    }
    return this.receivers.find((receiver) => !receiver.isOver && receiver.isSilent) ?? null;
  }

  #compare(receiver) {
    receiver.agree = (agreed) => {
      if (agreed) this.#start(receiver);
      else receiver.offer.end("wrong-code", "the words that both people compared differ");
    };
    this.#become(receiver, "comparing");
  }

  /** Say whether the words of both sides are the same. */
  agree(agreed) {
    this.#comparing?.agree(agreed);
  }

  // -- sending ----------------------------------------------------------------------------------------------------

  #start(receiver) {
    this.#become(receiver, "reviewing");
    const { connection } = receiver;
    receiver.path = connection.path;
    connection.addEventListener("path", () => {
      receiver.path = connection.path;
      this.#changed();
    });
    receiver.offer.start();
  }

  #receive(receiver, data) {
    receiver.heard = performance.now();
    receiver.offer.receive(data);
  }

  #take(receiver, event) {
    if (event.ended !== undefined) {
      if (!this.#stopped && event.ended.state !== "broken") this.#ended(receiver, event.ended);
    } else if (event.accepted !== undefined) {
      receiver.accepted = true;
      receiver.size = event.accepted;
      this.#become(receiver, "moving");
    } else if (event.durable !== undefined) {
      receiver.moved = receiver.offer.machine.base + event.durable;
      this.#changed();
    }
  }

  // -- ends -------------------------------------------------------------------------------------------------------

  #lost(receiver) {
    receiver.connection = null;
    receiver.offer.channelClosed();
    if (!receiver.isOver && !this.#stopped) this.#become(receiver, "interrupted");
  }

  #ended(receiver, ended) {
    if (ended.state === "done") {
      receiver.moved = receiver.size;
      this.#settle(receiver, "done", null);
    } else if (OVER.includes(ended.code) || !ended.byPeer) {
      this.#settle(receiver, "ended", ended);
    } else {
      receiver.connection?.closeGently();
      this.#become(receiver, "interrupted");
    }
  }

  #settle(receiver, phase, end) {
    receiver.end = end;
    receiver.connection?.closeGently();
    this.#become(receiver, phase);
    this.#checkOver();
  }

  /** End once as many as were asked for have ended, or no other receiver may use the code. */
  #checkOver() {
    const open = this.receivers.filter(({ isOver }) => !isOver).length;
    const over = this.receivers.length - open;
    if (this.#stopped || (over < this.to && !(this.#burnt && open === 0))) return;
    const failed = this.receivers.find(({ phase }) => phase === "ended");
    if (this.receivers.some(({ phase }) => phase === "done")) this.#finish("done", failed?.end ?? this.end);
    else this.#finish("ended", failed?.end ?? this.end);
  }

  cancel() {
    this.#stopped = true;
    for (const { connection, isOver, offer } of this.receivers) {
      if (connection !== null && !isOver) offer.end("cancelled", "the sender stopped the transfer");
    }
    this.#finish("ended", { code: "cancelled", reason: "", byPeer: false });
  }

  #fail(reason) {
    this.#finish("ended", { code: "failed", reason, byPeer: false });
  }

  #finish(phase, end) {
    if (this.#outcome !== null) return;
    this.end = end;
    this.#outcome = phase;
    this.#stop();
    this.#changed();
  }

  #stop() {
    this.#stopped = true;
    this.#room?.leave();
    this.#room = null;
    for (const connection of this.#connections.values()) connection.closeGently();
  }

  #become(receiver, phase) {
    receiver.phase = phase;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
