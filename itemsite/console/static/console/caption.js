// The picture in words, for everybody and for screen readers.

import { el, ms } from "./dom.js";

const WORDS = {
  hit: "Hit",
  miss: "Miss",
  bypass: "Past the cache",
  write: "Write",
  other: "",
  failed: "In vain",
};

/** What happened, as nodes. */
export function caption(way) {
  const title = WORDS[way.outcome] ?? "";
  if (way.outcome === "failed") {
    const why = way.status ? `status ${way.status}. ${way.detail}` : "there was no answer.";
    return [el("b", { class: "failed" }, `${title}: `), why];
  }
  const parts = [];
  way.steps.forEach((step, index) => {
    if (index) parts.push(" → ");
    parts.push(
      el(
        "span",
        { class: "step" },
        place(step),
        step.ms === undefined ? null : el("span", { class: "ms" }, ` ${ms(step.ms)}`),
      ),
    );
  });
  const sums = [
    ["Redis", way.redis],
    ["Postgres", way.postgres],
  ].filter(([, value]) => value !== null && value !== undefined);
  return [
    title && el("b", { class: way.outcome }, `${title}: `),
    ...parts,
    parts.length ? ". " : "",
    sums.length ? el("span", { class: "sums" }, ...together(sums)) : "",
    way.who === "you" ? "" : " Somebody else’s request.",
  ];
}

function together(sums) {
  return sums.flatMap(([name, value], index) => [
    index ? ", " : "",
    el("span", { class: "step" }, `${name} `, el("span", { class: "ms" }, ms(value))),
    index === sums.length - 1 ? "." : "",
  ]);
}

function place({ to, name, failed }) {
  const where = { redis: "Redis", postgres: "Postgres" }[to];
  const text = where ? `${where} ${name}` : name;
  return failed ? `${text} (no answer)` : text;
}
