// Elements by their description. Text is always set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

export const el = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
export const byId = (id) => document.getElementById(id);

export const narrow = matchMedia("(max-width: 46rem)");
export const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Milliseconds for people: three digits at most. */
export function ms(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0 ms";
  const digits = value < 1 ? 2 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ms`;
}

export const count = (value) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en");

/** A path whose UUID is shortened to its end. */
export const short = (path) => path.replace(/([0-9a-f]{8})-[0-9a-f-]{23}([0-9a-f]{4})/gi, "$1…$2");

/** A line to copy into a terminal, with its button. */
export function command(text) {
  const button = el(
    "button",
    { type: "button", class: "small", "aria-label": "Copy the command", onclick: copy },
    "Copy",
  );
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it";
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1500);
  }
  return el("div", { class: "command" }, el("pre", { class: "box", tabindex: "0" }, text), button);
}
