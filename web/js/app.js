// The page: the room named in the address, a link to each of its members, and the selected link on display.

import { PeerLink, SAMPLE_INTERVAL } from "./link.js";
import { paint } from "./paint.js";
import { fetchConfiguration } from "./server.js";
import { RoomSocket } from "./signaling.js";
import { chosen, dropped } from "./transfer/sources.js";
import {
  $, announce, clearProblem, showHead, showLog, showNewEntries, showPeople, showProblem, showSamples, STATES,
  TransferView,
} from "./view.js";
import { certificates, certify, needWebRtc } from "./webrtc.js";

const ECHO_ID = "echo";
const MAX_LINKS = 32; // members that left are removed past this
const FIRST_PAUSE = 500; // milliseconds until the server is asked for the configuration again
const LAST_PAUSE = 10_000;
const QUIET = ["Amber", "Blue", "Bright", "Calm", "Clever", "Gentle", "Green", "Quick", "Quiet", "Silver", "Sunny", "Warm"];
const NAMES = ["Badger", "Finch", "Fox", "Hare", "Heron", "Lynx", "Otter", "Owl", "Raven", "Robin", "Seal", "Wren"];

let config = null;
let certified = null; // a promise that calls wait for
let room = null; // a RoomSocket
const links = new Map();
let selected = null;
const views = new Map(); // from transfer to TransferView
let spokenAt = 0;
let sender = null; // the link of the last message that is not on display

// -- the room ---------------------------------------------------------------------------------------------------------

function roomInAddress() {
  const name = decodeURIComponentSafely(location.hash.slice(1));
  return /^[A-Za-z0-9_-]{1,64}$/.test(name) ? name : null;
}

function decodeURIComponentSafely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function newRoomName() {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789"; // without letters and digits that look alike
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (value) => letters[value % 32]).join("");
}

function roomLink(name) {
  return new URL(`#${name}`, location.href.split("#")[0]).href;
}

function join(name) {
  clearProblem();
  remember("name", $("name").value.trim());
  if (location.hash.slice(1) !== name) history.pushState(null, "", `#${name}`);
  room = new RoomSocket(enter, name, $("name").value.trim());
  const joined = room;
  const during = (handler) => (event) => { if (room === joined) handler(event.detail); };
  room.addEventListener("welcome", during(welcomed));
  room.addEventListener("peer-joined", during(({ peer }) => {
    addLink(peer).joined();
    announce(`${peer.name} joined the room`);
  }));
  room.addEventListener("peer-left", during(({ id }) => peerLeft(id)));
  room.addEventListener("signal", during(signaled));
  room.addEventListener("fault", during((message) => {
    for (const link of links.values()) link.refused(message);
  }));
  room.addEventListener("refused", during((message) => {
    leave();
    showProblem(message.message);
  }));
  room.addEventListener("down", during(() => {
    $("room-status").textContent = "No connection to the server; trying again …";
  }));
  $("room-status").textContent = "Joining …";
  sessionRemember("joined", name);
  showRoom(name);
  $("main").focus();
}

function welcomed(welcome) {
  $("room-status").textContent = "";
  // After the signaling connection broke, ids are the same and the calls go on: only who is not connected is called.
  // Back in its place without a gap, the page gets the offers that it missed, and calls go on as they were.
  for (const peer of welcome.peers) {
    const link = addLink(peer);
    if (welcome.seamless ? link.state === "failed" : !link.isUp) link.call();
  }
  refresh();
}

function signaled(message) {
  const link = links.get(message.from) ?? (message.type === "offer" ? addLink({ id: message.from, name: "Guest" }) : null);
  if (link === null) return;
  if (message.type !== "offer") {
    link.handle(message);
  } else if (link.isCalling && room.id < message.from) {
    // Both sides called at the same time: both use the offer of the smaller id.
  } else {
    link.answer(message);
  }
}

function peerLeft(id) {
  const link = links.get(id);
  if (link === undefined) return;
  announce(`${link.name} left the room`);
  link.gone = true;
  if (link.state === "connecting") link.hangUp("The other person left the room.");
  else link.left();
  tidy(link);
  refresh();
}

/** Remove the link of a member that left, unless it has messages, files or a live connection. */
function tidy(link) {
  const over = ["idle", "failed", "closed"].includes(link.state);
  if (link.gone && over && link.entries.length === 0 && link.transfers.list.length === 0) removeLink(link.id);
}

function leave() {
  room?.leave();
  room = null;
  sessionRemember("joined", null);
  for (const [id, link] of links) {
    link.hangUp();
    removeLink(id);
  }
  history.pushState(null, "", location.pathname + location.search);
  $("room-status").textContent = "";
  showStart();
  $("main").focus();
}

// -- links ------------------------------------------------------------------------------------------------------------

