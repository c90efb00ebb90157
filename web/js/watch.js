// Says so when the page's modules do not arrive or do not run. A plain script, because a module could be what is missing.
(() => {
  "use strict";
  const PATIENCE = 15_000; // milliseconds
  const SENTENCE = "A part of this page did not arrive, or this browser is too old for it. Reload the page.";

  function show() {
    document.getElementById("problem-text").textContent = SENTENCE;
    document.getElementById("problem").hidden = false;
  }

  addEventListener("error", ({ target }) => {
    if (!(target instanceof HTMLScriptElement)) return;
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
    else show();
  }, true);
  setTimeout(() => { if (document.documentElement.dataset.started !== "true") show(); }, PATIENCE);
})();
