// The last request as a curl line, and its answer.

import { curl } from "./api.js";
import { byId, command, el, ms } from "./dom.js";

/** Show *exchange*; *more* is a sentence under it (of many requests). */
export function show(exchange, more = "") {
  const { status, headers } = exchange;
  const rows = [["Status", status || "none"]];
  for (const name of ["X-Cache", "Server-Timing", "ETag", "Location", "Retry-After"]) {
    if (headers[name]) rows.push([name, headers[name]]);
  }
  rows.push(["Round trip", ms(exchange.ms)]);
  byId("exchange").replaceChildren(
    command(curl(exchange)),
    el(
      "div",
      { class: "answer" },
      el(
        "dl",
        {},
        rows.map(([name, value]) => [
          el("dt", {}, name),
          el("dd", name === "X-Cache" ? { class: exchange.outcome } : {}, String(value)),
        ]),
      ),
      el(
        "pre",
        { class: "box", tabindex: "0", "aria-label": "Body of the answer" },
        pretty(exchange) || "(no body)",
      ),
    ),
    more ? el("p", { class: "muted" }, more) : "",
  );
}

function pretty({ json, text }) {
  if (json === null) return text;
  const lines = JSON.stringify(json, null, 2).split("\n");
  return lines.length > 16 ? [...lines.slice(0, 15), "  …"].join("\n") : lines.join("\n");
}
