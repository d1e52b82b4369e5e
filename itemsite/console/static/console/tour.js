// The tour's card: where one is, what to do, and which checks are met.

import { hear } from "./api.js";
import { perform } from "./actions.js";
import { byId, el } from "./dom.js";
import { breakIt, canSwitch, instead } from "./faults.js";
import { live } from "./live.js";
import { begin } from "./race-view.js";
import { STEPS } from "./tour-steps.js";

let at = 0;
/** What to do was drawn for this: "" where the page can switch Redis, else whose it is. */
let place = "";
let events = [];
let race = null;
/** What was last written to the current item, over all steps. */
let price = null;
let met = [];
/** Steps whose every check was met. */
const done = new Set();

export function start() {
  hear("exchange", (exchange) => {
    if (exchange.crowd) return;
    events.push(exchange);
    if (events.length > 200) events.shift();
    if (exchange.outcome === "write" && exchange.json) price = exchange.json.price;
    check();
  });
  hear("live", () => {
    if (whose() !== place) drawTodo();
    check();
  });
  hear("race", (ended) => {
    race = ended;
    check();
  });
  go(0, false);
}

function go(step, focus = true) {
  at = step;
  events = [];
  race = null;
  met = STEPS[at].checks.map(() => null);
  draw();
  check();
  if (focus) byId("tour-step").focus();
}

function check() {
  const context = { events, live, race, price };
  let changed = false;
  STEPS[at].checks.forEach(({ find }, index) => {
    if (met[index]) return;
    const fact = find(context);
    if (!fact) return;
    met[index] = fact;
    changed = true;
  });
  if (changed) {
    if (met.every(Boolean)) done.add(at);
    drawChecks();
  }
}

function draw() {
  const step = STEPS[at];
  byId("tour").replaceChildren(
    el("p", { class: "kicker", id: "tour-title" }, `The tour, step ${at + 1} of ${STEPS.length}`),
    el(
      "ol",
      { class: "progress", "aria-hidden": "true" },
      STEPS.map((_, index) =>
        el("li", { class: index === at ? "now" : done.has(index) ? "done" : "" }),
      ),
    ),
    el("h3", { id: "tour-step", tabindex: "-1" }, step.title),
    ...step.text.map((text) => el("p", {}, text)),
    step.todo.length ? el("p", { class: "label" }, "Do this") : "",
    el("div", { class: "bar", id: "tour-todo" }),
    step.figure ? step.figure() : "",
    step.checks.length ? el("p", { class: "label" }, "You should see") : "",
    el("ul", { class: "checks", id: "tour-checks", "aria-live": "polite" }),
    el(
      "div",
      { class: "nav" },
      el(
        "button",
        { type: "button", class: "quiet", disabled: at === 0, onclick: () => go(at - 1) },
        "Back",
      ),
      at + 1 < STEPS.length
        ? el("button", { type: "button", id: "tour-next", onclick: () => go(at + 1) }, "Next")
        : el("button", { type: "button", id: "tour-next", onclick: () => go(0) }, "From the start"),
    ),
  );
  drawTodo();
  drawChecks();
}

const whose = () => (live === null || canSwitch(live) ? "" : live.redis_place);

function drawTodo() {
  place = whose();
  const focused = document.activeElement?.dataset?.todo;
  byId("tour-todo").replaceChildren(...STEPS[at].todo.map(todo));
  if (focused) byId("tour-todo").querySelector(`[data-todo="${focused}"]`)?.focus();
}

function todo({ act, fault, race: isRace, label }) {
  const otherwise = fault && instead(fault);
  if (otherwise) return otherwise;
  const press = async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    if (act) await perform(act);
    else if (fault) await breakIt(fault);
    else if (isRace) await begin();
    button.disabled = false;
    // The focus was lost with the button.
    if (document.activeElement === document.body) button.focus();
  };
  return el(
    "button",
    { type: "button", "data-todo": act ?? fault ?? "race", onclick: press },
    label,
  );
}

/** Only what has changed is replaced: a screen reader says that, and not the whole list. */
function drawChecks() {
  const list = byId("tour-checks");
  STEPS[at].checks.forEach(({ text }, index) => {
    const old = list.children[index];
    if (old?.dataset.met === String(Boolean(met[index]))) return;
    const item = el(
      "li",
      { class: met[index] ? "met" : "", "data-met": String(Boolean(met[index])) },
      el("span", { class: "mark", "aria-hidden": "true" }, "✓"),
      el(
        "span",
        {},
        el("span", { class: "visually-hidden" }, met[index] ? "Seen: " : "Not seen yet: "),
        text,
        met[index] ? el("span", { class: "fact" }, met[index]) : "",
      ),
    );
    if (old) old.replaceWith(item);
    else list.append(item);
  });
  byId("tour-next").classList.toggle("primary", met.every(Boolean));
}
