// Proves a code to the other side and checks its proof: the messages `pake` and `confirm`. Knows no channel.

import { fromHex, toHex } from "./bytes.js";
import { BadMessage, endMessage, parseMessage } from "./messages.js";
import { Keys, randomScalar, Spake2 } from "./pake.js";

const WRONG = "the code is wrong, or someone sits between the two sides";

/** Return the 32 bytes of the one SHA-256 fingerprint of a description; throw BadMessage if it has another or several. */
export function fingerprintOf(sdp) {
  const found = new Set();
  for (const line of sdp.split(/\r\n|\r|\n/)) {
    if (/^a=fingerprint:/i.test(line)) found.add(line.slice("a=fingerprint:".length).trim().toLowerCase());
  }
  const match = found.size === 1 ? /^sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})$/.exec([...found][0]) : null;
  if (match === null) throw new BadMessage("a description does not have exactly one SHA-256 fingerprint");
  return fromHex(match[1].replaceAll(":", ""));
}

/**
 * One exchange on one connection.
 * `receive` returns {send: texts, done: null or {keys, verify}, failed: null or {code, reason}}.
 */
export class Proof {
  #role;
  #fingerprints;
  #spake = null;
  #keys = null;
  #options;

  /**
   * @param role "sender" or "receiver"
   * @param password the code, or the reconnect secret of the receiver's `session`
   * @param local the fingerprint of this side; `remote` that of the other
   * @param secretOf returns the reconnect secret of a session that the sender knows, or null
   * @param codeIsValid whether the sender's code may still be guessed
   */
  constructor({ role, password, local, remote, session = null, verify = false, secretOf = () => null, codeIsValid = true }) {
    this.#role = role;
    this.#fingerprints = role === "sender" ? [local, remote] : [remote, local];
    this.#options = { password, session, verify, secretOf, codeIsValid };
    this.session = session;
    this.guessed = false; // whether a guess of the code was made and was wrong
    this.confirmed = false; // whether this receiver has spent its guess
  }

  /** Return the first messages. */
  start() {
    if (this.#role === "sender") return [];
    this.#spake = new Spake2("receiver", this.#options.password, randomScalar());
    return [this.#pake()];
  }

  receive(text) {
    try {
      const message = parseMessage(text);
      if (message === null) return result([]);
      if (message.type === "end") return { send: [], done: null, failed: { code: message.code, reason: message.reason, byPeer: true } };
      if (message.type === "pake" && this.#keys === null) return this.#takeShare(message);
      if (message.type === "confirm" && this.#keys !== null) return this.#takeConfirmation(message);
      throw new BadMessage("a message came before the code was proved");
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error;
      return failed("protocol", error.message);
    }
  }

  #pake() {
    const session = this.#role === "receiver" && this.session !== null ? { session: this.session } : {};
    return JSON.stringify({ type: "pake", version: 1, share: toHex(this.#spake.share), ...session });
  }

  #takeShare(message) {
    const send = [];
    if (this.#role === "sender") {
      const { password, secretOf, codeIsValid } = this.#options;
      this.session = message.session ?? null;
      const secret = this.session === null ? password : secretOf(this.session);
      if (secret === null) return failed("unknown-session", "the session to go on with is not known here");
      if (this.session === null && !codeIsValid) return failed("wrong-code", "a wrong code was tried before, so this code is no longer valid");
      this.#spake = new Spake2("sender", secret, randomScalar());
      send.push(this.#pake());
    }
    const key = this.#spake.finish(fromHex(message.share));
    if (key === null) throw new BadMessage("a share is not a point of the group");
    this.#keys = new Keys(key, ...this.#fingerprints);
    if (this.#role === "receiver") {
      this.confirmed = true;
      send.push(this.#confirm());
    }
    return result(send);
  }

  #takeConfirmation(message) {
    const other = this.#role === "sender" ? "receiver" : "sender";
    if (!this.#keys.isConfirmation(other, fromHex(message.mac))) {
      this.guessed = this.session === null;
      return failed("wrong-code", WRONG);
    }
    const done = { keys: this.#keys, verify: message.verify };
    return { send: this.#role === "sender" ? [this.#confirm()] : [], done, failed: null };
  }

  #confirm() {
    const mac = toHex(this.#keys.confirmation(this.#role));
    return JSON.stringify({ type: "confirm", mac, verify: this.#options.verify });
  }
}

function result(send) {
  return { send, done: null, failed: null };
}

function failed(code, reason) {
  return { send: [endMessage(code, reason)], done: null, failed: { code, reason, byPeer: false } };
}
