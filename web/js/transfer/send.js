// Sends with a code: waits in the room of a slot, and sends one offer to each receiver that proves the code.

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

/** One receiver, over all its connections. */
class Receiver {
  connection = null;
  machine = null;
  heard = 0;
  accepted = false; // a person who still reviews the offer says nothing
  over = false;
}

/**
 * Events: "change". `phase` is finding, waiting, comparing, reviewing, moving, interrupted, done or ended.
 */
export class SendSession extends EventTarget {
  sending = true;
  phase = "finding";
  code = null;
  words = null;
  path = "";
  end = null;
  moved = 0;
  size = 0;
  fileStates = new Map();
  #configure;
  #iceServers = []; // known before the room is entered
  #sources;
  #id = toHex(crypto.getRandomValues(new Uint8Array(12)));
  #room = null;
  #members = new Map();
  #connections = new Map(); // member's id -> Connection
  #sessions = new Map(); // session -> {secret, receiver}
  #receiver = null; // one at a time
  #burnt = false;
  #proving = Promise.resolve();
  #stopped = false;
  #agree = null;

  /** @param sources {entry, blob} for each entry of the manifest; `verify`: whether the people compare words */
  constructor(configure, sources, { verify = false } = {}) {
    super();
    this.#configure = async () => {
      const config = await configure();
      this.#iceServers = config.iceServers;
      return config;
    };
    this.#sources = sources;
    this.verify = verify;
    this.size = this.entries.reduce((sum, entry) => sum + (entry.size ?? 0), 0);
    this.#claim(0);
  }

  get entries() {
    return this.#sources.map(({ entry }) => entry);
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
        else this.#finish({ code: "failed", reason: "the server has no free slot; try again in a minute", byPeer: false });
        return;
      }
      if (this.code === null) {
        this.code = makeCode(slot);
        this.#become("waiting");
      }
      this.#members = new Map(peers.map((peer) => [peer.id, peer.name]));
      for (const peer of peers) if (peer.name === "receiver" && !this.#connections.has(peer.id)) this.#connect(peer.id, null);
    }));
    room.addEventListener("peer-joined", during(({ peer }) => this.#members.set(peer.id, peer.name)));
    room.addEventListener("refused", during(({ message }) => this.#finish({ code: "failed", reason: message, byPeer: false })));
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
      if (this.#receiver?.connection === connection) this.#lost();
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
    if (this.#receiver === null) this.#finish({ code: "wrong-code", reason: "", byPeer: false });
  }

  #admit(connection, inbox, proof, { keys, verify }) {
    const before = proof.session === null ? null : this.#sessions.get(proof.session).receiver;
    const receiver = before ?? this.#place();
    if (receiver === null || receiver.over) {
      for (const event of new Sending(this.#id, []).end("busy", "the sender serves another receiver")) if (event.send) connection.send(event.send);
      connection.closeGently();
      return;
    }
    this.#receiver = receiver;
    this.#sessions.set(keys.session, { secret: keys.reconnectSecret, receiver });
    const old = receiver.connection;
    receiver.connection = connection;
    old?.close();
    this.words = keys.words;
    inbox.handle = (data) => {
      if (receiver.connection === connection) this.#receive(receiver, data);
    };
    const again = receiver.machine !== null;
    receiver.machine = new Sending(this.#id, this.entries);
    receiver.heard = performance.now();
    receiver.accepted = false;
    receiver.wake = () => null;
    if ((verify || this.verify) && !again) this.#compare(receiver);
    else this.#start(receiver);
  }

  #place() {
    if (this.#receiver === null) return new Receiver();
    const { connection, accepted, heard, over } = this.#receiver;
    const silent = connection === null || (accepted && performance.now() - heard > SILENCE);
    return silent && !over ? this.#receiver : null;
  }

  #compare(receiver) {
    this.#agree = (agreed) => {
      this.#agree = null;
      if (agreed) this.#start(receiver);
      else this.#carryOut(receiver, receiver.machine.end("wrong-code", "the words that both people compared differ"));
    };
    this.#become("comparing");
  }

  /** Say whether the words of both sides are the same. */
  agree(agreed) {
    this.#agree?.(agreed);
  }

  // -- sending ----------------------------------------------------------------------------------------------------

  #start(receiver) {
    this.#become("reviewing");
    receiver.connection.path().then((path) => { this.path = path; }, () => null);
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
        this.size = event.accepted;
        this.#become("moving");
      } else if (event.durable !== undefined) {
        this.moved = receiver.machine.base + event.durable;
        this.dispatchEvent(new Event("change"));
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
      else await this.#do(machine, work);
    }
  }

  async #do(machine, work) {
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
        this.fileStates.set(file, work.offset + work.length);
      } else {
        machine.finished(work, toHex(await fileDigest(work.size, work.pieces)));
        this.fileStates.set(file, "stored");
      }
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      machine.unreadable(file, "the file changed or cannot be read any more");
    }
  }

  // -- ends -------------------------------------------------------------------------------------------------------

  #lost() {
    const receiver = this.#receiver;
    receiver.connection = null;
    receiver.machine.channelClosed();
    receiver.wake();
    if (!receiver.over && !this.#stopped) this.#become("interrupted");
  }

  #ended(receiver, ended) {
    if (ended.state === "done") {
      receiver.over = true;
      this.missing = receiver.machine.missing;
      this.#stop();
      this.#become("done");
    } else if (OVER.includes(ended.code) || !ended.byPeer) {
      receiver.over = true;
      this.#finish(ended);
    } else {
      receiver.connection?.closeGently();
      this.end = ended;
      this.#become("interrupted");
    }
  }

  cancel() {
    const receiver = this.#receiver;
    if (receiver?.connection) this.#carryOut(receiver, receiver.machine.end("cancelled", "the sender stopped the transfer"));
    this.#finish({ code: "cancelled", reason: "", byPeer: false });
  }

  #finish(end) {
    if (this.phase === "done" || this.phase === "ended") return;
    this.end = end;
    this.#stop();
    this.#become("ended");
  }

  #stop() {
    this.#stopped = true;
    this.#room?.leave();
    this.#room = null;
    for (const connection of this.#connections.values()) connection.closeGently();
  }

  #become(phase) {
    this.phase = phase;
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
