// What a person drops, chooses or pastes, as entries of a manifest with their bytes. Python: datachan/transfer/sources.py.

import { byteLength, MAX_ENTRIES, MAX_TEXT } from "./messages.js";

const MAX_PATH = 1024; // bytes
const MAX_DEPTH = 64;

function source(path, file) {
  return { entry: { path, size: file.size, mtime: file.lastModified }, blob: file };
}

/** Return the sources of an input for files or for a folder. */
export function chosen(files) {
  return checked(Array.from(files, (file) => source(file.webkitRelativePath || file.name, file)));
}

/** Return the sources of what was dropped: files, and folders with all that is in them. */
export async function dropped(transfer) {
  const roots = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.() ?? null);
  if (roots.some((root) => root?.isDirectory)) {
    const sources = [];
    for (const root of roots) if (root !== null) await walk(root, "", sources);
    return checked(sources);
  }
  return chosen(transfer.files);
}

async function walk(item, parent, sources) {
  const path = parent + item.name;
  if (sources.length > MAX_ENTRIES) return;
  if (item.isFile) {
    sources.push(source(path, await new Promise((resolve, reject) => { item.file(resolve, reject); })));
    return;
  }
  const reader = item.createReader();
  let count = 0;
  for (;;) {
    const batch = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (batch.length === 0) break;
    count += batch.length;
    for (const child of batch) await walk(child, `${path}/`, sources);
  }
  if (count === 0) sources.push({ entry: { path, kind: "folder" }, blob: null });
}

export function pasted(text) {
  const blob = new Blob([text]);
  if (blob.size > MAX_TEXT) throw new Error("The text is longer than 1 MiB. Save it as a file, and send that.");
  return [{ entry: { path: "text", kind: "text", size: blob.size }, blob }];
}

function checked(sources) {
  if (sources.length === 0) throw new Error("There is no file in it.");
  if (sources.length > MAX_ENTRIES) throw new Error(`At most ${MAX_ENTRIES} files go at once. Put them into an archive first.`);
  for (const { entry } of sources) {
    if (byteLength(entry.path) > MAX_PATH || entry.path.split("/").length > MAX_DEPTH) {
      throw new Error("The path of a file is too long, or too deep in folders.");
    }
  }
  return sources;
}
