// Sending and receiving with a code: the forms of the start, the address #/receive/CODE, and the session on display.
// The protocol and its cryptography are loaded when they are needed.

import { paint } from "./paint.js";
import { fetchConfiguration, load as loadModules } from "./server.js";
import { chosen, dropped, pasted } from "./transfer/sources.js";
import { $, announce, clearProblem, showProblem } from "./view.js";
import { needWebRtc } from "./webrtc.js";

const ADDRESS = /^#\/receive\/([^/]{1,100})$/;
const KEPT = "receiving";
const SHOWN_EVERY = 250; // milliseconds while bytes move: a frame for each piece costs as much as receiving the piece

let session = null;
let view = null;
let lock = null;
let code = null; // of the session on display, when it receives

function load() {
  return loadModules(["code", "send", "receive", "storage", "view", "qr"].map((name) => `./transfer/${name}.js`));
}

function page() {
  return location.href.split("#")[0];
}

function show(open) {
  document.body.dataset.view = open ? "transfer" : "";
  $("transfer").hidden = !open;
}

// -- sessions ---------------------------------------------------------------------------------------------------------

async function begin(made) {
  const { SessionView } = await load();
  clearProblem();
  view?.close();
  session = made;
  view = new SessionView(made);
  show(true);
  made.addEventListener("change", () => { if (made.phase !== "moving" || !view.isMoving) paint(refresh); });
  paint(refresh);
  $("t-title").focus();
}

function refresh() {
  if (session === null) return;
  if (session.sending && session.code !== null && $("t-code").textContent !== session.code) showCode();
  view.update();
  keepAwake(session.phase === "moving");
  if (!session.sending && ["done", "ended"].includes(session.phase)) keep(null);
}

async function showCode() {
  const { qrOf } = await load();
  const link = `${page()}#/receive/${session.code}`;
  $("t-code").textContent = session.code;
  $("t-link").value = link;
  $("t-command").textContent = `datachan receive --server ${page()}`;
  $("t-qr").replaceChildren(qrOf(link, `QR code of the link ${link}`));
}

/** Keep the screen on while bytes move; some devices suspend the network when it goes dark. */
async function keepAwake(moving) {
  if (moving === (lock !== null && !lock.released)) return;
  const held = lock;
  lock = moving ? { released: false, release: () => null } : null;
  try {
    if (moving) lock = await navigator.wakeLock.request("screen");
    else await held?.release();
  } catch {
    // the screen may go dark, and the transfer goes on
  }
}

/** Send what `find` returns, a list of sources. */
async function send(find) {
  try {
    needWebRtc();
    // `find` is called at once: the browser forgets what was dropped when the event is over.
    const [sources, { SendSession }] = await Promise.all([find(), load()]);
    await begin(new SendSession(fetchConfiguration, sources, { verify: $("s-verify").checked, to: receivers() }));
  } catch (error) {
    showProblem(error.message);
  }
}

/** Return how many people the files are for. */
function receivers() {
  return Math.min(7, Math.max(1, Math.floor($("s-to").valueAsNumber) || 1)); // a room holds 8 members
}

async function receive(text) {
  try {
    needWebRtc();
    const { keptOnDisk, keptStore, parseCode, ReceiveSession } = await load();
    const wanted = parseCode(text);
    if (wanted === code && session !== null) return;
    session?.cancel();
    code = wanted;
    if (location.hash !== `#/receive/${wanted}`) history.pushState(null, "", `#/receive/${wanted}`);
    const kept = remembered(wanted);
    const store = kept !== null && kept.accepted !== null && kept.where === "private" ? keptStore() : null;
    const disk = store === null ? await keptOnDisk(kept?.disk) : null;
    const made = new ReceiveSession(fetchConfiguration, wanted, kept, { store, disk });
    made.addEventListener("kept", () => keep({ code: wanted, where: made.where, disk: made.storeKey, ...made.kept }));
    await begin(made);
  } catch (error) {
    show(false);
    showProblem(error.message);
  }
}

/** Remember what this tab needs to go on after a reload. */
function keep(value) {
  try {
    if (value === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, JSON.stringify(value));
  } catch {
    // without storage a reloaded page needs the code again
  }
}

