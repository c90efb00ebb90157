// A short code of both sides' fingerprints, which two people compare. Python: datachan/sdp/verification_code.py.

import { Sha256 } from "./sha256.js";

const ROUNDS = 8192; // they make it slow to search for certificates with which both sides show the same code
const DIGITS = 20;

/** Return a line with a fingerprint in the form that all stacks write; one of another form stays as it is. */
function normalized(line) {
  const match = /^a=fingerprint:(\S+) ([0-9A-Fa-f:]+)$/.exec(line);
  return match === null ? line : `${match[1].toLowerCase()} ${match[2].toUpperCase()}`;
}

/** Return the code of the local and the remote description: five groups of four digits. */
export function verificationCode(...descriptions) {
  const lines = descriptions.flatMap((text) => text.split(/\r\n|\r|\n/)).filter((line) => /fingerprint/i.test(line));
  let digest = [...new Set(lines.map(normalized))].sort().join("\n");
  const encoder = new TextEncoder();
  for (let round = 0; round < ROUNDS; round++) digest = new Sha256().update(encoder.encode(digest)).hex();
  const digits = String(BigInt(`0x${digest}`) % 10n ** BigInt(DIGITS)).padStart(DIGITS, "0");
  return digits.match(/.{4}/g).join(" ");
}
