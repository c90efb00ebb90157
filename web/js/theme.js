// Sets the theme before the first paint, so it is a plain script. The button is connected when the page has loaded.
(() => {
  "use strict";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // without storage the choice lasts until the page is closed
  }

  function apply() {
    const dark = chosen === null ? system.matches : chosen === "dark";
    root.dataset.theme = dark ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button !== null) button.textContent = dark ? "Light theme" : "Dark theme";
    dispatchEvent(new Event("themechange"));
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", chosen);
      } catch {
        // without storage the choice lasts until the page is closed
      }
      apply();
    });
    apply();
  });
})();
