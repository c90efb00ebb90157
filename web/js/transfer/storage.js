// Which stores a page can receive an offer into, the best one first. Each has the same methods:
// use, beginnings, begin, write, finish (returns a Blob to save, or null), pause, close.

import { totalSize } from "./entries.js";
import { FileStore, FolderStore } from "./folder-store.js";
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

/** Return the store for a way of `directWay`, or null if it does not work after all; asks the person where that is needed. */
export async function openDirect(way, paths) {
  if (way === "file") return new FileStore(await showSaveFilePicker({ suggestedName: paths[0].at(-1) }));
  if (way === "folder") return new FolderStore(await showDirectoryPicker({ mode: "readwrite" }));
  return StreamStore.open();
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
