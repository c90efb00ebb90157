// Sends with a code: waits in the room of a slot, and sends one offer to each receiver that proves the code, several at once.

import { RoomSocket } from "../signaling.js";
import { toHex } from "./bytes.js";
import { makeCode, randomSlot } from "./code.js";
import { Connection } from "./connection.js";
import { fileDigest, sha256 } from "./digests.js";
import { fingerprintOf, Proof } from "./proof.js";
import { PIECE, Sending } from "./sending.js";

const SLOT_ATTEMPTS = 12;
const PROOF_TIMEOUT = 30_000; // milliseconds
const SILENCE = 2_000; // of a receiver that has accepted, after which another one with the code may take its place
const HIGH_WATER = 4 * 1024 * 1024;
const LOW_WATER = 1024 * 1024;
const MESSAGE = 65_536;
const MAX_CONNECTIONS = 16;
const OVER = ["refused", "too-large", "protocol", "wrong-code"];

/** One receiver, over all its connections. `phase` is comparing, reviewing, moving, interrupted, done or ended. */
class Receiver {
  phase = "reviewing";
  connection = null;
  machine = null;
  heard = 0;
  accepted = false; // a person who still reviews the offer says nothing
  end = null; // {code, reason, byPeer}; how it ended for good
  words = null;
  path = "";
  moved = 0;
  size = 0;
  fileStates = new Map();
  agree = null;
  wake = () => null;

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
  #id = toHex(crypto.getRandomValues(new Uint8Array(12)));
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
    this.offered = this.entries.reduce((sum, entry) => sum + (entry.size ?? 0), 0); // bytes for each receiver
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
    return this.to === 1 ? this.receivers[0]?.fileStates ?? new Map() : new Map();
  }

  get missing() {
    return this.receivers.at(-1)?.machine?.missing ?? new Map();
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
    room.addEventListener("welcome", during(({ peers }) => {
      if (this.code === null && peers.length > 0) {
        room.leave();
        if (attempt + 1 < SLOT_ATTEMPTS) this.#claim(attempt + 1);
        else this.#fail("the server has no free slot; try again in a minute");
        return;
      }
      if (this.code === null) {
        this.code = makeCode(slot);
        this.#changed();
      }
      this.#members = new Map(peers.map((peer) => [peer.id, peer.name]));
      for (const peer of peers) if (peer.name === "receiver" && !this.#connections.has(peer.id)) this.#connect(peer.id, null);
    }));
    room.addEventListener("peer-joined", during(({ peer }) => this.#members.set(peer.id, peer.name)));
    room.addEventListener("refused", during(({ message }) => this.#fail(message)));
    room.addEventListener("signal", during((message) => {
      const known = this.#connections.get(message.from);
      if (message.type === "offer") {
        if (this.#members.get(message.from) === "receiver") this.#connect(message.from, message);
      } else if (known?.session === message.session) {
        known.handle(message);
      }
    }));
  }

  async #connect(id, offer) {
    const room = this.#room;
    const session = offer?.session ?? toHex(crypto.getRandomValues(new Uint8Array(12)));
    if (this.#stopped || this.#connections.size >= MAX_CONNECTIONS) return;
    const connection = new Connection(this.#iceServers, (message) => room.send({ ...message, to: id, session }));
    connection.session = session;
    this.#connections.set(id, connection);
    const inbox = { held: [], handle: null };
    connection.addEventListener("message", ({ detail }) => {
      if (inbox.handle !== null) inbox.handle(detail);
      else if (inbox.held.length < 4) inbox.held.push(detail); // until it is this receiver's turn to prove the code
      else connection.close();
    });
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
      for (const event of new Sending(this.#id, []).end("busy", "the sender serves another receiver")) if (event.send) connection.send(event.send);
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
    const again = receiver.machine !== null;
    receiver.machine = new Sending(this.#id, this.entries);
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
      else this.#carryOut(receiver, receiver.machine.end("wrong-code", "the words that both people compared differ"));
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
    receiver.connection.path().then((path) => { receiver.path = path; }, () => null);
    this.#carryOut(receiver, receiver.machine.start());
    this.#pump(receiver, receiver.machine, receiver.connection);
  }

  #receive(receiver, data) {
    receiver.heard = performance.now();
    this.#carryOut(receiver, receiver.machine.receive(data));
    receiver.wake();
  }

  #carryOut(receiver, events) {
    for (const event of events) {
      if (event.send !== undefined) {
        receiver.connection?.send(event.send);
      } else if (event.ended !== undefined) {
        this.#ended(receiver, event.ended);
      } else if (event.accepted !== undefined) {
        receiver.accepted = true;
        receiver.size = event.accepted;
        this.#become(receiver, "moving");
      } else if (event.durable !== undefined) {
        receiver.moved = receiver.machine.base + event.durable;
        this.#changed();
      }
    }
  }

  async #pump(receiver, machine, connection) {
    const limit = Math.min(MESSAGE, connection.maxMessageSize);
    connection.channel.bufferedAmountLowThreshold = LOW_WATER;
    while (!machine.isOver && receiver.connection === connection) {
      const woken = new Promise((resolve) => { receiver.wake = resolve; });
      for (let message = machine.nextMessage(limit); message !== null; message = machine.nextMessage(limit)) {
        connection.send(message);
        if (connection.channel.bufferedAmount > HIGH_WATER) await lowWater(connection.channel);
      }
      const work = machine.queued < 2 * PIECE ? machine.nextWork() : null;
      if (work === null) await woken;
      else await this.#do(receiver, machine, work);
    }
  }

  async #do({ fileStates }, machine, work) {
    const file = work.check ?? work.read ?? work.finish;
    try {
      const { blob } = this.#sources[file];
      if (work.check !== undefined) {
        const pieces = [];
        for (let at = 0; at < work.offset; at += PIECE) pieces.push(await sha256(await bytesOf(blob, at, Math.min(at + PIECE, work.offset))));
        machine.checked(work, await fileDigest(work.offset, pieces), pieces);
      } else if (work.read !== undefined) {
        const data = await bytesOf(blob, work.offset, work.offset + work.length);
        machine.read(data, await sha256(data));
        fileStates.set(file, work.offset + work.length);
      } else {
        machine.finished(work, toHex(await fileDigest(work.size, work.pieces)));
        fileStates.set(file, "stored");
      }
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      machine.unreadable(file, "the file changed or cannot be read any more");
    }
  }

  // -- ends -------------------------------------------------------------------------------------------------------

  #lost(receiver) {
    receiver.connection = null;
    receiver.machine.channelClosed();
    receiver.wake();
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

  /** End once as many as were asked for have ended, or nobody else may use the code. */
  #checkOver() {
    const open = this.receivers.filter(({ isOver }) => !isOver).length;
    const over = this.receivers.length - open;
    if (this.#stopped || (over < this.to && !(this.#burnt && open === 0))) return;
    const failed = this.receivers.find(({ phase }) => phase === "ended");
    if (this.receivers.some(({ phase }) => phase === "done")) this.#finish("done", failed?.end ?? this.end);
    else this.#finish("ended", failed?.end ?? this.end);
  }

  cancel() {
    for (const receiver of this.receivers) {
      if (receiver.connection === null || receiver.isOver) continue;
      for (const { send } of receiver.machine.end("cancelled", "the sender stopped the transfer")) if (send) receiver.connection.send(send);
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

async function bytesOf(blob, start, end) {
  const bytes = new Uint8Array(await blob.slice(start, end).arrayBuffer());
  if (bytes.length !== end - start) throw new DOMException("The file became shorter.", "NotReadableError");
  return bytes;
}

function lowWater(channel) {
  return new Promise((resolve) => {
    const done = () => {
      channel.removeEventListener("bufferedamountlow", done);
      channel.removeEventListener("close", done);
      resolve();
    };
    channel.addEventListener("bufferedamountlow", done);
    channel.addEventListener("close", done);
    if (channel.bufferedAmount <= LOW_WATER || channel.readyState !== "open") done();
  });
}
