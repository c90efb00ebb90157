// Shows a session of sending or receiving: what it is about, how far it is, and what can be done now. Knows no protocol.

import * as format from "../format.js";
import { $, announce, element } from "../view.js";
import { sentenceOf } from "./ends.js";
import { totalSize } from "./entries.js";
import { Pace } from "./pace.js";
import { directWay } from "./storage.js";
import { PLACES, WAYS } from "./ways.js";

const MAX_SHOWN = 200; // files in the list

const TITLES = {
  sending: {
    finding: "Getting a code …", waiting: "Ready to send", comparing: "Compare the words", reviewing: "The other side looks at it",
    moving: "Sending", interrupted: "Waiting for the receiver", done: "Sent", ended: "Not sent",
  },
  receiving: {
    finding: "Looking for the sender …", waiting: "Waiting for the sender", connecting: "Connecting …", reviewing: "Someone sends you this",
    moving: "Receiving", interrupted: "Waiting for the sender", done: "Received", ended: "Not received",
  },
};

const HINTS = {
  sending: {
    waiting: "Tell the other person the code, or let them open the link. Keep this page open.",
    comparing: "Both pages show four words. Ask the other person: if theirs differ, someone sits between you.",
    reviewing: "The code is proved. The other person decides now.",
    interrupted: "The connection is gone. The receiver goes on where it was with the same code. Keep this page open.",
    done: "Everything arrived undamaged and is stored.",
  },
  receiving: {
    waiting: "No sender waits with this code. Check the number, or wait: it goes on by itself.",
    interrupted: "The connection is gone. It goes on by itself where it was when the sender is back.",
  },
};

const OFFLINE = "The server does not answer. It goes on by itself when the server is back.";
const NEEDS_SERVER = ["finding", "waiting", "connecting", "interrupted"];

const KEEP = "Or keep it in the browser first, where it goes on after the page was reloaded, and save it at the end.";
const AGAIN = ["Go on where it was", "The page was reloaded. It goes on where you had it saved, when you allow it."];

const RECEIVER_PHASES = {
  comparing: "compares the words", reviewing: "looks at it", interrupted: "connection lost, may come back", done: "has everything",
};

/** Return a size and a count in words. */
export function describeAmount(entries) {
  if (entries[0]?.kind === "text") return `a text, ${format.bytes(entries[0].size)}`;
  const files = entries.filter((entry) => entry.kind !== "folder").length;
  const size = totalSize(entries);
  const known = entries.every((entry) => entry.size !== null);
  return `${files === 1 ? "1 file" : `${files} files`}, ${known ? format.bytes(size) : "of unknown size"}`;
}

export class SessionView {
  #session;
  #pace = new Pace();
  #rows = [];
  #shownPhase = "";
  #shownOffline = false;
  #shownReceivers = "";
  #listed = null;
  #urls = [];

  constructor(session) {
    this.#session = session;
    $("t-files").replaceChildren();
    $("t-saved").replaceChildren();
    $("t-receivers").replaceChildren();
  }

  /** Whether the shown phase is that of moving bytes. */
  get isMoving() {
    return this.#shownPhase === "moving";
  }

  /** Show the session as it is now; called at most once a frame, and a few times a second while it moves. */
  update() {
    const session = this.#session;
    const { phase } = session;
    this.#list();
    this.#showProgress();
    this.#showReceivers();
    $("t-code-card").hidden = session.sending ? !session.isOpen : true;
    const isOffline = session.isOffline && NEEDS_SERVER.includes(phase);
    if (phase === this.#shownPhase && isOffline === this.#shownOffline) return;
    this.#shownPhase = phase;
    this.#shownOffline = isOffline;
    this.#showPhase();
  }

  #showPhase() {
    const session = this.#session;
    const { phase } = session;
    const kind = session.sending ? "sending" : "receiving";
    const more = phase === "waiting" && session.receivers?.length > 0;
    const title = more ? "Waiting for the next receiver" : TITLES[kind][phase];
    $("t-title").textContent = title;
    $("t-hint").textContent = this.#shownOffline ? OFFLINE : this.#hint(kind);
    $("t-amount").textContent = session.entries.length > 0 ? describeAmount(session.entries) : "";
    $("transfer").dataset.phase = phase;
    $("t-words").hidden = session.words === null || !(phase === "comparing" || (session.verify && phase === "reviewing"));
    $("t-words-list").textContent = session.words?.join(" · ") ?? "";
    $("t-compare").hidden = phase !== "comparing";
    this.#showReview(!session.sending && phase === "reviewing");
    $("t-cancel").hidden = ["done", "ended"].includes(phase) || (!session.sending && phase === "reviewing");
    $("t-again").hidden = !["done", "ended"].includes(phase);
    announce(`${title}. ${$("t-hint").textContent}`);
    if (phase === "done" && !session.sending) this.#showSaved();
  }

