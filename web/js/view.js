// Turns links, messages and transfers into elements. Untrusted text is inserted as text, never as markup.

import { drawChart } from "./chart.js";
import * as format from "./format.js";
import { MAX_ENTRIES, SAMPLES } from "./link.js";
import { Pace } from "./transfer/pace.js";
import { directWay } from "./transfer/storage.js";
import { PLACES, WAYS } from "./transfer/ways.js";

const MAX_NAMES = 20; // of the files of an offer

export const STATES = {
  idle: "Not connected",
  connecting: "Connecting …",
  connected: "Connected",
  interrupted: "Interrupted",
  reconnecting: "Connecting again …",
  failed: "Not connected",
  closed: "Ended",
};

/** Create an element with properties and children; strings become text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function $(id) {
  return document.getElementById(id);
}

/** Announce a text to screen readers. */
export function announce(text) {
  $("announcer").textContent = "";
  requestAnimationFrame(() => { $("announcer").textContent = text; });
}

export function showProblem(text) {
  $("problem-text").textContent = text;
  $("problem").hidden = false;
}

export function clearProblem() {
  $("problem").hidden = true;
}

// -- people -----------------------------------------------------------------------------------------------------------

/** Show the links as a list of buttons. The elements are reused, so that a button keeps the focus. */
export function showPeople(links, selected, select) {
  const list = $("people");
  const known = new Map(Array.from(list.children, (item) => [item.dataset.id, item]));
  links.forEach((link, index) => {
    let item = known.get(link.id);
    known.delete(link.id);
    if (item === undefined) {
      item = element("li", {}, element("button", { type: "button", onclick: () => select(link.id) },
        element("span", { class: "dot", "aria-hidden": "true" }), element("span", { class: "who" }),
        element("span", { class: "unread" }), element("span", { class: "how" })));
      item.dataset.id = link.id;
    }
    const button = item.firstElementChild;
    button.dataset.state = link.state;
    button.querySelector(".who").textContent = link.name;
    button.querySelector(".how").textContent = link.gone ? `${STATES[link.state]} · left the room` : STATES[link.state];
    const unread = button.querySelector(".unread");
    unread.replaceChildren(String(link.unread), element("span", { class: "visually-hidden" }, " new"));
    unread.hidden = link.unread === 0;
    if (link === selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
  });
  for (const item of known.values()) item.remove();
  $("people-empty").hidden = links.length > 0;
}

// -- the conversation -------------------------------------------------------------------------------------------------

export function showHead(link) {
  $("talk-title").textContent = link.name;
  const state = $("talk-state");
  state.dataset.state = link.state;
  if ($("talk-state-text").textContent !== STATES[link.state]) $("talk-state-text").textContent = STATES[link.state];
  $("talk-reason").textContent = link.reason;
  $("talk-reason").hidden = link.reason === "";
  const alive = ["connecting", "connected", "interrupted", "reconnecting"].includes(link.state);
  $("hang-up").hidden = !alive;
  $("call-again").hidden = alive || link.gone;
  $("call-again").textContent = link.state === "idle" ? "Call" : "Call again";
  $("text").disabled = $("send").disabled = $("choose").disabled = $("choose-folder").disabled = !link.canTalk;
  $("files").dataset.disabled = String(!link.canTalk);
  $("text").placeholder = link.canTalk ? "Write a message" : "Not connected";
}

let lastShown = 0; // number of the last entry in the log

export function showLog(link) {
  $("log").replaceChildren();
  lastShown = 0;
  if (link.entries.length === 0) {
    const hint = link.isEcho ? "Write a message: the Python peer sends it back." : "No messages yet.";
    $("log").append(element("p", { class: "placeholder" }, hint));
  }
  showNewEntries(link);
}

/** Add the entries that the log does not show yet, in one step; the layout is computed once for all of them. */
export function showNewEntries(link) {
  const entries = link.entries.filter((entry) => entry.number > lastShown);
  if (entries.length === 0) return;
  lastShown = entries.at(-1).number;
  const log = $("log");
  log.querySelector(".placeholder")?.remove();
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(...entries.map((entry) => element("p", { class: entry.kind === "mine" ? "bubble mine" : "bubble" },
    element("span", { class: "from" }, entry.kind === "mine" ? "You" : link.name), entry.text)));
  for (let surplus = log.children.length - MAX_ENTRIES; surplus > 0; surplus--) log.firstElementChild.remove();
  if (atEnd || entries.some((entry) => entry.kind === "mine")) log.scrollTop = log.scrollHeight;
}

// -- files ------------------------------------------------------------------------------------------------------------

/** One transfer in the list of transfers. */
export class TransferView {
  #transfer;
  #link;
  #bar;
  #numbers;
  #outcome;
  #list;
  #actions;
  #shown = "";
  #pace = new Pace();
  #urls = [];

  constructor(link, transfer, actions) {
    this.#link = link;
    this.#transfer = transfer;
    this.#actions = actions;
    this.name = element("span", { class: "file-name" }, transfer.name);
    this.#numbers = element("span", { class: "numbers" });
    this.#bar = element("progress", { max: 1, value: 0, "aria-label": `Progress of ${transfer.name}` });
    this.#outcome = element("p", { class: "outcome" });
    this.#list = element("ul", { class: "names", hidden: true });
    this.row = element("div", { class: "row" });
    this.item = element("li", { class: "transfer" },
      element("div", { class: "title" }, this.name, this.#numbers), this.#list, this.#bar, this.#outcome, this.row);
    this.update();
  }

  /** Show the current state of the transfer; called when it changes and a few times per second while it moves. */
  update() {
    const transfer = this.#transfer;
    this.name.textContent = transfer.name;
    this.#bar.setAttribute("aria-label", `Progress of ${transfer.name}`);
    this.#bar.hidden = !["moving", "interrupted"].includes(transfer.state);
    this.#bar.value = transfer.size === 0 ? 1 : transfer.moved / transfer.size;
    this.#numbers.textContent = this.#numbersText();
    this.item.dataset.state = transfer.state;
    if (this.#shown === transfer.state) return;
    this.#shown = transfer.state;
    const [text, kind] = this.#outcomeText();
    this.#outcome.textContent = text;
    this.#outcome.dataset.kind = kind;
    this.#listNames();
    this.#showActions();
  }

  /** Remove the transfer from the page, and release the file that it received. */
  remove() {
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#transfer.release();
    this.item.remove();
  }

  /** The state of the transfer, in a sentence. */
  get outcome() {
    return this.#outcomeText()[0];
  }

  #numbersText() {
    const { state, moved, size, started, finished } = this.#transfer;
    if (state === "moving") {
      const now = performance.now();
      this.#pace.add(now, moved);
      const left = this.#pace.left(now, size);
      const remaining = left === null ? "" : ` · ${format.seconds(left)} left`;
      return `${format.bytes(moved)} of ${format.bytes(size)} · ${format.rate(this.#pace.rate(now))}${remaining}`;
    }
    if (state === "interrupted") return `${format.bytes(moved)} of ${format.bytes(size)}`;
    if (state === "done" && size > 0) {
      return `${format.bytes(size)} · ${format.rate(size / Math.max(0.001, (finished - started) / 1000))}`;
    }
    return size > 0 || state !== "waiting" ? format.bytes(size) : "";
  }

  #outcomeText() {
    const { state, direction, reason, code } = this.#transfer;
    const other = this.#link.name;
    if (code === "not-found") return [`${other} does not offer this: ${reason}.`, "bad"];
    switch (state) {
      case "waiting": return [`Waiting for ${other} …`, ""];
      case "offered":
        return [direction === "out" ? `Waiting for ${other} to accept …` : `${other} wants to send you ${this.#what()}.`, ""];
      case "moving": return [direction === "out" ? "Sending" : "Receiving", ""];
      case "interrupted": return [this.#interruptedText(), ""];
      case "done": return this.#doneText();
      case "refused": return [`Declined: ${reason}.`, "bad"];
      case "cancelled": return [`Cancelled${reason && reason !== "cancelled" ? `: ${reason}` : ""}.`, "bad"];
      default: return [`Failed: ${reason}. ${direction === "out" ? "Send it again." : `Ask ${other} to send it again.`}`, "bad"];
    }
  }

  #interruptedText() {
    const { moved, size, accepted } = this.#transfer;
    const other = this.#link.name;
    if (!accepted) return `The connection is gone. Waits for ${other}, and goes on by itself.`;
    return `The connection is gone. Waits for ${other}, goes on at ${size > 0 ? Math.floor(100 * moved / size) : 100} %.`;
  }

  #what() {
    const { entries } = this.#transfer;
    if (entries.length > 1) return "these files";
    return { file: "this file", folder: "this empty folder", text: "a text" }[entries[0].kind];
  }

  #doneText() {
    const { direction, missing, blobs, where } = this.#transfer;
    if (missing > 0) return [`${missing} ${missing === 1 ? "file" : "files"} could not be read by the sender.`, "bad"];
    if (direction === "out") return [`Sent. ${this.#link.name} has stored and verified it.`, "good"];
    return [blobs.size > 0 ? "Received and verified." : `Received, verified and ${PLACES[where]}.`, "good"];
  }

  /** List the names of several files, as they will be stored. */
  #listNames() {
    const { names, blobs } = this.#transfer;
    this.#list.hidden = names.length < 2 || blobs?.size > 0; // the links to save name them
    if (names.length < 2) return;
    const rest = names.length - MAX_NAMES;
    const shown = names.slice(0, MAX_NAMES).map((name) => element("li", {}, name));
    this.#list.replaceChildren(...shown, ...(rest > 0 ? [element("li", {}, `and ${rest} more`)] : []));
  }

  /** Show links to save what arrived; a text is shown itself. */
  async #offerToSave() {
    const { blobs, entries, names } = this.#transfer;
    if (entries[0].kind === "text") {
      const value = await blobs.get(0).text();
      this.row.prepend(element("textarea", { readOnly: true, rows: 4, "aria-label": "The text that was sent", value }));
      return;
    }
    const links = [...blobs].sort(([a], [b]) => a - b).map(([file, blob]) => {
      // Never a type that the browser would execute when the person opens the file from this page.
      const url = URL.createObjectURL(blob.slice(0, blob.size, "application/octet-stream"));
      this.#urls.push(url);
      const [name, download] = [names[file], names[file].split("/").at(-1)];
      const text = blobs.size === 1 ? "Save" : `Save ${name}`;
      return element("a", { class: "button", href: url, download, "aria-label": `Save: ${name}` }, text);
    });
    if (links.length > 1) {
      const all = () => { for (const link of links) link.click(); };
      this.row.append(element("button", { type: "button", class: "slim primary", onclick: all }, "Save all"));
    }
    this.row.append(...links.slice(0, MAX_NAMES));
  }

  #showActions() {
    const transfer = this.#transfer;
    const { state, direction, name } = transfer;
    this.row.replaceChildren();
    const button = (text, act, extra = "") => this.row.append(element(
      "button", { type: "button", class: `slim ${extra}`, "aria-label": `${text}: ${name}`, onclick: act }, text));
    if (direction === "in" && state === "offered") {
      const way = directWay(transfer.entries);
      button("Accept", () => transfer.accept(), "primary");
      if (way !== null) button(WAYS[way][0], () => transfer.accept(true));
      button("Decline", () => transfer.reject());
    } else if (!transfer.ended) {
      button("Cancel", () => transfer.cancel());
    } else if (direction === "in" && state === "done") {
      this.#offerToSave();
    } else if (direction === "out" && state === "done" && this.#link.isEcho) {
      button("Ask for it back", () => this.#actions.askBack(transfer.tops));
    } else if (direction === "in" && transfer.tops.length <= MAX_NAMES) {
      button("Ask for it again", () => this.#actions.askBack(transfer.tops));
    }
    if (transfer.ended) {
      button("Remove", () => this.#actions.remove(), "quiet");
    }
  }
}

// -- measurements -----------------------------------------------------------------------------------------------------

export function showSamples(link, spoken) {
  const rtt = link.rtts.at(-1) ?? null;
  const rate = link.rates.at(-1) ?? 0;
  $("rtt-now").textContent = rtt === null ? "–" : format.milliseconds(rtt);
  $("rate-now").textContent = link.rates.length === 0 ? "–" : format.rate(rate);
  drawChart($("rtt-chart"), link.rtts, {
    count: SAMPLES, format: (value) => `${value} ms`, variable: "--accent", floor: 1,
  });
  drawChart($("rate-chart"), link.rates, { count: SAMPLES, format: format.rate, variable: "--rate", floor: 10_000 });
  if (spoken) {
    const known = link.rtts.filter((sample) => sample !== null);
    $("rtt-chart").setAttribute("aria-label", known.length === 0
      ? "Round-trip time: nothing measured yet"
      : `Round-trip time over the last minute: between ${format.milliseconds(Math.min(...known))} and ${format.milliseconds(Math.max(...known))}`);
    $("rate-chart").setAttribute("aria-label",
      `Throughput over the last minute: at most ${format.rate(Math.max(0, ...link.rates))}`);
  }
  showFacts(link.facts);
}

function showFacts(facts) {
  const rows = [
    ["Sent", facts.sent === undefined ? "" : format.bytes(facts.sent)],
    ["Received", facts.received === undefined ? "" : format.bytes(facts.received)],
    ["Path", facts.path ?? ""],
    ["Encryption", facts.dtls ?? ""],
    ["Code to compare", facts.code ?? ""],
    ["Longest message", facts.limit === undefined ? "" : Number.isFinite(facts.limit) ? format.bytes(facts.limit) : "no limit"],
  ];
  $("facts").replaceChildren(...rows.filter(([, value]) => value !== "").map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}
