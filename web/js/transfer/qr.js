// Draws a text as a QR code, as an SVG element. The encoder is vendored.

import { qrcode } from "../../vendor/qrcode-generator/qrcode.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 4; // modules of quiet zone around the code

/** Return an SVG element with the QR code of a text; `label` describes it. */
export function qrOf(text, label) {
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  const count = code.getModuleCount();
  const side = count + 2 * MARGIN;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${side} ${side}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  let path = "";
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < count; column++) {
      if (code.isDark(row, column)) path += `M${column + MARGIN} ${row + MARGIN}h1v1h-1z`;
    }
  }
  const modules = document.createElementNS(SVG, "path");
  modules.setAttribute("d", path);
  svg.append(modules);
  return svg;
}
