// The page of the list and its stamp, drawn from what Redis holds of both.

import { hear } from "./api.js";
import { el, svg } from "./dom.js";

const SIDES = { page: 1, now: 184 };
const WIDTH = 145;
const SEAL = 48;
/** Squares of a seal on each side; the right half is the left one's mirror image. */
const SQUARES = 5;
const ONE_MARK = ["a mark", "of a writer"];

let picture = null;
let words = null;
let shown = "";
let asking = null;
let again = false;

/** The figure, which looks for as long as it is on the page. */
export function drawn() {
  picture = el("div", {});
  words = el("figcaption", { "aria-live": "polite" });
  shown = "";
  const figure = el("figure", { class: "stamp", id: "stamp" }, picture, words);
  queueMicrotask(look);
  return figure;
}

export function start() {
  hear("exchange", ({ crowd }) => crowd || look());
  hear("live", look);
}

/** Look now; what is under way may have been answered before what has just happened. */
async function look() {
  if (!picture?.isConnected) return;
  again = true;
  asking ??= ask().finally(() => {
    asking = null;
  });
}

async function ask() {
  while (again) {
    again = false;
    try {
      const answer = await fetch("/console/list", { cache: "no-store" });
      if (answer.ok) show(await answer.json());
    } catch {
      // The numbers' polling says that the API is away.
    }
  }
}

function show(state) {
  const key = JSON.stringify(state);
  if (key === shown) return;
  shown = key;
  const [stamp] = state.stamps;
  const said = verdict(state, stamp);
  picture.parentNode.dataset.verdict = said.name;
  picture.replaceChildren(draw(said.sign, stamp));
  words.replaceChildren(el("b", {}, `${said.title}: `), said.text);
}

const INVALID = {
  mark: "A writer is at work. Until it has ended, no new page is stored.",
  value: "There is a new stamp, made for another page. The next reader makes a new page.",
  absent: "The stamp is gone. The next reader makes a new stamp and a new page.",
};

function verdict({ redis, stored, valid }, stamp) {
  if (redis === "down")
    return { name: "unknown", title: "Unknown", text: "Redis does not answer.", sign: "?" };
  if (!stored)
    return { name: "none", title: "No page", text: "The next reader makes one.", sign: "–" };
  if (!valid) return { name: "invalid", title: "Invalid", text: INVALID[stamp.state], sign: "≠" };
  const text = "Both stamps are the same. The next read is a hit.";
  return { name: "valid", title: "Valid", text, sign: "=" };
}

function draw(sign, stamp) {
  const made = parsed(stamp?.made);
  const now = parsed(stamp?.now);
  return svg(
    "svg",
    {
      viewBox: "0 0 330 128",
      role: "img",
      "aria-label": `The page was made under: ${inWords(made)}. In Redis now: ${inWords(now)}.`,
    },
    side("page", "The page", "was made under", made),
    side("now", "Redis now", stamp?.key ?? "does not answer", now),
    svg("circle", { class: "sign", cx: 165, cy: 64, r: 15 }),
    svg("text", { class: "sign", x: 165, y: 70, "text-anchor": "middle" }, sign),
  );
}

function side(name, title, note, stamp) {
  const x = SIDES[name];
  return svg(
    "g",
    { class: `side-${name}` },
    svg("rect", { class: "box", x, y: 1, width: WIDTH, height: 126, rx: 10 }),
    svg("text", { class: "name", x: x + 14, y: 26 }, title),
    svg("text", { class: "note", x: x + 14, y: 45 }, note),
    seal(x + 14, 62, stamp),
    svg("text", { class: "value", x: x + 71, y: 82 }, stamp.lines[0]),
    svg("text", { class: "note", x: x + 71, y: 101 }, stamp.lines[1]),
  );
}

/** A stamp that looks otherwise for each value; an empty frame where there is none. */
function seal(x, y, { kind, bits }) {
  const frame = svg("rect", { class: "frame", x, y, width: SEAL, height: SEAL, rx: 3 });
  const inside = { value: () => squares(x + 6, y + 6, bits), mark: () => pen(x, y) }[kind];
  return svg("g", { class: `seal ${kind}` }, frame, inside?.());
}

function squares(left, top, bits) {
  const size = (SEAL - 12) / SQUARES;
  const found = [];
  for (let row = 0; row < SQUARES; row++)
    for (let column = 0; column < SQUARES; column++) {
      const bit = row * 3 + Math.min(column, SQUARES - 1 - column);
      const [x, y] = [left + column * size, top + row * size];
      if ((bits >> bit) & 1) found.push(svg("rect", { x, y, width: size, height: size }));
    }
  return found;
}

function pen(x, y) {
  const shape = "l3 -9 l15 -15 l6 6 l-15 15 z";
  return svg("path", { class: "pen", d: `M${x + 13} ${y + 35} ${shape} M${x + 12} ${y + 40} h24` });
}

/** `v:<random>:<milliseconds>`, or the marks of writers: `w:<random>:<transaction> …`. */
function parsed(value) {
  if (!value) return { kind: "absent", lines: ["none", ""] };
  const marks = value.split(" ");
  const [kind, random, since] = marks[0].split(":");
  if (kind !== "v") {
    const many = marks.length > 1;
    return { kind: "mark", lines: many ? [`${marks.length} marks`, "of writers"] : ONE_MARK };
  }
  const time = new Date(Number(since)).toLocaleTimeString("en-GB");
  const bits = Number.parseInt(random.slice(0, 4), 16);
  return { kind: "value", bits, lines: [`v:${random.slice(0, 5)}…`, time] };
}

const inWords = ({ lines }) => lines.join(" ").trim();
