// The race: this page's own clients write one row and read it from both caches, and check
// every read. A read is stale when it gives less than a write that was acknowledged before
// the read began. One thread starts and ends everything, so that order is certain.

import { control, facts, send, tell } from "./api.js";

const WRITERS = 3;
const READERS = 2;
/** Without an outage of its own: time enough to type one. */
const ALONE = 30000;
/** What takes longer than this does not come any more. */
const DEADLINE = 60000;
const SIDES = ["naive", "ours"];
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/**
 * Run it. With *outage*, Redis is stopped in the middle and comes back with its old data.
 * *watch* is called with the race after every request. Resolves with the race.
 */
export async function run({ outage, breakIt, watch, stopped }) {
  const made = await control("POST", "/console/race");
  if (!made.ok) throw new Error(made.detail || "The race’s row could not be made.");
  const race = {
    id: made.json.id,
    outage,
    began: performance.now(),
    ended: 0,
    writes: 0,
    refused: 0,
    away: false,
    /** Acknowledged writes that were sent while Redis was stopped: no SET of theirs arrived. */
    unheard: 0,
    newest: 0,
    phase: "",
    acknowledged: [[0, performance.now()]],
    events: [],
    phases: [],
    naive: { reads: 0, stale: 0, longest: 0 },
    ours: { reads: 0, stale: 0, longest: 0 },
  };
  const until = { stop: false, writing: true, sparing: false, underWay: 0 };
  const clients = [
    ...Array.from({ length: WRITERS }, () => writer(race, until, watch)),
    ...Array.from({ length: READERS }, () => reader(race, until, watch)),
  ];
  const leave = () => race.away && startRedisByBeacon();
  addEventListener("pagehide", leave);
  stopped.then(() => {
    until.stop = true;
  });
  try {
    await (outage ? withOutage(race, until, breakIt) : bursts(race, until, ALONE));
  } finally {
    until.stop = true;
    removeEventListener("pagehide", leave);
    await Promise.all(clients);
    race.ended = performance.now();
    phase(race, "");
    if (race.away) await breakIt("start-redis");
    await control("DELETE", `/console/race/${race.id}`).catch(() => null);
  }
  tell("race", race);
  return race;
}

/**
 * The row is written while Redis is stopped, and Redis comes back with the row from before.
 * Nothing that SETs the naive cache is under way then: a read that missed just before and
 * SETs just after would mend it, by luck. The real one is read all along.
 */
async function withOutage(race, until, breakIt) {
  await bursts(race, until, 4500);
  if (until.stop) return;
  race.away = await breakIt("stop-redis");
  if (!race.away) throw new Error("Redis could not be stopped.");
  phase(race, "Redis is stopped");
  until.writing = true;
  await reached(until, 1500, () => race.unheard > 0, "No write was acknowledged without Redis.");
  until.writing = false;
  until.sparing = true;
  await reached(until, 300, () => until.underWay === 0, "A request of the race does not end.");
  if (until.stop) return;
  phase(race, "Redis is started, with its old data");
  race.away = !(await breakIt("start-redis"));
  if (race.away) throw new Error("Redis could not be started.");
  until.sparing = false;
  const before = SIDES.map((side) => race[side].reads);
  const both = () => SIDES.every((side, index) => race[side].reads > before[index]);
  await reached(until, 3500, both, "Nothing was read after Redis had come back.");
  await bursts(race, until, 2000);
}

/**
 * Wait for *least* milliseconds and until *condition* holds; no longer than the race goes on.
 * Throws *otherwise* when it never holds.
 */
async function reached(until, least, condition, otherwise) {
  const began = performance.now();
  while (!until.stop) {
    const waited = performance.now() - began;
    if (waited >= least && condition()) return;
    if (waited >= DEADLINE)
      throw new Error(`${otherwise} The top of this page says what is down; then race again.`);
    await wait(20);
  }
}

/** For a page that is closed in the middle of the outage: nobody else would end it. */
function startRedisByBeacon() {
  const form = new FormData();
  form.set("csrfmiddlewaretoken", facts.csrf);
  navigator.sendBeacon("/console/faults/start-redis", form);
}

/** Writers in bursts: what is wrong at the end of one stands until the next. */
async function bursts(race, until, duration) {
  phase(race, "three writers at a time");
  const end = performance.now() + duration;
  while (performance.now() < end && !until.stop) {
    until.writing = true;
    await wait(250);
    until.writing = false;
    await wait(200);
  }
}

function phase(race, name) {
  race.phase = name;
  race.phases.push([performance.now(), name]);
}

async function writer(race, until, watch) {
  while (!until.stop) {
    if (!until.writing) {
      await wait(10);
      continue;
    }
    const { away } = race;
    const done = await counted(
      until,
      control("PUT", `/console/race/${race.id}`).catch(() => null),
    );
    if (done?.ok) {
      race.writes += 1;
      race.unheard += away ? 1 : 0;
      race.acknowledged.push([done.json.price, performance.now()]);
      race.newest = Math.max(race.newest, done.json.price);
      race.events.push([performance.now(), "write", false]);
    } else {
      race.refused += 1;
      await wait(100);
    }
    watch(race);
    await wait(Math.random() * 8);
  }
}

async function reader(race, until, watch) {
  for (let turn = 0; !until.stop; turn += 1) {
    const side = until.sparing ? "ours" : SIDES[turn % 2];
    const newest = race.newest;
    const began = performance.now();
    const asked = READ[side](race.id);
    const found = await (side === "naive" ? counted(until, asked) : asked);
    if (found) {
      const stale = found.price < newest;
      race[side].reads += 1;
      if (stale) {
        race[side].stale += 1;
        race[side].longest = Math.max(race[side].longest, began - firstNewer(race, found.price));
      }
      race.events.push([performance.now(), side, stale]);
    } else {
      race.refused += 1;
      await wait(100);
    }
    watch(race);
    await wait(4);
  }
}

/** What *request* resolves with; one that may SET the naive cache is under way until then. */
async function counted(until, request) {
  until.underWay += 1;
  try {
    return await request;
  } finally {
    until.underWay -= 1;
  }
}

const READ = {
  naive: (id) =>
    fetch(`/console/race/${id}`, { cache: "no-store" })
      .then((answer) => (answer.ok ? answer.json() : null))
      .catch(() => null),
  async ours(id) {
    const read = await send("GET", `/items/${id}`, undefined, { quiet: true });
    tell("exchange", { ...read, crowd: true });
    return read.status === 200 ? read.json : null;
  },
};

/** When a write that is newer than *price* was first acknowledged. */
function firstNewer(race, price) {
  return Math.min(...race.acknowledged.filter(([number]) => number > price).map(([, at]) => at));
}
