// The picture: client → API → Redis / Postgres. Shows one request at a time, step by step.

import { byId, count, ms, narrow, short, still, svg } from "./dom.js";

const WIDE = {
  box: "0 0 980 330",
  client: [20, 118, 160, 94],
  api: [330, 92, 190, 146],
  redis: [770, 14, 196, 112],
  postgres: [770, 184, 196, 134],
  log: [784, 266, 168, 40],
  edges: {
    client: { d: "M180 165 H330", label: [255, 148], value: [255, 190], anchor: "middle" },
    redis: {
      d: "M520 132 H656 C712 132 712 70 770 70",
      label: [632, 62],
      value: [632, 82],
      anchor: "middle",
    },
    postgres: {
      d: "M520 200 C620 200 660 250 770 250",
      label: [620, 268],
      value: [620, 288],
      anchor: "middle",
    },
  },
  lever: [
    [584, 132],
    [644, 132],
  ],
  leverText: [614, 160, "middle"],
};
const NARROW = {
  box: "0 0 380 366",
  client: [100, 4, 180, 56],
  api: [60, 106, 260, 58],
  redis: [6, 250, 176, 110],
  postgres: [198, 250, 176, 110],
  log: [208, 316, 156, 36],
  edges: {
    client: { d: "M190 60 V106", label: [200, 78], value: [200, 97], anchor: "start" },
    redis: { d: "M112 164 V250", label: [100, 222], value: [100, 240], anchor: "end" },
    postgres: { d: "M252 164 V250", label: [262, 198], value: [262, 218], anchor: "start" },
  },
  lever: [
    [112, 178],
    [112, 212],
  ],
  leverText: [124, 200, "start"],
};
const STEP = 260;

const parts = {};
let layout = WIDE;
let run = 0;
let last = null;
let lastWay = null;

export function start() {
  const build = () => {
    layout = narrow.matches ? NARROW : WIDE;
    draw();
    if (last) state(last);
    if (lastWay) show(lastWay, { move: false });
  };
  narrow.addEventListener("change", build);
  build();
}

function draw() {
  const root = svg("svg", {
    viewBox: layout.box,
    role: "img",
    "aria-label": "Client, API, Redis and Postgres, and the way of the last request",
  });
  for (const name of ["client", "redis", "postgres"]) root.append(edge(name));
  root.append(lever());
  root.append(
    node("client", "Client"),
    node("api", "API"),
    node("redis", "Redis"),
    node("postgres", "Postgres"),
    repairLog(),
  );
  parts.dot = svg("circle", { class: "dot", r: 7, visibility: "hidden" });
  root.append(parts.dot);
  byId("picture").replaceChildren(root);
}

function node(name, title) {
  const [x, y, w, h] = layout[name];
  const note = svg("text", { class: "note", x: x + 16, y: y + 50 });
  const more = svg("text", { class: "note", x: x + 16, y: y + 70 });
  const group = svg(
    "g",
    { class: `node ${name}` },
    svg("rect", { class: "box", x, y, width: w, height: h, rx: 10 }),
    svg("rect", { class: "band", x, y: y + 12, width: 5, height: h - 24, rx: 2.5 }),
    svg("text", { class: "name", x: x + 16, y: y + 28 }, title),
    note,
    more,
  );
  parts[name] = { group, note, more };
  return group;
}

function edge(name) {
  const { d, label, value, anchor } = layout.edges[name];
  const path = svg("path", { d });
  const names = svg("text", { class: "label", x: label[0], y: label[1], "text-anchor": anchor });
  const time = svg("text", { class: "value", x: value[0], y: value[1], "text-anchor": anchor });
  const group = svg("g", { class: "edge" }, path, names, time);
  parts[`${name}Edge`] = { group, path, names, time };
  return group;
}

function lever() {
  const [[x1, y1], [x2, y2]] = layout.lever;
  const [tx, ty, anchor] = layout.leverText;
  const bar = svg("line", { class: "lever", x1, y1, x2, y2 });
  bar.style.transformBox = "view-box";
  bar.style.transformOrigin = `${x1}px ${y1}px`;
  const flat = y1 === y2;
  const text = svg("text", { x: tx, y: ty, "text-anchor": anchor }, "gate");
  parts.lever = { text };
  parts.lever.group = svg(
    "g",
    { class: "switch" },
    // Covers the edge, so that a lifted lever leaves a gap.
    svg("rect", {
      class: "plate",
      fill: "var(--card)",
      x: flat ? x1 : x1 - 8,
      y: flat ? y1 - 8 : y1,
      width: flat ? x2 - x1 : 16,
      height: flat ? 16 : y2 - y1,
    }),
    bar,
    svg("circle", { cx: x1, cy: y1, r: 5 }),
    svg("circle", { cx: x2, cy: y2, r: 5 }),
    text,
  );
  return parts.lever.group;
}

