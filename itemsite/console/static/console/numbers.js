// The tiles: what is known about the cache, of all workers.

import { byId, count, el, svg } from "./dom.js";

const KEPT = 60;
const history = [];

export function show(live) {
  remember(live);
  const { gates, repair, live_check: check } = live;
  const unknown = "counted in Redis, which is away";
  const word = live.redis === "down" ? "open" : "settling";
  byId("numbers").replaceChildren(
    tile({
      name: "Hit rate",
      value: live.hit_rate === null ? "–" : `${live.hit_rate} %`,
      sub: live.hit_rate === null ? unknown : "of hits and misses",
    }),
    tile({ name: "Reads a second", value: rate(), sub: "line: hits, area: all", chart: spark() }),
    tile({ name: "Cached rows", value: count(live.cached_items), sub: reads(live) ?? unknown }),
    tile({
      name: "Gate",
      value: gates.open ? `${word} in ${gates.open}` : "closed",
      sub: `of ${gates.workers} workers`,
      kind: gates.open ? "bad" : "good",
    }),
    tile({
      name: "Repair log",
      value: count(repair.backlog),
      sub: repair.backlog ? `keys, oldest ${repair.lag_seconds.toFixed(1)} s` : "keys wait",
      kind: repair.backlog ? "bad" : "",
    }),
    tile({
      name: "Stale in live check",
      value: count(check.stale),
      sub: check.checked === null ? unknown : checked(check, live.check_share),
      kind: check.stale ? "bad" : "",
    }),
  );
}

function reads(live) {
  if (live.cached_items === null) return null;
  const { total_hits: hits, total_misses: misses, total_bypasses: bypasses } = live;
  return `reads: ${count(hits)} hit, ${count(misses)} miss, ${count(bypasses)} bypass`;
}

/** How many hits were compared with Postgres, and what that says about the others. */
function checked({ checked, upper_bound: bound }, share) {
  if (!share) return "the check is turned off";
  if (!checked) return `of 0 checked: it compares 1 hit in ${count(Math.round(1 / share))}`;
  const percent = (100 * bound).toPrecision(2);
  return `of ${count(checked)} checked: at most ${percent} % of all, 95 % sure`;
}

function tile({ name, value, sub, chart = null, kind = "" }) {
  return el(
    "div",
    { class: "tile" },
    el("dt", {}, name),
    el("dd", { class: kind }, value, chart, el("span", { class: "sub" }, sub)),
  );
}

/** Totals of one second ago and now give the reads between them. */
function remember(live) {
  if (live.total_hits === null) return;
  const reads = live.total_hits + live.total_misses + live.total_bypasses;
  history.push({ at: live.at, reads, hits: live.total_hits });
  if (history.length > KEPT + 1) history.shift();
}

function perSecond() {
  return history.slice(1).map((now, index) => {
    const before = history[index];
    const seconds = Math.max(0.2, (now.at - before.at) / 1000);
    return {
      reads: Math.max(0, now.reads - before.reads) / seconds,
      hits: Math.max(0, now.hits - before.hits) / seconds,
    };
  });
}

function rate() {
  const last = perSecond().at(-1);
  return last ? count(Math.round(last.reads)) : "–";
}

function spark() {
  const points = perSecond();
  if (points.length < 2) return null;
  const top = Math.max(1, ...points.map((point) => point.reads));
  const x = (index) => ((index + KEPT - points.length) / (KEPT - 1)) * 100;
  const y = (value) => 25 - (value / top) * 23;
  const line = (name) =>
    points.map((point, index) => `${x(index).toFixed(1)},${y(point[name]).toFixed(1)}`).join(" ");
  return svg(
    "svg",
    { viewBox: "0 0 100 26", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polygon", { class: "spark-all", points: `${x(0)},26 ${line("reads")} 100,26` }),
    svg("polyline", {
      class: "spark",
      points: line("hits"),
      "vector-effect": "non-scaling-stroke",
    }),
  );
}
