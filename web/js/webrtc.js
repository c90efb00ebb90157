// What the page needs of the browser's WebRTC: that it is there, and one certificate for all connections of this page.

import { within } from "./server.js";

const CERTIFICATE_TIMEOUT = 5_000; // milliseconds in which the browser makes a certificate

/** The certificate by which others know this page again after a break; empty if the browser makes one for each connection. */
export const certificates = [];

/** Throw an error for the person if the browser cannot connect to anybody. */
export function needWebRtc() {
  if (window.RTCPeerConnection !== undefined) return;
  throw new Error("This page cannot connect to anybody: the browser has no WebRTC, or it is switched off.");
}

/** Make the certificate. Resolves after a while even if the browser has not made it: calls are made without it then. */
export async function certify() {
  await within(CERTIFICATE_TIMEOUT, makeCertificate()).catch(() => null);
}

async function makeCertificate() {
  certificates.push(await RTCPeerConnection.generateCertificate({ name: "ECDSA", namedCurve: "P-256" }));
}
