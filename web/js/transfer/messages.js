// The control messages of docs/transfer-protocol.md: reads a peer's text, and throws BadMessage only. Knows no order.

import { cleanText } from "./names.js";

export const CHANNEL_LABEL = "transfer";
export const CHANNEL_PROTOCOL = "datachan-transfer-1";

const MAX_MESSAGE = 60_000; // bytes of UTF-8
const MAX_NUMBER = Number.MAX_SAFE_INTEGER;
export const MAX_ENTRIES = 100_000;
const MAX_PAGE = 1000;
const MAX_FILES = 500;
const MAX_PATH = 1024;
const MAX_DEPTH = 64;
export const MAX_TEXT = 1024 * 1024;
const MIN_PIECE = 65_536;
const MAX_PIECE = 16_777_216;
const MAX_REASON = 500;
const END_CODES = [
  "refused", "wrong-code", "unknown-session", "cancelled", "no-space", "disk", "damaged", "too-large", "not-found", "busy", "protocol", "failed",
];

/** A message of the peer that breaks the protocol. */
export class BadMessage extends Error {}

/** Return the message as an object, or null if its type is not known; throw BadMessage if it is malformed. */
export function parseMessage(text) {
  if (text.length > MAX_MESSAGE || byteLength(text) > MAX_MESSAGE) throw new BadMessage("a control message is too long");
  let fields;
  try {
    fields = JSON.parse(text);
  } catch {
    throw new BadMessage("a control message is not JSON");
  }
  if (fields === null || typeof fields !== "object" || typeof fields.type !== "string") {
    throw new BadMessage("a control message has no type");
  }
  const parser = PARSERS.get(fields.type);
  return parser === undefined ? null : { type: fields.type, ...parser(fields) };
}

export function endMessage(code, text, more = {}) {
  return JSON.stringify({ type: "end", code, reason: cleanText(text, MAX_REASON), ...more });
}

export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

function integer(value, name, low = 0, high = MAX_NUMBER) {
  if (!Number.isSafeInteger(value) || value < low || value > high) throw new BadMessage(`${name} is not a number from ${low} to ${high}`);
  return value;
}

function file(value) {
  return integer(value, "file", 0, MAX_ENTRIES - 1);
}

function digits(value, name, bytes) {
  if (typeof value !== "string" || value.length !== 2 * bytes || !/^[0-9a-f]+$/.test(value)) {
    throw new BadMessage(`${name} is not ${2 * bytes} hexadecimal digits`);
  }
  return value;
}

function reason(value) {
  return cleanText(typeof value === "string" ? value : "", MAX_REASON) || "no reason given";
}

function version(fields) {
  if (fields.version !== 1) throw new BadMessage("the peer does not speak version 1 of the protocol: both sides need the same version");
}

function rows(fields, width, limit) {
  const value = fields.files;
  if (!Array.isArray(value) || value.length > limit || !value.every((row) => Array.isArray(row) && row.length === width)) {
    throw new BadMessage(`files is not a list of at most ${limit} lists of ${width}`);
  }
  return value;
}

function identifier(value) {
  if (typeof value !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(value)) throw new BadMessage("id is malformed");
  return value;
}

function offer(fields) {
  version(fields);
  const { hashes } = fields;
  if (!Array.isArray(hashes) || hashes.length > 16 || !hashes.includes("sha256")) throw new BadMessage("hashes is not a list with sha256");
  const piece = integer(fields.piece, "piece", MIN_PIECE, MAX_PIECE);
  if ((piece & (piece - 1)) !== 0) throw new BadMessage("piece is not a power of two");
  return {
    id: identifier(fields.id),
    count: integer(fields.count, "count", 1, MAX_ENTRIES),
    size: fields.size === null || fields.size === undefined ? null : integer(fields.size, "size"),
    piece,
  };
}

function pathOf(path, name) {
  if (typeof path !== "string" || path === "" || byteLength(path) > MAX_PATH || path.split("/").length > MAX_DEPTH) {
    throw new BadMessage(`${name} is empty, longer than ${MAX_PATH} bytes or deeper than ${MAX_DEPTH} components`);
  }
  return path;
}

function entry(fields) {
  if (fields === null || typeof fields !== "object") throw new BadMessage("an entry is not a JSON object");
  const { kind = "file" } = fields;
  const path = pathOf(fields.path, "path");
  if (!["file", "folder", "text"].includes(kind)) throw new BadMessage("kind is not file, folder or text");
  const mtime = fields.mtime === undefined ? null : integer(fields.mtime, "mtime", -MAX_NUMBER);
  return { path, kind, size: entrySize(fields, kind), mtime, executable: fields.executable === true };
}

function entrySize(fields, kind) {
  if (kind === "folder") return 0;
  if (kind === "text") return integer(fields.size, "size", 0, MAX_TEXT);
  return fields.size === null ? null : integer(fields.size, "size");
}

function entries(fields) {
  const value = fields.entries;
  if (!Array.isArray(value) || value.length < 1 || value.length > MAX_PAGE) throw new BadMessage(`entries is not a list of 1 to ${MAX_PAGE}`);
  return { entries: value.map(entry) };
}

const PARSERS = new Map(Object.entries({
  pake: (fields) => {
    version(fields);
    const session = fields.session === undefined ? null : digits(fields.session, "session", 16);
    return { share: digits(fields.share, "share", 33), session };
  },
  confirm: (fields) => ({ mac: digits(fields.mac, "mac", 32), verify: fields.verify === true }),
  offer,
  entries,
  offered: () => ({}),
  have: (fields) => ({ files: rows(fields, 3, MAX_FILES).map(([f, n, d]) => [file(f), integer(n, "offset"), digits(d, "digest", 32)]) }),
  unwanted: (fields) => ({ files: rows(fields, 2, MAX_PAGE).map(([first, last]) => [file(first), file(last)]) }),
  accept: (fields) => ({ id: identifier(fields.id), hash: fields.hash, credit: integer(fields.credit, "credit") }),
  resume: (fields) => ({ file: file(fields.file), offset: integer(fields.offset, "offset") }),
  size: (fields) => ({ file: file(fields.file), size: integer(fields.size, "size") }),
  missing: (fields) => ({ file: file(fields.file), reason: reason(fields.reason) }),
  sent: () => ({}),
  credit: (fields) => ({ bytes: integer(fields.bytes, "bytes"), durable: integer(fields.durable, "durable") }),
  stored: (fields) => ({ files: rows(fields, 2, MAX_FILES).map(([f, d]) => [file(f), digits(d, "digest", 32)]) }),
  complete: () => ({}),
  request: ({ name }) => ({ name: (name ?? null) === null ? null : pathOf(name, "name") }),
  end: (fields) => ({
    code: END_CODES.includes(fields.code) ? fields.code : "failed",
    reason: reason(fields.reason),
    missing: fields.missing === undefined ? null : integer(fields.missing, "missing"),
  }),
}));
