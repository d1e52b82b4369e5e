// Break it: what the lab does to its own processes, and what to look for.

import { control, tell } from "./api.js";
import { perform } from "./actions.js";
import { byId, command, el } from "./dom.js";
import { live, look } from "./live.js";

const SWITCHES = [
  {
    name: "stop-redis",
    title: "Stop Redis",
    text: "The gate opens, reads and writes go on from Postgres, the repair log fills.",
    terminal: "docker compose stop redis",
    yours: "Stop the Redis of your REDIS_URL.",
    when: "running",
  },
  {
    name: "start-redis",
    title: "Start Redis",
    text: "It comes back with old rows. Nobody reads them: it is swept, settled, then trusted.",
    terminal: "docker compose start redis",
    yours: "Start the Redis of your REDIS_URL again.",
    when: "stopped",
  },
  {
    name: "pause-redis",
    title: "Pause Redis for 5 s",
    text: "Connections stay and nothing answers: timeouts of 50 ms, then the gate.",
    terminal: "docker compose pause redis; sleep 5; docker compose unpause redis",
    yours: "Freeze the Redis of your REDIS_URL: kill -STOP and, later, kill -CONT its process.",
    when: "running",
  },
];
const WORKER = {
  name: "kill-worker",
  title: "Kill a worker",
  text: "SIGKILL, in the middle of whatever it does. Its marks stand until they are over; no row goes stale.",
};

let shown = "";

/** Do one; resolves with whether it was done, when the numbers have been looked at again. */
export async function breakIt(name) {
  say("…");
  const done = await control("POST", `/console/faults/${name}`).catch(() => ({
    ok: false,
    detail: "There was no answer.",
  }));
  say(done.detail, !done.ok);
  tell("fault", { name, ok: done.ok });
  await look({ fresh: true });
  return done.ok;
}

/** Whether this page can stop and start Redis. */
export const canSwitch = (numbers) =>
  numbers !== null && ["running", "stopped"].includes(numbers.redis_place);

/** What a person must do where the page cannot, as a node; null where it can. */
export function instead(name, numbers = live) {
  if (numbers === null || canSwitch(numbers)) return null;
  const { terminal, yours } = SWITCHES.find((fault) => fault.name === name);
  return numbers.redis_place === "yours" ? el("p", { class: "yours" }, yours) : command(terminal);
}

export function show(numbers) {
  if (numbers.redis_place === shown) return;
  const focused = document.activeElement?.dataset?.fault;
  shown = numbers.redis_place;
  byId("faults").replaceChildren(
    shown === "compose"
      ? el("p", { class: "muted" }, "Redis is not this lab’s own process here. In a terminal:")
      : "",
    ...SWITCHES.map((fault) => row(fault, instead(fault.name, numbers), fault.when !== shown)),
    row(WORKER, null, false),
    row(
      {
        name: "clear",
        title: "Clear the cache",
        text: "Every row is a miss once. Marks of running transactions stay.",
      },
      null,
      false,
    ),
    el("p", { id: "said", class: "said", role: "status" }),
  );
  if (focused) byId("faults").querySelector(`[data-fault="${focused}"]:not(:disabled)`)?.focus();
}

function row({ name, title, text }, otherwise, disabled) {
  const press = () => (name === "clear" ? perform("clear") : breakIt(name));
  return el(
    "div",
    { class: "fault" },
    el("div", {}, el("h3", {}, title), el("p", {}, text), otherwise),
    otherwise
      ? null
      : el(
          "button",
          {
            type: "button",
            class: name === "start-redis" || name === "clear" ? "" : "danger",
            disabled,
            "data-fault": name,
            "aria-label": title,
            onclick: press,
          },
          {
            "stop-redis": "Stop",
            "start-redis": "Start",
            "pause-redis": "Pause",
            "kill-worker": "Kill",
            clear: "Clear",
          }[name],
        ),
  );
}

function say(text, wrong = false) {
  const said = byId("said");
  if (!said) return;
  said.textContent = text;
  said.classList.toggle("bad", wrong);
}
