// The race on the page: two counters, and every read as a tick on its lane.

import { hear } from "./api.js";
import { byId, count, el, ms, still } from "./dom.js";
import { breakIt, canSwitch } from "./faults.js";
import { live } from "./live.js";
import { run } from "./race.js";

const LENGTH = 15000;
const OUTAGE = {
  compose: "It runs for 30 s: type docker compose restart redis meanwhile",
  yours: "It runs for 30 s: restart the Redis of your REDIS_URL meanwhile",
};
let running = null;
let shown = null;
let frame = 0;
let stop = () => {};

export function start() {
  byId("race").replaceChildren(
    el(
      "div",
      { class: "bar" },
      el(
        "button",
        { type: "button", class: "primary", id: "race-start", onclick: begin },
        "Start the race",
      ),
      el(
        "label",
        { class: "option" },
        el("input", { type: "checkbox", id: "race-outage", checked: true }),
        el("span", { id: "race-outage-text" }, "with a stop of Redis in the middle"),
      ),
    ),
    el(
      "div",
      { class: "sides" },
      side("naive", "Naive", "commit, then SET"),
      side("ours", "cachelayer", "mark, commit, push"),
    ),
    el("canvas", {
      id: "race-canvas",
      hidden: true,
      role: "img",
      "aria-label": "Reads over time; stale ones are red",
    }),
    el("p", { id: "race-said", class: "said", role: "status" }, ""),
    el(
      "p",
      { class: "why" },
      "Three writers change one row: one UPDATE and one COMMIT, of which both caches are told. Two readers ask both in turn. The naive one goes stale when two writers SET in another order than they committed, and when Redis is away at the SET and comes back with the old row. Redis is started while nothing SETs the naive one: a reader that misses just before and SETs just after would mend it, by luck. The row’s number is counted under its lock, so “older” is certain.",
    ),
  );
  addEventListener("resize", paint);
  document.addEventListener("themechange", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  hear("live", (numbers) => {
    const possible = canSwitch(numbers);
    byId("race-outage").disabled = !possible;
    byId("race-outage-text").textContent =
      OUTAGE[numbers.redis_place] ?? "with a stop of Redis in the middle";
  });
  paint();
}

function side(name, title, how) {
  return el(
    "div",
    { class: "side" },
    el("h3", {}, title, " ", el("span", { class: "muted sub" }, how)),
    el("p", { class: "count", id: `${name}-stale` }, "–"),
    el("p", { class: "sub", id: `${name}-sub` }, "stale reads"),
  );
}

/** Run it, or resolve with the one that runs. */
export function begin() {
  running ??= race().finally(() => {
    running = null;
  });
  return running;
}

async function race() {
  const button = byId("race-start");
  button.disabled = true;
  byId("race-canvas").hidden = false;
  byId("race")
    .closest("section")
    .scrollIntoView({ block: "nearest", behavior: still.matches ? "auto" : "smooth" });
  const outage = byId("race-outage").checked && live?.redis_place === "running";
  const stopped = new Promise((done) => {
    stop = done;
  });
  const giveUp = () => document.hidden && stop();
  document.addEventListener("visibilitychange", giveUp);
  try {
    shown = await run({
      outage,
      breakIt,
      stopped,
      watch: (now) => {
        shown = now;
        frame ||= requestAnimationFrame(update);
      },
    });
    say(
      `${count(shown.writes)} writes, ${count(shown.naive.reads + shown.ours.reads)} reads. Naive: ${count(shown.naive.stale)} stale. cachelayer: ${count(shown.ours.stale)} stale.`,
    );
  } catch (error) {
    say(error.message, true);
  } finally {
    document.removeEventListener("visibilitychange", giveUp);
    button.disabled = false;
    update();
  }
  return shown;
}

function update() {
  frame = 0;
  if (!shown) return;
  for (const name of ["naive", "ours"]) {
    const { reads, stale, longest } = shown[name];
    const box = byId(`${name}-stale`);
    box.textContent = count(stale);
    box.className = `count ${stale ? "bad" : reads ? "good" : ""}`;
    byId(`${name}-sub`).textContent =
      `stale of ${count(reads)} reads${stale ? `, up to ${ms(longest)} late` : ""}`;
  }
  if (!shown.ended) say(`${shown.phase}: ${count(shown.writes)} writes so far`);
  paint();
}

function paint() {
  const canvas = byId("race-canvas");
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const lanes = {
    write: [16, 20, "writes"],
    naive: [46, 34, "naive reads"],
    ours: [92, 34, "cachelayer reads"],
  };
  pen.font = `11px ${colour("--sans") || "sans-serif"}`;
  const left = width < 500 ? 62 : 112;
  const ended = shown?.ended || performance.now();
  const length = Math.max(LENGTH, shown ? ended - shown.began : 0);
  const x = (at) => left + ((at - (shown?.began ?? 0)) / length) * (width - left - 8);
  outages(pen, x, height, colour);
  pen.fillStyle = colour("--muted");
  for (const [y, tall, name] of Object.values(lanes))
    pen.fillText(width < 500 ? name.replace(" reads", "") : name, 8, y + tall / 2 + 4);
  for (const [at, lane, stale] of shown?.events ?? []) {
    const [y, tall] = lanes[lane];
    pen.fillStyle = colour(stale ? "--bad" : lane === "write" ? "--write" : "--hit");
    pen.globalAlpha = stale ? 1 : 0.35;
    pen.fillRect(x(at), stale ? y - 4 : y, stale ? 2 : 1, stale ? tall + 8 : tall);
  }
  pen.globalAlpha = 1;
}

/** A band while Redis is stopped. */
function outages(pen, x, height, colour) {
  const phases = shown?.phases ?? [];
  phases.forEach(([at, name], index) => {
    if (name !== "Redis is stopped") return;
    const end = phases[index + 1]?.[0] ?? performance.now();
    pen.fillStyle = colour("--line");
    pen.fillRect(x(at), 0, x(end) - x(at), height);
    pen.fillStyle = colour("--muted");
    pen.fillText("Redis away", x(at) + 4, 10);
  });
}

function say(text, wrong = false) {
  byId("race-said").textContent = text;
  byId("race-said").classList.toggle("bad", wrong);
}
