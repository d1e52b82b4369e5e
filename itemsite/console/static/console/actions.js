// What the buttons do: each a real request to the API.

import { facts, send, tell } from "./api.js";
import * as exchange from "./exchange.js";
import { byId, ms, short } from "./dom.js";

const NAMES = ["Teapot", "Desk lamp", "Notebook", "Umbrella", "Bicycle bell", "Garden chair"];
const MANY = 100;
const AT_A_TIME = 4;

/** The item that the buttons are about. */
export const current = { id: facts.sample, own: false, name: "a sample row" };

const path = () => `/items/${current.id}`;
const price = () => Math.round(100 + Math.random() * 9900) / 100;

export const actions = {
  read: () => one("GET", path()),
  update: () => one("PATCH", path(), { price: price() }),
  list: () => one("GET", facts.list),
  clear: () => one("POST", "/cache/clear"),
  async create() {
    const made = await one("POST", "/items", {
      name: NAMES[Math.floor(Math.random() * NAMES.length)],
      price: price(),
    });
    if (made.status === 201) use(made.json.id, true, made.json.name);
    return made;
  },
  async remove() {
    const gone = await one("DELETE", path());
    if (gone.status === 204 || gone.status === 404) use(facts.sample, false, "a sample row");
    return gone;
  },
  many,
};

export function start() {
  use(facts.sample, false, "a sample row");
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => perform(button.dataset.do));
  }
}

/** Do one; the button is off meanwhile, so that answers stay in order. */
export async function perform(name) {
  const button = document.querySelector(`[data-do="${name}"]`);
  button?.setAttribute("aria-busy", "true");
  try {
    return await actions[name]();
  } finally {
    button?.removeAttribute("aria-busy");
  }
}

async function one(method, path, body) {
  const answered = await send(method, path, body);
  exchange.show(answered);
  return answered;
}

async function many() {
  const times = [];
  const outcomes = {};
  let left = MANY;
  let last = null;
  const reader = async () => {
    while (left-- > 0) {
      last = await send("GET", path(), undefined, { quiet: true });
      tell("exchange", { ...last, crowd: true });
      times.push(last.ms);
      const name = last.headers["X-Cache"] ?? `status ${last.status}`;
      outcomes[name] = (outcomes[name] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, reader));
  times.sort((a, b) => a - b);
  const counted = Object.entries(outcomes)
    .map(([name, number]) => `${number} ${name}`)
    .join(", ");
  exchange.show(
    last,
    `${MANY} of these, ${AT_A_TIME} at a time: ${counted}. Round trip ${ms(times[MANY / 2])} median, ${ms(times.at(-1))} at most.`,
  );
  tell("exchange", { ...last, many: outcomes });
  return last;
}

function use(id, own, name) {
  Object.assign(current, { id, own, name });
  byId("item").textContent = short(id);
  byId("item").title = id;
  byId("item-note").textContent = own ? `(${name}, made by this page)` : `(${name})`;
  const remove = document.querySelector('[data-do="remove"]');
  remove.disabled = !own;
  remove.title = own ? "" : "Create an item first: the sample rows stay.";
}
