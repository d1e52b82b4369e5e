// The last requests of everybody, each with its spans as a waterfall.

import { facts, tell } from "./api.js";
import { byId, el, ms, narrow, short, svg } from "./dom.js";
import { live } from "./live.js";
import { ofTrace } from "./paths.js";

const INTERVAL = 2000;
const SHOWN = 8;
/** Trace ids that were here before, so that a request is told once. */
const known = new Set();
/** Trace ids of this page's own requests; of those that are listed, the time. */
const own = new Map();
const entries = new Map();
/** Which requests are traced, as the API says it. */
let words = "";
let opened = null;
let timer = 0;
let first = true;

/** A request of this page: it is in the list at once, its spans come later. */
export function note(exchange) {
  own.set(exchange.trace, exchange.at);
  if (own.size > 1000) own.delete(own.keys().next().value);
  put({
    id: exchange.trace,
    at: exchange.at,
    method: exchange.method,
    path: exchange.path,
    status: exchange.status,
    outcome: exchange.outcome,
    ms: exchange.ms,
    redis: exchange.redis,
    postgres: exchange.postgres,
    isTraced: exchange.isTraced,
    spans: null,
  });
  draw();
  soon(600);
}

export function start() {
  draw();
  narrow.addEventListener("change", draw);
  document.addEventListener("visibilitychange", () => soon(0));
  soon(0);
}

function soon(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
}

async function ask() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const answer = await fetch("/console/traces", { cache: "no-store" });
    const { traces, reason, sampled } = await answer.json();
    words = sampled;
    take(traces);
    legend(reason);
  } catch {
    // The numbers' polling says that the API is away.
  }
  soon(INTERVAL);
}

/** Oldest first: the newest is told, and drawn, last. */
function take(traces) {
  for (const trace of [...traces].reverse()) {
    if (known.has(trace.id)) continue;
    known.add(trace.id);
    const mine = own.has(trace.id);
    const way = ofTrace(trace, mine ? "you" : "somebody");
    put({
      ...trace,
      at: mine ? own.get(trace.id) : trace.at,
      outcome: way.outcome,
      redis: way.redis,
      postgres: way.postgres,
      steps: way.steps,
    });
    // What happened before the page was opened is listed, not played.
    if (!first || mine) tell("trace", { way, mine, id: trace.id });
  }
  first = false;
  draw();
}

function put(entry) {
  entries.set(entry.id, entry);
  const sorted = [...entries.values()].sort((a, b) => b.at - a.at);
  for (const old of sorted.slice(SHOWN)) if (old.id !== opened) entries.delete(old.id);
}

function legend(reason) {
  const note = byId("requests-note");
  if (reason) {
    note.textContent = `Without spans: ${reason}`;
    return;
  }
  note.replaceChildren(
    `Open one to see its spans. ${words}`,
    ...["redis", "postgres", "api"].flatMap((name) => [
      el("span", { class: `swatch ${name}` }),
      { redis: "Redis", postgres: "Postgres", api: "API" }[name],
    ]),
  );
}

let drawing = 0;

function draw() {
  drawing ||= requestAnimationFrame(drawNow);
}

function drawNow() {
  drawing = 0;
  const list = el("div", { class: "list" });
  const longest = Math.max(
    1,
    ...[...entries.values()].map((entry) => (entry.redis ?? 0) + (entry.postgres ?? 0)),
  );
  for (const entry of [...entries.values()].sort((a, b) => b.at - a.at))
    list.append(...row(entry, longest));
  if (!entries.size) list.append(el("p", { class: "muted" }, "No requests yet."));
  const focused = document.activeElement?.dataset?.trace;
  byId("requests").replaceChildren(list);
  if (focused) list.querySelector(`[data-trace="${focused}"]`)?.focus({ preventScroll: true });
}

function row(entry, longest) {
  const isOpen = opened === entry.id;
  const parts = ["redis", "postgres"].map((name) => {
    const bar = el("i", { class: name });
    bar.style.width = `${(100 * (entry[name] ?? 0)) / longest}%`;
    return bar;
  });
  const button = el(
    "button",
    {
      type: "button",
      class: "row",
      "data-trace": entry.id,
      "aria-expanded": String(isOpen),
      onclick: () => {
        opened = isOpen ? null : entry.id;
        draw();
      },
    },
    el("span", { class: "when muted" }, new Date(entry.at).toLocaleTimeString("en-GB")),
    el("span", {}, entry.method),
    el("code", { title: entry.path }, short(entry.path)),
    el(
      "span",
      {},
      el(
        "span",
        { class: `badge ${entry.outcome}` },
        entry.outcome === "other" ? String(entry.status ?? "") : entry.outcome,
      ),
    ),
    el("span", { class: "share", title: "Time in Redis and Postgres" }, parts),
    el("span", { class: "num" }, ms(entry.ms)),
  );
  return isOpen ? [button, detail(entry)] : [button];
}

function detail(entry) {
  if (!entry.spans) {
    // Its answer says so, by `traceresponse`. The API has no words where nothing is traced.
    const why = words ? `It was not sampled, so it has no spans. ${words}` : "It has no spans.";
    const spans = entry.isTraced === false ? why : "Its spans have not come yet.";
    return el(
      "p",
      { class: "waterfall muted" },
      `Redis ${ms(entry.redis)}, Postgres ${ms(entry.postgres)}. ${spans}`,
    );
  }
  const [width, names, letters] = narrow.matches ? [350, 132, 18] : [860, 250, 34];
  const scale =
    (width - names - 66) / Math.max(0.01, ...entry.spans.map((span) => span.at + span.ms));
  const height = 22;
  const root = svg("svg", {
    viewBox: `0 0 ${width} ${entry.spans.length * height + 4}`,
    role: "img",
    "aria-label": entry.spans.map((span) => `${span.name} ${ms(span.ms)}`).join(", "),
  });
  entry.spans.forEach((span, index) => {
    const y = index * height;
    const x = names + Math.max(0, span.at) * scale;
    const wide = Math.max(2, span.ms * scale);
    root.append(
      svg("line", { class: "guide", x1: 0, x2: width, y1: y + height, y2: y + height }),
      svg(
        "text",
        { class: "name", x: 4 + span.depth * 12, y: y + 15 },
        cut(span.name, letters - span.depth * 2),
      ),
      svg("rect", {
        class: span.where + (span.failed ? " failed" : ""),
        x,
        y: y + 5,
        width: wide,
        height: 12,
        rx: 2,
      }),
      svg(
        "text",
        { x: x + wide + 5, y: y + 15 },
        ms(span.ms) + (span.refused ? ", not asked: the gate" : span.failed ? ", failed" : ""),
      ),
    );
  });
  const there = live?.links.find(({ url, answers }) => answers && url === facts.jaeger);
  const link = there
    ? el(
        "a",
        { href: `${facts.jaeger}/trace/${entry.id}` },
        there.name === "Jaeger" ? "This trace in Jaeger" : "This trace as text",
      )
    : null;
  return el("div", { class: "waterfall" }, root, link);
}

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
