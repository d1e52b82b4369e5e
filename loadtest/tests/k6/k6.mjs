// k6: checks are counted and named; nobody sleeps.

import { Rate } from './metrics.mjs';

const checks = new Rate('checks');
export const byName = new Map();

export function check(value, tests) {
  let all = true;
  for (const [name, test] of Object.entries(tests)) {
    const passed = Boolean(test(value));
    checks.add(passed);
    const seen = byName.get(name) || { passes: 0, fails: 0 };
    seen[passed ? 'passes' : 'fails'] += 1;
    byName.set(name, seen);
    all &&= passed;
  }
  return all;
}

export function group(name, act) {
  return act();
}

export function sleep(seconds) {
  if (!(seconds >= 0)) throw new Error(`sleep(${seconds})`);
}