function remembered(wanted) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    return kept?.code === wanted ? kept : null;
  } catch {
    return null;
  }
}

// -- accepting --------------------------------------------------------------------------------------------------------

async function acceptHere() {
  const { openKeeping } = await load();
  const { machine } = session;
  try {
    session.accept(await openKeeping(machine.offer, machine.entries));
  } catch {
    showProblem("This browser has no room for it. Receive it in a terminal: datachan receive.");
  }
}

/** Write to the disk what arrives, as it arrives. */
async function acceptToDisk() {
  const { directWay, openDirect, reopened } = await load();
  const { disk, entries, machine } = session;
  try {
    const again = disk === null ? null : await reopened(disk, machine, true);
    const store = again ?? await openDirect(directWay(entries), machine.paths, { keeps: true });
    if (store === null) await acceptHere();
    else session.accept(store);
  } catch (error) {
    if (error.name !== "AbortError") showProblem(`The files cannot be saved there: ${error.message}`);
  }
}

function close() {
  if (!["done", "ended"].includes(session?.phase)) session?.cancel();
  session?.release?.();
  view?.close();
  session = view = code = null;
  keep(null);
  keepAwake(false);
  show(false);
  document.title = "datachan";
  history.pushState(null, "", location.pathname + location.search);
  $("main").focus();
}

function follow() {
  const match = ADDRESS.exec(location.hash);
  if (match !== null) receive(decodeURIComponent(match[1]));
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText($("t-link").value);
    announce("The link is copied");
    $("t-copy").textContent = "Copied";
  } catch {
    $("t-link").focus();
    $("t-link").select();
    $("t-copy").textContent = "Press Ctrl+C";
  }
  setTimeout(() => { $("t-copy").textContent = "Copy link"; }, 2500);
}

async function complete() {
  const modules = await load().catch(() => null);
  const options = modules?.completions($("r-code").value).map((value) => Object.assign(document.createElement("option"), { value }));
  $("r-words").replaceChildren(...options ?? []);
}

function wireStart() {
  $("s-choose").addEventListener("click", () => $("s-files").click());
  $("s-choose-folder").addEventListener("click", () => $("s-folder").click());
  for (const id of ["s-files", "s-folder"]) {
    $(id).addEventListener("change", () => {
      const files = [...$(id).files];
      $(id).value = "";
      send(() => chosen(files));
    });
  }
  $("s-text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("s-text").value;
    if (text !== "") send(() => pasted(text));
  });
  const zone = $("s-drop");
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("dragging");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("dragging"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("dragging");
    const { dataTransfer } = event;
    send(() => dropped(dataTransfer));
  });
  $("r-form").addEventListener("submit", (event) => {
    event.preventDefault();
    receive($("r-code").value);
  });
  $("r-code").addEventListener("input", complete);
}

function wireTransfer() {
  $("t-copy").addEventListener("click", copyLink);
  $("t-accept").addEventListener("click", acceptHere);
  $("t-save").addEventListener("click", acceptToDisk);
  $("t-decline").addEventListener("click", () => session.decline());
  $("t-cancel").addEventListener("click", () => session.cancel());
  $("t-again").addEventListener("click", close);
  $("t-match").addEventListener("click", () => session.agree(true));
  $("t-differ").addEventListener("click", () => session.agree(false));
  $("t-save-all").addEventListener("click", () => {
    for (const link of $("t-saved").querySelectorAll("a")) link.click();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && session?.phase === "moving") keepAwake(true); // a hidden page loses the lock
  });
  addEventListener("hashchange", follow);
  addEventListener("beforeunload", (event) => {
    const sends = session?.sending && ["moving", "reviewing", "comparing"].includes(session.phase);
    const isLost = session?.phase === "moving" && ["downloads", "memory"].includes(session.where);
    if (sends || isLost) event.preventDefault();
  });
  setInterval(() => {
    if (session !== null && ["moving", "interrupted"].includes(session.phase)) paint(refresh);
  }, SHOWN_EVERY);
}

wireStart();
wireTransfer();
follow();