  #hint(kind) {
    const { phase, end, missing, machine } = this.#session;
    if (phase === "ended") return sentenceOf(end, kind === "sending");
    if (phase === "done" && end !== null) return this.#partly();
    const lost = (missing ?? machine?.missing)?.size ?? 0;
    if (phase === "done" && lost > 0) return `${lost} files could not be read by the sender, and are missing.`;
    return HINTS[kind][phase] ?? "";
  }

  /** Return the sentence for several receivers of whom some did not get everything. */
  #partly() {
    const { receivers, to, end } = this.#session;
    const done = receivers.filter(({ phase }) => phase === "done").length;
    return `${done} of ${to} people have everything. ${sentenceOf(end, true)}`;
  }

  /** Offer the ways in which the files can be received. */
  #showReview(shown) {
    $("t-review").hidden = !shown;
    $("t-ways").hidden = true;
    if (!shown) return;
    const { disk, entries } = this.#session;
    const way = directWay(entries);
    $("t-save").hidden = way === null;
    $("t-accept").className = way === null ? "primary" : "";
    $("t-accept").textContent = way === null ? "Receive" : "Keep in the browser";
    if (way === null) return;
    const [label, sentence] = disk === null ? WAYS[way] : AGAIN;
    $("t-save").textContent = label;
    $("t-ways").textContent = `${sentence} ${KEEP}`;
    $("t-ways").hidden = false;
  }

  /** List the receivers, if there may be several. */
  #showReceivers() {
    const { receivers = [], to = 1 } = this.#session;
    $("t-receivers").hidden = to === 1;
    const lines = receivers.map((receiver) => `Receiver ${receiver.number}: ${stateOf(receiver)}`);
    for (let number = receivers.length + 1; to > 1 && number <= to; number++) lines.push(`Receiver ${number}: has not come yet`);
    if (to === 1 || lines.join() === this.#shownReceivers) return;
    this.#shownReceivers = lines.join();
    $("t-receivers").replaceChildren(...lines.map((line) => element("li", {}, line)));
  }

  /** List the names once, as they will be stored. */
  #list() {
    const { names, entries } = this.#session;
    if (this.#listed === names.length || names.length === 0) return;
    this.#listed = names.length;
    this.#rows = names.slice(0, MAX_SHOWN).map((name, file) => {
      const bar = element("progress", { max: 1, value: 0, hidden: true, "aria-label": `Progress of ${name}` });
      const state = element("span", { class: "numbers" }, sizeOf(entries[file]));
      return { bar, state, item: element("li", {}, element("span", { class: "file-name" }, name), state, bar) };
    });
    $("t-files").replaceChildren(...this.#rows.map(({ item }) => item));
    if (names.length > MAX_SHOWN) $("t-files").append(element("li", { class: "hint" }, `and ${names.length - MAX_SHOWN} more`));
  }

  #showProgress() {
    const session = this.#session;
    const { phase, moved, size, entries } = session;
    const moving = ["moving", "interrupted"].includes(phase) && size !== null && (moved > 0 || phase === "moving");
    $("t-progress").hidden = $("t-numbers").hidden = !moving;
    if (moving) {
      const now = performance.now();
      this.#pace.add(now, moved);
      const known = entries.every((entry) => entry.size !== null);
      $("t-progress").value = size > 0 ? moved / size : 1;
      $("t-numbers").textContent = this.#numbers(now, known);
    }
    const part = size > 0 ? Math.floor(100 * Math.min(1, moved / size)) : 0;
    const title = phase === "moving" ? `${part} % · datachan` : `${$("t-title").textContent} · datachan`;
    if (document.title !== title) document.title = title;
    this.#rows.forEach(({ bar, state }, file) => {
      const done = session.fileStates.get(file);
      if (done === undefined) return;
      const stored = done === "stored";
      bar.hidden = stored;
      if (!stored) bar.value = done / (entries[file].size || 1);
      if (stored) state.textContent = `${sizeOf(entries[file])} ✓`;
    });
  }

  #numbers(now, known) {
    const { moved, size, path } = this.#session;
    const rate = this.#pace.rate(now);
    const left = known ? this.#pace.left(now, size) : null;
    return [
      known ? `${format.bytes(moved)} of ${format.bytes(size)}` : format.bytes(moved),
      rate > 0 ? format.rate(rate) : "no bytes at the moment",
      left === null ? "time left unknown" : `${format.seconds(left)} left`,
      path,
    ].filter(Boolean).join(" · ");
  }

  /** Offer what was received: links to save files, or the text. */
  async #showSaved() {
    const { blobs, entries, names, where } = this.#session;
    const list = $("t-saved");
    for (const [file, blob] of [...blobs].sort(([a], [b]) => a - b)) {
      if (entries[file].kind === "text") {
        list.append(element("textarea", { readOnly: true, rows: 6, "aria-label": "The text that was sent", value: await blob.text() }));
        continue;
      }
      // Never a type that the browser would execute when the person opens the file from this page.
      const url = URL.createObjectURL(blob.slice(0, blob.size, "application/octet-stream"));
      this.#urls.push(url);
      const name = names[file].split("/").at(-1);
      list.append(element("a", { class: "button", href: url, download: name }, `Save ${names[file]}`));
    }
    $("t-save-all").hidden = this.#urls.length < 2;
    if (this.#urls.length > 0) $("t-hint").textContent = "Everything arrived undamaged. Save it from this page: the browser keeps it until the next transfer.";
    else if (blobs.size === 0) $("t-hint").textContent = `Everything arrived undamaged and is ${PLACES[where]}.`;
    else $("t-hint").textContent = "The text arrived undamaged.";
  }

  close() {
    for (const url of this.#urls) URL.revokeObjectURL(url);
  }
}

/** Return the state of one of several receivers in words. */
function stateOf({ phase, moved, size, path, end }) {
  if (phase === "moving") return [`${Math.floor(100 * moved / (size || 1))} %`, path].filter(Boolean).join(" · ");
  return phase === "ended" ? sentenceOf(end, true) : RECEIVER_PHASES[phase];
}

function sizeOf(entry) {
  if (entry.kind === "folder") return "folder";
  return entry.size === null ? "unknown size" : format.bytes(entry.size);
}
