// The numbers, once a second while somebody looks.

import { tell } from "./api.js";

const INTERVAL = 1000;
let timer = 0;
let asking = null;

/** The last numbers; null before the first. */
export let live = null;

/** Ask now; resolves with the numbers, or null when the API does not answer. */
export function look({ fresh = false } = {}) {
  asking ??= ask(fresh).finally(() => {
    asking = null;
  });
  return asking;
}

async function ask(fresh) {
  try {
    const answer = await fetch(fresh ? "/console/live?fresh=1" : "/console/live", {
      cache: "no-store",
    });
    if (!answer.ok) throw new Error(answer.statusText);
    live = { ...(await answer.json()), at: performance.now() };
    tell("live", live);
    return live;
  } catch {
    tell("away");
    return null;
  }
}

export function start() {
  const tick = async () => {
    clearTimeout(timer);
    if (document.hidden) return;
    await look();
    timer = setTimeout(tick, INTERVAL);
  };
  document.addEventListener("visibilitychange", tick);
  tick();
}
