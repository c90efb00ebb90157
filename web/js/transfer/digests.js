// Digests of pieces and of files. SHA-256 by WebCrypto, which works beside the page; by our own where there is none.

import { Sha256 } from "../sha256.js";
import { fromHex, joined, utf8 } from "./bytes.js";

/** Return the SHA-256 of bytes. */
export async function sha256(bytes) {
  if (globalThis.crypto.subtle === undefined) return fromHex(new Sha256().update(bytes).hex());
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Return the digest of the first `size` bytes of a file, given the digests of their pieces. */
export function fileDigest(size, pieces) {
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(size));
  return sha256(joined(utf8("datachan file 1\n"), new Uint8Array(length.buffer), ...pieces));
}
