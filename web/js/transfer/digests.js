// Digests of pieces and of files. SHA-256 by WebCrypto, which works beside the page; by a library where there is none.

import { joined, utf8 } from "./bytes.js";
import { plainSha256 } from "./pake.js";

/** Return the SHA-256 of bytes. */
export async function sha256(bytes) {
  if (globalThis.crypto.subtle === undefined) return plainSha256(bytes);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Return the digest of the first `size` bytes of a file, given the digests of their pieces. */
export function fileDigest(size, pieces) {
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(size));
  return sha256(joined(utf8("datachan file 1\n"), new Uint8Array(length.buffer), ...pieces));
}
