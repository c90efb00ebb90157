// Codes such as 7-marble-kitten: how they are made, read and completed. Knows no server. Python: datachan/transfer/codes.py.

import { WORDS } from "./words.js";

const MAX_SLOT = 9999;
const PREFIX = 4; // letters that identify a word
const MAX_LENGTH = 100;

/** Return a random number below `bound`, which divides 2^32 or is far smaller. */
function randomBelow(bound) {
  return crypto.getRandomValues(new Uint32Array(1))[0] % bound;
}

/** Return a slot to try: short ones first. */
export function randomSlot(attempt) {
  const bound = attempt < 2 ? 9 : attempt < 4 ? 99 : MAX_SLOT;
  return 1 + randomBelow(bound);
}

/** Return a new code for this slot. */
export function makeCode(slot) {
  return [slot, WORDS[randomBelow(WORDS.length)], WORDS[randomBelow(WORDS.length)]].join("-");
}

/** Return the slot of a normalized code. */
export function slotOf(code) {
  return Number(code.split("-")[0]);
}

/** Return the normalized code; throw an Error whose message says which part is wrong. */
export function parseCode(text) {
  const parts = text.slice(0, MAX_LENGTH + 1).toLowerCase().replaceAll("-", " ").trim().split(/\s+/);
  if (parts.length !== 3 || text.length > MAX_LENGTH) throw new Error("A code is a number and two words, such as 7-marble-kitten.");
  const [slot, ...words] = parts;
  if (!/^\d{1,9}$/.test(slot) || Number(slot) < 1 || Number(slot) > MAX_SLOT) {
    throw new Error(`A code begins with a number from 1 to ${MAX_SLOT}.`);
  }
  return [Number(slot), ...words.map(wholeWord)].join("-");
}

function wholeWord(text) {
  const word = text.length < PREFIX
    ? WORDS.find((known) => known === text)
    : WORDS.find((known) => known.slice(0, PREFIX) === text.slice(0, PREFIX) && known.startsWith(text));
  if (word === undefined) {
    const shown = /^[a-z]{1,20}$/.test(text) ? `“${text}”` : "one that was typed";
    throw new Error(`No code has the word ${shown}. Check it with the other person.`);
  }
  return word;
}

/** Return up to eight texts that complete what was typed by one word. */
export function completions(text) {
  const match = /^(\d{1,4}[\s-]+(?:[a-z]+[\s-]+)?)([a-z]{1,8})$/i.exec(text);
  if (match === null) return [];
  const last = match[2].toLowerCase();
  return WORDS.filter((word) => word.startsWith(last) && word !== last).slice(0, 8).map((word) => match[1] + word);
}
