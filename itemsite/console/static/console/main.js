// Brings the parts of the page together.

import { hear } from "./api.js";
import * as actions from "./actions.js";
import { caption } from "./caption.js";
import { byId, el } from "./dom.js";
import * as faults from "./faults.js";
import * as latency from "./latency.js";
import * as liveNumbers from "./live.js";
import * as numbers from "./numbers.js";
import { ofExchange } from "./paths.js";
import * as picture from "./picture.js";
import * as raceView from "./race-view.js";
import * as requests from "./requests.js";
import * as stamp from "./stamp.js";
import * as theme from "./theme.js";
import * as tour from "./tour.js";

/** Of many requests at a time, one in so many milliseconds is drawn. */
const DRAWN_EVERY = 400;
let drawn = 0;
let shownTrace = "";

function draw(way) {
  drawn = performance.now();
  picture.show(way);
  byId("caption").replaceChildren(...caption(way).filter(Boolean));
}

async function answered(exchange) {
  if (exchange.many) return;
  if (exchange.redis !== null) latency.add(exchange.outcome, exchange.redis + exchange.postgres);
  requests.note(exchange);
  if (exchange.crowd && performance.now() - drawn < DRAWN_EVERY) return;
  shownTrace = exchange.trace;
  // Whether Redis took a write's mark, the answer does not say; the gate does.
  const now = exchange.crowd ? liveNumbers.live : await liveNumbers.look({ fresh: true });
  if (shownTrace === exchange.trace) draw(ofExchange(exchange, now));
}

/** The trace of a request that is still shown says each step's time. */
function traced({ way, mine, id }) {
  if (!mine) {
    latency.add(way.outcome, way.redis + way.postgres);
    if (performance.now() - drawn > DRAWN_EVERY) draw(way);
  } else if (id === shownTrace && way.outcome !== "failed") {
    byId("caption").replaceChildren(...caption(way).filter(Boolean));
  }
}

function health({ redis, postgres, gates }) {
  const down = [redis === "down" && "Redis", postgres === "down" && "Postgres"].filter(Boolean);
  const pill = byId("health");
  const text = down.length
    ? `degraded: ${down.join(" and ")} away`
    : gates.open
      ? "recovering"
      : "healthy";
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${down.length || gates.open ? "bad" : "good"}`;
}

function links(found) {
  const key = JSON.stringify(found);
  if (links.shown === key) return;
  links.shown = key;
  byId("links").replaceChildren(
    ...found.map(({ name, url, answers }) =>
      el(
        "li",
        { class: answers ? "" : "off" },
        el("span", { class: `led ${answers ? "on" : ""}`, "aria-hidden": "true" }),
        el(
          "a",
          { href: url, title: answers ? `${name} answers` : `${name} does not answer` },
          name,
        ),
        answers ? "" : el("span", { class: "visually-hidden" }, " (does not answer)"),
      ),
    ),
  );
}

hear("live", (live) => {
  byId("away").hidden = true;
  picture.state(live);
  numbers.show(live);
  faults.show(live);
  health(live);
  links(live.links);
});
hear("away", () => {
  byId("away").hidden = false;
});
hear("exchange", answered);
hear("trace", traced);

theme.start();
picture.start();
latency.start();
actions.start();
raceView.start();
requests.start();
stamp.start();
tour.start();
liveNumbers.start();
document.documentElement.dataset.ready = "true";
