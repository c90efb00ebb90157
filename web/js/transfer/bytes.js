// Bytes as hexadecimal digits, numbers and text.

const encoder = new TextEncoder();

export function utf8(text) {
  return encoder.encode(text);
}

export function toHex(bytes) {
  return Array.from(bytes, (value) => value.toString(16).padStart(2, "0")).join("");
}

/** Return as many random bytes, as hexadecimal digits. */
export function randomHex(count) {
  return toHex(crypto.getRandomValues(new Uint8Array(count)));
}

export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

/** Return a big-endian number. */
export function numberOf(bytes) {
  return BigInt(`0x${toHex(bytes)}`);
}

export function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Compare in a time that does not depend on where the difference is. */
export function equalBytes(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a[index] ^ b[index];
  return difference === 0;
}

// A port without another end: what is transferred to it is freed.
const nowhere = new MessageChannel();
nowhere.port2.close();

/** Give the memory of a buffer back at once: browsers collect large buffers late, after tens of megabytes of them. */
export function free(buffer) {
  nowhere.port1.postMessage(null, [buffer]);
}