function addLink(peer) {
  const known = links.get(peer.id);
  if (known !== undefined) {
    known.gone = false;
    if (known === selected) showHead(known);
    paint(refresh);
    return known;
  }
  const configuration = { iceServers: config.iceServers, certificates };
  const link = new PeerLink(peer, peer.id === ECHO_ID
    ? { configuration, echoPath: config.echo }
    : { configuration, sendSignal: (message) => room?.send(message) });
  links.set(link.id, link);
  link.addEventListener("state", () => linkChanged(link));
  link.addEventListener("entry", () => entryAdded(link));
  link.transfers.addEventListener("added", ({ detail }) => transferAdded(link, detail));
  link.transfers.addEventListener("dropped", ({ detail }) => dropView(detail));
  link.addEventListener("sample", () => sampled(link));
  if (selected === null) select(link.id);
  if (links.size > MAX_LINKS) removeOldest();
  refresh();
  return link;
}

function removeOldest() {
  for (const [id, link] of links) {
    if (link.gone && link !== selected && ["idle", "failed", "closed"].includes(link.state)) {
      removeLink(id);
      return;
    }
  }
}

function removeLink(id) {
  for (const transfer of links.get(id)?.transfers.list ?? []) dropView(transfer);
  links.delete(id);
  if (selected?.id === id) {
    selected = null;
    const next = links.keys().next();
    if (!next.done) select(next.value);
  }
}

function linkChanged(link) {
  if (link === selected) showHead(link);
  tidy(link);
  paint(refresh);
  if (link !== selected && ["connected", "failed"].includes(link.state)) announce(`${link.name}: ${STATES[link.state]}`);
}

function entryAdded(link) {
  if (link === selected) {
    link.unread = 0;
    paint(showEntries);
  } else {
    sender = link;
    paint(announceSender);
  }
  paint(refresh);
}

function showEntries() {
  if (selected !== null) showNewEntries(selected);
}

function announceSender() {
  announce(`Message from ${sender.name}`);
}

function transferAdded(link, transfer) {
  const view = new TransferView(link, transfer, {
    askBack: (names) => {
      for (const name of names) link.requestFile(name);
    },
    remove: () => {
      link.transfers.forget(transfer);
      dropView(transfer);
      $("choose").focus();
    },
  });
  views.set(transfer, view);
  transfer.addEventListener("change", () => view.update());
  const announceOffer = () => {
    if (transfer.direction === "in" && transfer.state === "offered") announce(`${link.name} wants to send ${transfer.name}`);
  };
  announceOffer();
  transfer.addEventListener("change", announceOffer);
  transfer.addEventListener("ended", () => announce(`${transfer.name}: ${view.outcome}`));
  if (link === selected) $("transfers").prepend(view.item);
}

function dropView(transfer) {
  views.get(transfer)?.remove();
  views.delete(transfer);
}

function sampled(link) {
  if (link !== selected) return;
  const now = performance.now();
  const spoken = now - spokenAt > 5000;
  if (spoken) spokenAt = now;
  showSamples(link, spoken);
}

function select(id) {
  const link = links.get(id);
  if (link === undefined) return;
  selected = link;
  link.unread = 0;
  showHead(link);
  showLog(link);
  $("transfers").replaceChildren(...link.transfers.list.map((transfer) => views.get(transfer).item).reverse());
  refresh();
  showSamples(link, true);
}

async function callEcho() {
  clearProblem();
  if (room === null) showRoom(null);
  const link = addLink({ id: ECHO_ID, name: "Python peer" });
  select(ECHO_ID);
  $("talk-title").focus();
  await certified;
  if (["idle", "failed", "closed"].includes(link.state)) link.call();
}

// -- display ----------------------------------------------------------------------------------------------------------

function showStart() {
  $("start").hidden = false;
  $("insecure").hidden = window.isSecureContext;
  $("room").hidden = true;
  const invited = roomInAddress();
  $("join-title").textContent = invited === null ? "Meet in a room" : "You are invited";
  $("join-hint").textContent = invited === null
    ? "Start a room and send its link to the people you want to meet."
    : `Join the room ${invited}. Its people connect to your browser directly, so they learn your address.`;
  $("join-button").textContent = invited === null ? "Start a room" : "Join the room";
  document.title = "datachan";
}

function showRoom(name) {
  $("start").hidden = true;
  $("room").hidden = false;
  $("room-card").hidden = name === null;
  $("room-name").textContent = name ?? "";
  $("own-name").textContent = room?.name ?? "";
  $("link-field").value = name === null ? "" : roomLink(name);
  $("people-empty").textContent = name === null ? "No one is here." : "No one else is here yet.";
  document.title = name === null ? "datachan" : `${name} · datachan`;
  refresh();
}

function refresh() {
  showPeople([...links.values()], selected, select);
  $("talk").hidden = selected === null;
  $("talk-empty").hidden = selected !== null;
  $("call-side").hidden = config?.echo == null || links.has(ECHO_ID);
}

