// What the entries of an offer add up to.

/** Return the bytes of all entries; those of unknown size do not count. */
export function totalSize(entries) {
  return entries.reduce((sum, { size }) => sum + (size ?? 0), 0);
}