function repairLog() {
  const [x, y, w, h] = layout.log;
  const text = svg("text", { class: "count", x: x + 10, y: y + h / 2 + 5 }, "repair log: empty");
  parts.log = { text };
  parts.log.group = svg(
    "g",
    { class: "log" },
    svg("rect", { x, y, width: w, height: h, rx: 6 }),
    text,
  );
  return parts.log.group;
}

/** What stands, whatever request is shown: gate, servers, log. */
export function state(live) {
  last = live;
  const open = live.gates.open > 0;
  const down = live.redis === "down";
  parts.lever.group.classList.toggle("open", open);
  parts.lever.text.textContent = open
    ? `gate ${down ? "open" : "settling"} ${live.gates.open}/${live.gates.workers}`
    : "gate closed";
  parts.redisEdge.group.classList.toggle("cut", open);
  parts.redis.group.classList.toggle("away", down);
  parts.redis.note.textContent = down
    ? "does not answer"
    : `${count(live.cached_items)} cached ${live.cached_items === 1 ? "row" : "rows"}`;
  parts.redis.more.textContent = down ? "" : "same bytes as the API";
  parts.postgres.group.classList.toggle("away", live.postgres === "down");
  parts.postgres.note.textContent = live.postgres === "down" ? "does not answer" : "the truth";
  const workers = `${live.gates.workers} ${live.gates.workers === 1 ? "worker" : "workers"}`;
  const rate = live.hit_rate === null ? "" : `hit rate ${live.hit_rate} %`;
  const oneLine = layout === NARROW;
  parts.api.note.textContent = oneLine && rate ? `${workers}, ${rate}` : workers;
  parts.api.more.textContent = oneLine ? "" : rate;
  const backlog = live.repair.backlog;
  parts.log.group.classList.toggle("filling", backlog > 0);
  parts.log.text.textContent = backlog
    ? `repair log: ${count(backlog)} ${backlog === 1 ? "key" : "keys"}`
    : "repair log: empty";
}

/** Light the way of one request. A newer one takes over. */
export async function show(way, { move = !still.matches } = {}) {
  const mine = ++run;
  lastWay = way;
  clear(way.outcome);
  parts.api.group.classList.add("lit");
  parts.client.note.textContent = way.who === "you" ? "this page" : "somebody else";
  const { names, time } = parts.clientEdge;
  names.textContent = `${way.method} ${brief(way.path)}`;
  const steps = [{ to: "client", inward: true }, ...way.steps, { to: "client" }];
  const seen = { redis: [], postgres: [] };
  for (const step of steps) {
    if (mine !== run) return;
    const where = step.to === "log" ? "postgres" : step.to;
    const edgeOf = parts[`${where}Edge`];
    edgeOf.group.classList.add("lit");
    parts[where].group.classList.add("lit");
    if (seen[where]) {
      const word = step.to === "log" ? "log" : step.name;
      if (seen[where].at(-1) !== word) seen[where].push(word);
      edgeOf.names.textContent = layout === NARROW ? ends(seen[where]) : seen[where].join(" · ");
      edgeOf.time.textContent = ms(way[where]);
    }
    if (move) await travel(edgeOf.path, step.to === "client" && !step.inward, mine);
  }
  if (mine === run) time.textContent = ms(way.total);
}

function clear(outcome) {
  for (const name of ["client", "api", "redis", "postgres"]) {
    parts[name].group.classList.remove("lit", "hit", "miss", "write", "bypass", "failed", "other");
    parts[name].group.classList.add(outcome);
  }
  for (const name of ["client", "redis", "postgres"]) {
    const { group, names, time } = parts[`${name}Edge`];
    group.classList.remove("lit", "hit", "miss", "write", "bypass", "failed", "other");
    group.classList.add(outcome);
    names.textContent = time.textContent = "";
  }
  parts.dot.setAttribute("class", `dot ${outcome}`);
  parts.dot.setAttribute("visibility", "hidden");
}

/** The dot goes along *path*. */
function travel(path, backward, mine) {
  if (document.hidden) return Promise.resolve();
  const length = path.getTotalLength();
  const began = performance.now();
  return new Promise((done) => {
    const frame = (now) => {
      const share = Math.min(1, (now - began) / STEP);
      if (mine !== run || share >= 1) {
        parts.dot.setAttribute("visibility", "hidden");
        done();
        return;
      }
      const at = path.getPointAtLength(length * (backward ? 1 - share : share));
      parts.dot.setAttribute("cx", at.x);
      parts.dot.setAttribute("cy", at.y);
      parts.dot.setAttribute("visibility", "visible");
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
}

/** Where there is no room for all of them. */
const ends = (names) => (names.length > 1 ? `${names[0]}…${names.at(-1)}` : names[0]);
const brief = (path) => short(path.split("?")[0]).replace(/\/items\/.*…/, "/items/…");
