// Which stores a page can receive an offer into, the best one first. Each has the same methods:
// use, beginnings, begin, write, finish (returns a Blob to save, or null), pause, close.

import { randomHex } from "./bytes.js";
import { totalSize } from "./entries.js";
import { FileStore, FolderStore } from "./folder-store.js";
import { KeptHandles, mayWrite } from "./kept-handles.js";
import { MemoryStore } from "./memory-store.js";
import { PrivateStore } from "./private-store.js";
import { StreamStore } from "./stream-store.js";

export const MEMORY_LIMIT = 256 * 1024 * 1024;
const MAX_DOWNLOADS = 8; // files that become a download each

export class NoRoom extends Error {}

/** Return how this browser writes an offer to the disk as it arrives: "file", "folder", "downloads" or null. */
export function directWay(entries, browser = globalThis) {
  if (entries[0].kind === "text" || !browser.isSecureContext) return null;
  const one = entries.length === 1 && entries[0].kind === "file";
  if (one && "showSaveFilePicker" in browser) return "file";
  if ("showDirectoryPicker" in browser) return "folder";
  const few = entries.length <= MAX_DOWNLOADS && entries.every(({ kind }) => kind === "file");
  return few && browser.navigator.serviceWorker !== undefined ? "downloads" : null;
}

/**
 * Return the store for a way of `directWay`, or null if it does not work after all; asks the person where that is needed.
 * @param keeps whether a reloaded page shall be able to go on with it
 */
export async function openDirect(way, paths, { keeps = false } = {}) {
  if (way === "downloads") return StreamStore.open();
  const handle = way === "file"
    ? await showSaveFilePicker({ suggestedName: paths[0].at(-1) })
    : await showDirectoryPicker({ mode: "readwrite" });
  const kept = keeps ? new KeptHandles(randomHex(12)) : null;
  await kept?.keepRoot(way, handle);
  return storeAt(way, handle, kept);
}

function storeAt(where, handle, kept) {
  return where === "file" ? new FileStore(handle, kept) : new FolderStore(handle, kept);
}

/** Return what a page kept before it was reloaded, to be opened by `reopened`; null if it kept nothing. */
export async function keptOnDisk(key) {
  if (!key) return null;
  const kept = new KeptHandles(key);
  const found = await kept.load();
  return found === null ? null : { ...found, kept };
}

/** Return the store with which a reloaded page goes on, or null without permission; `ask` asks for it, which needs a click. */
export async function reopened({ where, handle, files, kept }, { offer, entries, paths }, ask) {
  if (!await mayWrite(handle, ask)) return null;
  const store = storeAt(where, handle, kept);
  await store.goOn(offer, entries, paths, files);
  return store;
}

/** Return the store that keeps an offer in the browser until the person saves it; throw NoRoom if none can. */
export async function openKeeping(offer, entries) {
  const size = totalSize(entries);
  if (entries[0].kind === "text") return new MemoryStore();
  await PrivateStore.tidy(offer.id);
  if (await PrivateStore.hasRoomFor(size)) return new PrivateStore();
  await PrivateStore.tidy(offer.id, 0);
  if (await PrivateStore.hasRoomFor(size)) return new PrivateStore();
  if (size <= MEMORY_LIMIT && offer.size !== null) return new MemoryStore();
  throw new NoRoom();
}

/** Return the store in which a reloaded page finds what it has received. */
export function keptStore() {
  return new PrivateStore();
}
