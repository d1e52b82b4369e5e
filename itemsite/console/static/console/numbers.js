// The tiles: what is known about the cache, of all workers.

import { byId, count, el, svg } from "./dom.js";

const KEPT = 60;
const history = [];

export function show(live) {
  remember(live);
  const { gates, repair, live_check: check } = live;
  const share = live.check_share
    ? `1 hit in ${count(Math.round(1 / live.check_share))} is compared`
    : "turned off";
  byId("numbers").replaceChildren(
    tile(
      "Hit rate",
      live.hit_rate === null ? "–" : `${live.hit_rate} %`,
      live.hit_rate === null ? "counted in Redis, which is away" : "of hits and misses",
    ),
    tile("Reads a second", rate(), "line: hits, area: all", spark()),
    tile(
      "Cached rows",
      count(live.cached_items),
      live.cached_items === null
        ? "nobody knows while Redis is away"
        : live.cached_items_exact === false
          ? "estimated"
          : `reads: ${count(live.total_hits)} hit, ${count(live.total_misses)} miss, ${count(live.total_bypasses)} bypass`,
    ),
    tile(
      "Gate",
      gates.open ? `${live.redis === "down" ? "open" : "settling"} in ${gates.open}` : "closed",
      `of ${gates.workers} workers`,
      null,
      gates.open ? "bad" : "good",
    ),
    tile(
      "Repair log",
      count(repair.backlog),
      repair.backlog ? `keys, oldest ${repair.lag_seconds.toFixed(1)} s` : "keys wait",
      null,
      repair.backlog ? "bad" : "",
    ),
    tile(
      "Stale in live check",
      check.checked === null ? "–" : count(check.stale),
      check.checked === null ? "counted in Redis" : `of ${count(check.checked)} checked; ${share}`,
      null,
      check.stale ? "bad" : "",
    ),
  );
}

function tile(name, value, sub, chart = null, kind = "") {
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
