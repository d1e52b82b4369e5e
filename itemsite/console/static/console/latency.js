// How long requests spend in Redis and Postgres: every one a dot, on a logarithmic axis.

import { byId, ms, narrow, svg } from "./dom.js";

const LANES = ["hit", "miss", "bypass", "write"];
const KEPT = 240;
const DECADES = [0.1, 1, 10, 100];
const LANE = 46;
const TOP = 8;

const points = Object.fromEntries(LANES.map((lane) => [lane, []]));
let waiting = 0;

/** Note one request: its outcome, and its milliseconds in Redis and Postgres together. */
export function add(outcome, milliseconds) {
  if (!points[outcome] || !(milliseconds > 0)) return;
  points[outcome].push(milliseconds);
  if (points[outcome].length > KEPT) points[outcome].shift();
  waiting ||= setTimeout(() => {
    waiting = 0;
    draw();
  }, 200);
}

export function start() {
  narrow.addEventListener("change", draw);
  draw();
}

export const median = (outcome) => middle(points[outcome]);

function middle(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function draw() {
  const width = narrow.matches ? 350 : 440;
  const left = 62;
  const right = width - 12;
  const bottom = TOP + LANES.length * LANE;
  const x = (value) =>
    left +
    ((Math.log10(Math.min(150, Math.max(0.08, value))) - Math.log10(0.08)) /
      (Math.log10(150) - Math.log10(0.08))) *
      (right - left);
  const root = svg("svg", {
    viewBox: `0 0 ${width} ${bottom + 24}`,
    role: "img",
    "aria-label": summary(),
  });
  for (const decade of DECADES) {
    root.append(
      svg("line", { class: "grid", x1: x(decade), x2: x(decade), y1: TOP, y2: bottom }),
      svg(
        "text",
        { x: x(decade), y: bottom + 16, "text-anchor": "middle" },
        decade === 1 ? "1 ms" : decade,
      ),
    );
  }
  LANES.forEach((lane, index) => root.append(drawLane(lane, TOP + index * LANE, x, left)));
  byId("latency").replaceChildren(root);
}

function drawLane(lane, top, x, left) {
  const middleY = top + LANE / 2;
  const values = points[lane];
  const group = svg("g", { class: lane });
  group.append(
    svg("line", { class: "grid", x1: left, x2: "99%", y1: top + LANE, y2: top + LANE }),
    svg("text", { class: "lane", x: 0, y: middleY + 4 }, lane),
  );
  // Dots at about the same place are stacked, so that their number shows.
  const stacks = new Map();
  for (const value of values) {
    const column = Math.round(x(value) / 4);
    const number = stacks.get(column) ?? 0;
    stacks.set(column, number + 1);
    const offset = Math.min(LANE / 2 - 6, Math.ceil(number / 2) * 2.4) * (number % 2 ? -1 : 1);
    group.append(svg("circle", { class: "point", cx: x(value), cy: middleY + offset, r: 3 }));
  }
  const half = middle(values);
  if (half !== null) {
    const end = x(half) > 330 ? "end" : "start";
    group.append(
      svg("line", { class: "median", x1: x(half), x2: x(half), y1: top + 4, y2: top + LANE - 4 }),
      svg(
        "text",
        { class: "value", x: x(half) + (end === "end" ? -6 : 6), y: top + 13, "text-anchor": end },
        ms(half),
      ),
    );
  }
  return group;
}

function summary() {
  const known = LANES.filter((lane) => points[lane].length).map(
    (lane) => `${lane} ${ms(middle(points[lane]))}`,
  );
  return known.length ? `Medians: ${known.join(", ")}` : "No requests yet";
}
