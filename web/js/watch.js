// Says so when the page's modules do not run, and loads the page again when one did not arrive: browsers end the requests
// that are on their way when the network changes. A plain script, because a module could be what is missing.
(() => {
  "use strict";
  const PATIENCE = 15_000; // milliseconds in which the page starts
  const FIRST_PAUSE = 500; // milliseconds until the server is asked for the page
  const LAST_PAUSE = 10_000;
  const ANSWER_TIMEOUT = 10_000;
  const MAX_LOADS = 3; // in a row that do not start the page
  const KEY = "loads";
  const MISSING = "A part of this page did not arrive.";

  let isLoading = false; // the page is loaded again

  function isStarted() {
    return document.documentElement.dataset.started === "true";
  }

  function show(sentence) {
    document.getElementById("problem-text").textContent = sentence;
    document.getElementById("problem").hidden = false;
  }

  /** Count another load in this tab, and return whether it may be tried. */
  function mayLoad() {
    try {
      const loads = Number(sessionStorage.getItem(KEY));
      sessionStorage.setItem(KEY, String(loads + 1));
      return loads < MAX_LOADS;
    } catch {
      return false; // without storage it might never end
    }
  }

  async function loadAgain() {
    if (isLoading) return;
    isLoading = true;
    if (isStarted() || !mayLoad()) {
      show(`${MISSING} Reload the page.`);
      return;
    }
    show(`${MISSING} The page is loaded again when the server answers.`);
    for (let pause = FIRST_PAUSE; ; pause = Math.min(LAST_PAUSE, 2 * pause)) {
      await new Promise((resolve) => { setTimeout(resolve, pause); });
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(ANSWER_TIMEOUT) }).catch(() => null);
      if (answer?.ok) break;
    }
    location.reload();
  }

  addEventListener("error", ({ target }) => {
    if (!(target instanceof HTMLScriptElement)) return;
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", loadAgain);
    else loadAgain();
  }, true);
  addEventListener("load", () => {
    try {
      if (isStarted()) sessionStorage.removeItem(KEY);
    } catch {
      // without storage nothing was counted
    }
  });
  setTimeout(() => {
    if (!isStarted() && !isLoading) show("This page has not started: a part of it has not arrived yet, or this browser is too old for it.");
  }, PATIENCE);
})();
