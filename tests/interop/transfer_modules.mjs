// Runs the page's pure modules in Node.js: the vectors of the key exchange, and names. Prints JSON.
import { readFileSync } from "node:fs";
import { fromHex, numberOf, toHex } from "../../web/js/transfer/bytes.js";
import { storedPaths } from "../../web/js/transfer/names.js";
import { Keys, passwordScalar, Spake2 } from "../../web/js/transfer/pake.js";
import { Proof } from "../../web/js/transfer/proof.js";
import { Receiving } from "../../web/js/transfer/receiving.js";
import { parseCode } from "../../web/js/transfer/code.js";
import { WORDS } from "../../web/js/transfer/words.js";

const { vectors, paths, codes } = JSON.parse(readFileSync(0, "utf8"));

function exchange(vector) {
  const sides = ["sender", "receiver"].map((role) => (
    new Spake2(role, vector.password, numberOf(fromHex(vector[`${role}_scalar`])))
  ));
  const keys = [sides[0].finish(sides[1].share), sides[1].finish(sides[0].share)];
  const agreed = new Keys(keys[0], fromHex(vector.sender_fingerprint), fromHex(vector.receiver_fingerprint));
  return {
    password: vector.password,
    w: passwordScalar(vector.password).toString(16).padStart(64, "0"),
    sender_share: toHex(sides[0].share),
    receiver_share: toHex(sides[1].share),
    key: toHex(keys[0]),
    other_key: toHex(keys[1]),
    session: agreed.session,
    reconnect_secret: agreed.reconnectSecret,
    sender_confirm: toHex(agreed.confirmation("sender")),
    receiver_confirm: toHex(agreed.confirmation("receiver")),
    words: agreed.words,
  };
}

function reading(text) {
  try {
    return parseCode(text);
  } catch {
    return null;
  }
}

/** Run a proof between two sides that see these fingerprints; return how it ends for the sender. */
function proof(seenByReceiver) {
  const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const sender = new Proof({ role: "sender", password: "1-abandon-zoo", local: a, remote: b });
  const receiver = new Proof({ role: "receiver", password: "1-abandon-zoo", local: b, remote: seenByReceiver ?? a });
  const share = sender.receive(receiver.start()[0]);
  const confirm = receiver.receive(share.send[0]);
  const end = sender.receive(confirm.send[0]);
  return end.failed?.code ?? (receiver.receive(end.send[0]).done !== null ? "proved" : "unproved");
}

/** Return the code with which a receiver of at most 2 files ends, after it has requested `name` and was offered these paths. */
function offered(name, offeredPaths) {
  const receiving = new Receiving({ maxEntries: 2 });
  if (name !== null) receiving.request(name);
  const entries = offeredPaths.map((path) => ({ path, size: 0 }));
  const offer = { type: "offer", version: 1, id: "x", count: entries.length, size: 0, hashes: ["sha256"], piece: 65_536 };
  const events = [offer, { type: "entries", entries }, { type: "offered" }].flatMap((each) => receiving.receive(JSON.stringify(each)));
  return events.find(({ ended }) => ended !== undefined)?.ended.code ?? null;
}

/** Return the code with which a page answers a request. */
function requested() {
  const [, { ended }] = new Receiving().receive(JSON.stringify({ type: "request", name: "a" }));
  return ended.code;
}

const refused = ["0".repeat(64), `01${"0".repeat(62)}`, "ff".repeat(32)].map((point) => (
  new Spake2("sender", "1-abandon-zoo", 5n).finish(fromHex(`42${point}`))
));
console.log(JSON.stringify({
  exchanges: vectors.map(exchange), proofs: [proof(null), proof(new Uint8Array(32).fill(3))], words: WORDS, refused, codes: codes.map(reading),
  offers: [offered(null, ["a", "b"]), offered(null, ["a", "b", "c"]), offered("a", ["a/b", "a/c"]), offered("a", ["b"])], requested: requested(),
  paths: storedPaths(paths.map((path) => ({ path, kind: "file" }))),
}));
