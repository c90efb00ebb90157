// Names of files that a peer chooses, made safe. Knows no file system. Python: datachan/transfer/file_names.py and names.py.

const MAX_NAME = 200; // bytes of UTF-8
const MAX_EXTENSION = 32;
const MAX_DEPTH = 64;
const DECEIVING = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const DEVICE = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\.|$)/iu;
const encoder = new TextEncoder();

/** Return text for people on one line, without invisible and direction characters, of at most `length` characters. */
export function cleanText(text, length) {
  return text.slice(0, 4 * length).split(/\s+/u).join(" ").replace(DECEIVING, "").trim().slice(0, length);
}

function trim(text, hidden) {
  const start = hidden ? /^[\s\u200c\u200d]+/u : /^[.\s\u200c\u200d]+/u;
  return text.replace(start, "").replace(/[.\s\u200c\u200d]+$/u, "");
}

/** Return the first bytes of a text that are whole characters. */
function cut(text, size) {
  let result = "";
  let used = 0;
  for (const character of text) {
    used += encoder.encode(character).length;
    if (used > size) break;
    result += character;
  }
  return result;
}

function split(name, longest) {
  const dot = name.lastIndexOf(".");
  const extension = dot > 0 ? name.slice(dot) : "";
  return encoder.encode(extension).length > longest + 1 ? [name, ""] : [name.slice(0, name.length - extension.length), extension];
}

function shorten(name, hidden) {
  if (encoder.encode(name).length <= MAX_NAME) return name;
  const [stem, extension] = split(name, MAX_EXTENSION);
  return trim(cut(stem, MAX_NAME - encoder.encode(extension).length), hidden) + extension;
}

/** Return one component of a path as a safe name; empty if nothing is left, as of "..". */
export function safeComponent(component, hidden) {
  let text = component.slice(0, 1024).replace(/[/\\]/g, "_").replace(DECEIVING, "").normalize("NFC").replace(/[<>:"|?*]/g, "_");
  text = trim(text, hidden).normalize("NFC");
  if (text.startsWith("-")) text = `_${text}`;
  if (DEVICE.test(text)) text = `_${text}`;
  return shorten(text, hidden);
}

function comparable(name) {
  return name.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFC");
}

function numbered(name, number) {
  const [stem, extension] = split(name, MAX_NAME / 4);
  const mark = ` (${number})`;
  return cut(stem, MAX_NAME - mark.length - encoder.encode(extension).length) + mark + extension;
}

/** The names that are taken in one folder. */
class Folder {
  #taken = new Set();
  #counters = new Map();
  #folders = new Map();

  claim(name) {
    const key = comparable(name);
    let number = this.#counters.get(key) ?? 1;
    let chosen = name;
    while (this.#taken.has(comparable(chosen))) {
      number += 1;
      chosen = numbered(name, number);
    }
    this.#counters.set(key, number);
    this.#taken.add(comparable(chosen));
    return chosen;
  }

  enter(raw, name) {
    if (!this.#folders.has(raw)) this.#folders.set(raw, [this.claim(name), new Folder()]);
    return this.#folders.get(raw);
  }
}

/** Return the place of each entry as a list of components. No two entries share one on any system. */
export function storedPaths(entries) {
  const root = new Folder();
  return entries.map((entry) => place(root, entry));
}

function place(root, entry) {
  const raw = [];
  for (const component of entry.path.split("/").slice(0, MAX_DEPTH)) {
    const name = safeComponent(component, raw.length > 0);
    if (name !== "") raw.push([component, name]);
  }
  if (raw.length === 0) raw.push(["file", "file"]);
  const parents = entry.kind === "folder" ? raw : raw.slice(0, -1);
  const result = [];
  let folder = root;
  for (const [component, name] of parents) {
    const [chosen, inside] = folder.enter(component, name);
    result.push(chosen);
    folder = inside;
  }
  if (entry.kind !== "folder") result.push(folder.claim(raw.at(-1)[1]));
  return result;
}
