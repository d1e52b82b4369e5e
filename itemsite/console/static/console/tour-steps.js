// The tour: what to do, and what must then be seen. Each check answers with the fact that
// it has found, or with nothing; the fact is from a real answer or from the live numbers.

import { ms } from "./dom.js";
import {
  after,
  cacheOf,
  freshLists,
  freshRead,
  isClear,
  isList,
  isRead,
  last,
  wrote,
} from "./events.js";
import { drawn } from "./stamp.js";

/** `ctx`: the answers since the step began, the live numbers, the race, the price last written. */
export const STEPS = [
  {
    title: "A write goes to both",
    text: [
      "A row’s truth is in Postgres, and Redis holds the very JSON that the API answers. A write puts the row into both before it is acknowledged.",
      "So a new row is in the cache before anybody has read it.",
    ],
    todo: [
      { act: "create", label: "Create an item" },
      { act: "read", label: "Read it" },
    ],
    checks: [
      {
        text: "The item is stored: 201, by way of Postgres, a mark in Redis, COMMIT, push.",
        find: ({ events }) => {
          const made = last(events, (event) => event.status === 201);
          return made && `Postgres ${ms(made.postgres)}, Redis ${ms(made.redis)}`;
        },
      },
      {
        text: "Its very first read is a hit.",
        find: ({ events }) => {
          const made = last(events, (event) => event.status === 201);
          const read =
            made &&
            after(events, (event) => event === made).find(
              (event) => isRead(event) && event.path.endsWith(made.json.id),
            );
          return read?.outcome === "hit" && cacheOf(read);
        },
      },
    ],
  },
  {
    title: "A hit touches Redis only",
    text: [
      "One round trip to Redis, and its bytes go out as they are. Postgres is not asked, so it may even be away.",
    ],
    todo: [
      { act: "read", label: "Read it" },
      { act: "many", label: "100 reads" },
    ],
    checks: [
      {
        text: "A read says HIT, with no time in Postgres.",
        find: ({ events }) => {
          const hit = last(events, (event) => event.outcome === "hit" && event.postgres === 0);
          return hit && hit.headers["Server-Timing"];
        },
      },
      {
        text: "A hundred of them are hits.",
        find: ({ events }) => {
          const many = last(events, (event) => event.many);
          return many && many.many.HIT === 100 && "100 of 100";
        },
      },
    ],
  },
  {
    title: "A miss fills the cache",
    text: [
      "After a clear nobody knows the row. The first reader takes a lease, loads the row from Postgres, and fills the cache, if its lease still stands: a write in between would have taken it away.",
    ],
    todo: [
      { act: "clear", label: "Clear the cache" },
      { act: "read", label: "Read it, twice" },
    ],
    checks: [
      {
        text: "The cache is empty.",
        find: ({ events }) => {
          const clear = last(events, isClear);
          return clear && `keys_deleted: ${clear.json.keys_deleted}`;
        },
      },
      {
        text: "The first read is a miss, and Postgres has taken time.",
        find: ({ events }) => {
          const miss = after(events, isClear).find((event) => event.outcome === "miss");
          return events.some(isClear) && miss && `${cacheOf(miss)}, Postgres ${ms(miss.postgres)}`;
        },
      },
      {
        text: "The next is a hit.",
        find: ({ events }) => {
          const miss = events.find((event) => event.outcome === "miss");
          const hit =
            miss &&
            after(events, (event) => event === miss).find((event) => event.outcome === "hit");
          return hit && cacheOf(hit);
        },
      },
    ],
  },
  {
    title: "An update is seen at once",
    text: [
      "The writer holds the row’s lock, marks the key, commits, and pushes the new row. Whichever worker answers the next read, it has the new price, and it is a hit.",
    ],
    todo: [
      { act: "update", label: "Change the price" },
      { act: "read", label: "Read it" },
    ],
    checks: [
      {
        text: "The price is changed: 200.",
        find: ({ events }) => {
          const write = last(events, wrote);
          return write?.status === 200 && `price ${write.json.price}`;
        },
      },
      {
        text: "The next read has the new price, from Redis.",
        find: ({ events }) => {
          const read = freshRead(events);
          return read?.outcome === "hit" && `price ${read.json.price}, ${cacheOf(read)}`;
        },
      },
    ],
  },
  {
    title: "A list follows its rows",
    text: [
      "A page of the list is cached under a stamp: one key in Redis that stands for the table. A writer of any row puts its mark in the stamp’s place before COMMIT, and takes it away after.",
      "The page stays as it is. Without its stamp it is not valid, and the next reader makes a new stamp and a new page.",
    ],
    todo: [
      { act: "list", label: "Read the list" },
      { act: "update", label: "Change the price" },
    ],
    figure: drawn,
    checks: [
      {
        text: "The list’s second read is a hit.",
        find: ({ events }) => {
          const [one, two] = events.filter((event) => isList(event) || wrote(event)).slice(-2);
          return two?.outcome === "hit" && isList(one) && `${cacheOf(one)}, then HIT`;
        },
      },
      {
        text: "After a change, its next read is a miss, and has the change.",
        find: ({ events }) => {
          const miss = freshLists(events).find(({ event }) => event.outcome === "miss");
          return miss && `${miss.says}, ${cacheOf(miss.event)}`;
        },
      },
      {
        text: "And then it is a hit again.",
        find: ({ events }) => {
          const hit = freshLists(events).find(({ event }) => event.outcome === "hit");
          return hit && `${hit.says}, ${cacheOf(hit.event)}`;
        },
      },
    ],
  },
  {
    title: "Redis goes away",
    text: [
      "Now take Redis away. Each worker’s gate opens, like a circuit breaker: it asks Redis no more. What is written without a mark goes into the repair log, a table, in the same transaction as the row.",
    ],
    todo: [
      { fault: "stop-redis", label: "Stop Redis" },
      { act: "update", label: "Change the price" },
      { act: "read", label: "Read it" },
    ],
    checks: [
      {
        text: "Redis does not answer, a gate is open.",
        find: ({ live }) =>
          live?.redis === "down" &&
          live.gates.open > 0 &&
          `open in ${live.gates.open} of ${live.gates.workers} workers`,
      },
      {
        text: "A write is still acknowledged, and the keys of row and stamp are in the repair log.",
        find: ({ events, live }) => {
          const write = last(events, wrote);
          return (
            write &&
            live?.repair.backlog > 0 &&
            `status ${write.status}, repair log ${live.repair.backlog}`
          );
        },
      },
      {
        text: "A read gives what was written, from Postgres.",
        find: ({ events }) => {
          const read = freshRead(events);
          return read?.outcome === "bypass" && `price ${read.json.price}, ${cacheOf(read)}`;
        },
      },
    ],
  },
  {
    title: "Redis comes back, with old rows",
    text: [
      "This Redis has saved its rows and loads them again: the price from before the outage. A cache that trusts it now is stale. Here every new connection asks the server who it is; it is swept and the log is drained before anybody reads it.",
    ],
    todo: [
      { fault: "start-redis", label: "Start Redis" },
      { act: "read", label: "Read it" },
    ],
    checks: [
      {
        text: "All gates are closed and the repair log is empty.",
        find: ({ live }) =>
          live?.redis === "ok" &&
          live.gates.open === 0 &&
          live.repair.backlog === 0 &&
          `${live.gates.workers} workers, 0 keys`,
      },
      {
        text: "A read gives the price that was written while Redis was away.",
        find: ({ events, price }) => {
          const read = last(events, (event) => isRead(event) && event.status === 200);
          return (
            read &&
            price !== null &&
            read.json.price === price &&
            `price ${read.json.price}, ${cacheOf(read)}`
          );
        },
      },
      {
        text: "And from then on it is a hit again.",
        find: ({ events, price }) => {
          const hit = last(
            events,
            (event) => event.outcome === "hit" && (price === null || event.json?.price === price),
          );
          return hit && cacheOf(hit);
        },
      },
    ],
  },
  {
    title: "Beside a naive cache",
    text: [
      "The usual write-through, commit and then SET, looks the same until writers meet or Redis fails. The race runs both on the same writes for some fifteen seconds, and this page checks every read.",
    ],
    todo: [{ race: true, label: "Start the race" }],
    checks: [
      {
        text: "The naive cache gives rows that are older than an acknowledged write.",
        find: ({ race }) =>
          race?.naive.stale > 0 && `${race.naive.stale} stale of ${race.naive.reads} reads`,
      },
      {
        text: "This one gives none.",
        find: ({ race }) =>
          race?.ours.reads > 0 && race.ours.stale === 0 && `0 stale of ${race.ours.reads} reads`,
      },
    ],
  },
  {
    title: "That is all of it",
    text: [
      "Write through, hit, miss, outage, recovery. What the cache promises in each of these, and what it does not, stands in the README, with the model and the tests that force it.",
      "Go on by yourself: pause Redis under load, kill a worker in the race, open a trace.",
    ],
    todo: [],
    checks: [],
  },
];
