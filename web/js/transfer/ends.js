// Sentences for the ways in which a transfer ends: what happened, and what to do.

const SENTENCES = {
  refused: (theirs) => theirs ? "The other side does not want the files." : "You declined the files.",
  "wrong-code": (_theirs, sending) => sending
    ? "Someone tried a wrong code, so this code is no longer valid. Send again with a new code."
    : "The code is wrong, or someone sits between you and the sender. The code is used up: ask the sender for a new one.",
  "unknown-session": () => "The sender no longer knows this transfer. If the sender still shows the code, try again.",
  cancelled: (theirs) => theirs ? "The other side stopped the transfer." : "You stopped the transfer.",
  "no-space": (theirs) => theirs ? "The other side's disk is full." : "There is not enough space here. Free some, or receive in a terminal: datachan receive.",
  disk: (theirs) => theirs ? "The other side cannot write the files." : "The browser could not write the files. Try another folder, or receive in a terminal: datachan receive.",
  damaged: () => "Bytes arrived damaged. Send again: what arrived undamaged is kept.",
  "too-large": () => "The offer is larger than the receiver takes.",
  busy: () => "The sender serves someone else with this code. Ask the sender to send to several people.",
  protocol: () => "The two sides do not understand each other. Both need the same version of datachan.",
};

/** Return the sentence for an end. */
export function sentenceOf({ code, reason, byPeer }, sending) {
  const sentence = Object.hasOwn(SENTENCES, code) ? SENTENCES[code](byPeer, sending) : "The transfer failed.";
  return ["failed", "protocol", "disk"].includes(code) && reason ? `${sentence} (${reason})` : sentence;
}
