// Finds in the statistics of a peer connection which way its packets travel now.

/** Return the candidate pair in use, or null. Chromium names it in the transport, Firefox marks it. */
export function selectedPair(report) {
  const entries = [...report.values()];
  const transport = entries.find((entry) => entry.type === "transport");
  const isSelected = (entry) => entry.type === "candidate-pair" && (entry.selected || entry.nominated);
  return report.get(transport?.selectedCandidatePairId) ?? entries.find(isSelected) ?? null;
}

/** Return "direct" or "relayed", or "" if the browser does not say. */
export function selectedPath(report) {
  const pair = selectedPair(report);
  const kinds = [report.get(pair?.localCandidateId), report.get(pair?.remoteCandidateId)].map((end) => end?.candidateType);
  if (kinds.includes("relay")) return "relayed";
  return kinds.includes(undefined) ? "" : "direct";
}