async function copyLink() {
  const field = $("link-field");
  try {
    await navigator.clipboard.writeText(field.value);
    $("copy-link").textContent = "Copied";
    announce("The link is copied");
  } catch {
    // Without a secure context there is no clipboard: select the link, so that the user can copy it.
    field.focus();
    field.select();
    $("copy-link").textContent = "Press Ctrl+C";
  }
  setTimeout(() => { $("copy-link").textContent = "Copy link"; }, 2500);
}

/** Offer what `find` returns, a list of sources, to the selected peer. */
async function sendFiles(find) {
  const link = selected;
  try {
    const sources = await find();
    link?.sendFiles(sources);
  } catch (error) {
    showProblem(error.message);
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // without storage the page asks again next time
  }
}

function sessionRemember(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, value);
  } catch {
    // without storage the user joins again after a reload
  }
}

function stored(storage, key) {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

function randomOf(words) {
  return words[crypto.getRandomValues(new Uint8Array(1))[0] % words.length];
}

function wire() {
  $("name").value = stored(() => localStorage, "name") || `${randomOf(QUIET)} ${randomOf(NAMES)}`;
  $("join").addEventListener("submit", (event) => {
    event.preventDefault();
    join(roomInAddress() ?? newRoomName());
  });
  $("call-start").addEventListener("click", callEcho);
  $("call-side").addEventListener("click", callEcho);
  $("copy-link").addEventListener("click", copyLink);
  $("leave").addEventListener("click", leave);
  $("problem-close").addEventListener("click", clearProblem);
  $("hang-up").addEventListener("click", () => selected?.hangUp());
  $("call-again").addEventListener("click", () => selected?.call());
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (text !== "" && selected?.say(text)) $("text").value = "";
  });
  for (const [button, input] of [["choose", "file-input"], ["choose-folder", "folder-input"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      const files = [...$(input).files];
      $(input).value = "";
      if (files.length > 0) sendFiles(() => chosen(files));
    });
  }
  wireDrop();
  addEventListener("hashchange", addressChanged);
  addEventListener("popstate", addressChanged);
  addEventListener("themechange", () => selected && showSamples(selected, false));
  addEventListener("resize", () => selected && showSamples(selected, false));
  addEventListener("beforeunload", (event) => {
    // A reloaded page is a new member of the room: what it sends or receives ends.
    if ([...links.values()].some(({ transfers }) => transfers.isBusy)) event.preventDefault();
  });
  addEventListener("pagehide", () => {
    for (const link of links.values()) link.hangUp();
  });
  // The browser restored the page from its cache without its connections: start as after a reload.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  setInterval(() => {
    for (const [transfer, view] of views) if (!transfer.ended) view.update();
  }, SAMPLE_INTERVAL / 2);
}

function wireDrop() {
  const zone = $("conversation");
  const dragging = (on) => $("files").classList.toggle("dragging", on && selected?.canTalk === true);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    dragging(true);
  });
  zone.addEventListener("dragleave", () => dragging(false));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    dragging(false);
    const { dataTransfer } = event;
    sendFiles(() => dropped(dataTransfer));
  });
}

/** Follow the address: the user opened the link of another room in this tab, or pressed Back. */
function addressChanged() {
  const name = roomInAddress();
  if (room !== null && name !== room.room) {
    room.leave();
    room = null;
    for (const [id, link] of links) {
      link.hangUp();
      removeLink(id);
    }
    $("room-status").textContent = "";
    refresh();
  }
  if (room === null && (links.size === 0 || name !== null)) showStart();
}

// -- the beginning ----------------------------------------------------------------------------------------------------

async function configure() {
  config = await fetchConfiguration();
  return config;
}

/** Return the configuration for a connection to a room, whose members may call at once. */
async function enter() {
  await certified;
  return configure();
}

/** Fetch the configuration until the server answers, and say meanwhile that it does not. */
async function configured() {
  let said = "";
  for (let pause = FIRST_PAUSE; ; pause = Math.min(LAST_PAUSE, 2 * pause)) {
    try {
      await configure();
      if ($("problem-text").textContent === said) clearProblem();
      return;
    } catch (error) {
      const problem = error.sentence ?? "The server does not answer. The page keeps trying.";
      if (problem !== said) showProblem(problem); // not again what the person has dismissed
      said = problem;
    }
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
}

async function start() {
  document.documentElement.dataset.started = "true"; // watch.js waits for it
  clearProblem();
  wire();
  showStart();
  try {
    needWebRtc();
  } catch (error) {
    $("start").inert = true;
    showProblem(error.message);
    return;
  }
  certified = certify();
  await configured();
  $("call-start").disabled = config.echo === null;
  refresh();
  const name = roomInAddress();
  // A reload joins the room again; a first visit asks before it joins.
  if (room === null && name !== null && stored(() => sessionStorage, "joined") === name) join(name);
  document.documentElement.dataset.ready = "true";
}

start();
