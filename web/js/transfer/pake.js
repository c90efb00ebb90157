// SPAKE2 on Ed25519, and the keys that follow from it. Knows no messages. docs/transfer-protocol.md, "Proof".

import { ed25519 } from "../../vendor/noble-curves/ed25519.js";
import { hkdf } from "../../vendor/noble-hashes/hkdf.js";
import { hmac } from "../../vendor/noble-hashes/hmac.js";
import { sha256 } from "../../vendor/noble-hashes/sha2.js";
import { equalBytes, fromHex, joined, numberOf, toHex, utf8 } from "./bytes.js";
import { WORDS } from "./words.js";

const { Point } = ed25519;
const ORDER = Point.Fn.ORDER;
const BLINDS = {
  sender: Point.fromBytes(fromHex("15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312")),
  receiver: Point.fromBytes(fromHex("f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3")),
};
const LETTERS = { sender: 0x41, receiver: 0x42 };
const NOTHING = new Uint8Array(0);

function otherOf(role) {
  return role === "sender" ? "receiver" : "sender";
}

/** Return 512 random bits modulo the order of the group, never 0. */
export function randomScalar() {
  return numberOf(crypto.getRandomValues(new Uint8Array(64))) % (ORDER - 1n) + 1n;
}

/** Return the number that SPAKE2 derives from a password. */
export function passwordScalar(password) {
  return numberOf(hkdf(sha256, utf8(password), NOTHING, utf8("SPAKE2 pw"), 48)) % ORDER;
}

/** One exchange of one side. */
export class Spake2 {
  #scalar;
  #password;
  #share;

  /** @param scalar a random number from 1 to the order of the group - 1 */
  constructor(role, password, scalar) {
    this.role = role;
    this.#scalar = scalar;
    this.#password = password;
    const own = Point.BASE.multiply(scalar).add(BLINDS[role].multiply(passwordScalar(password)));
    this.#share = own.toBytes();
  }

  /** The bytes to send. */
  get share() {
    return joined(Uint8Array.of(LETTERS[this.role]), this.#share);
  }

  /** Return the agreed key, or null if the other side's share is none. */
  finish(share) {
    const other = otherOf(this.role);
    if (share.length !== 33 || share[0] !== LETTERS[other]) return null;
    const bytes = share.slice(1);
    let point;
    try {
      point = Point.fromBytes(bytes);
    } catch {
      return null;
    }
    if (point.is0() || !point.isTorsionFree()) return null;
    const unblinded = point.subtract(BLINDS[other].multiply(passwordScalar(this.#password)));
    // multiply() refuses the identity's scalar only; the identity itself has the encoding that the protocol wants.
    const shared = unblinded.is0() ? unblinded : unblinded.multiply(this.#scalar);
    const [ofSender, ofReceiver] = this.role === "sender" ? [this.#share, bytes] : [bytes, this.#share];
    return sha256(joined(
      sha256(utf8(this.#password)), sha256(utf8("datachan transfer 1 sender")), sha256(utf8("datachan transfer 1 receiver")),
      ofSender, ofReceiver, shared.toBytes(),
    ));
  }
}

function derived(key, purpose) {
  return hkdf(sha256, key, NOTHING, utf8(`datachan transfer 1 ${purpose}`), 32);
}

/** What both sides derive from the agreed key and the fingerprints, the sender's first. */
export class Keys {
  #key;
  #fingerprints;

  constructor(key, senderFingerprint, receiverFingerprint) {
    this.#key = key;
    this.#fingerprints = joined(senderFingerprint, receiverFingerprint);
    this.session = toHex(derived(key, "session").slice(0, 16));
    this.reconnectSecret = toHex(derived(key, "reconnect"));
  }

  confirmation(role) {
    return hmac(sha256, derived(this.#key, `confirm ${role}`), this.#fingerprints);
  }

  isConfirmation(role, mac) {
    return equalBytes(this.confirmation(role), mac);
  }

  /** The four words that two people compare. */
  get words() {
    const bits = numberOf(hkdf(sha256, this.#key, this.#fingerprints, utf8("datachan transfer 1 words"), 6)) >> 4n;
    return [33n, 22n, 11n, 0n].map((shift) => WORDS[Number((bits >> shift) & 2047n)]);
  }
}
