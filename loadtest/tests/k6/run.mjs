// Runs a k6 script without k6: node run.mjs SCRIPT ITERATIONS, its __ENV is the environment.
//
// One user, one iteration after the other. Says as JSON what came of it: the options, the
// metrics as k6 hands them to handleSummary, the checks, and what handleSummary gave.

import { register } from 'node:module';
import { pathToFileURL } from 'node:url';

register('./hooks.mjs', import.meta.url);

const [script, iterations] = process.argv.slice(2);
globalThis.__ENV = { ...process.env };
globalThis.__VU = 1;

const { registry } = await import('k6/metrics');
const { byName } = await import('k6');
const { names } = await import('k6/http');
const module = await import(pathToFileURL(script).href);

// What k6 takes, by the kind of metric.
const STATS = {
  counter: /^(count|rate)$/,
  rate: /^rate$/,
  trend: /^(avg|min|max|med|count|p\(\d+(\.\d+)?\))$/,
};
const HOLDS = {
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '==': (a, b) => a === b,
};

function judge(expression, metric) {
  const match = /^(\S+?)\s*(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?)$/.exec(expression);
  if (!match) throw new Error(`threshold ${expression} of ${metric.name} cannot be read`);
  const [, stat, operator, limit] = match;
  if (!STATS[metric.type].test(stat)) {
    throw new Error(`threshold ${expression}: ${metric.name} is a ${metric.type}`);
  }
  // Without a sample k6 judges nothing.
  return !metric.samples.length || HOLDS[operator](metric.values([stat])[stat], Number(limit));
}

const data = module.setup ? module.setup() : undefined;
for (let n = 0; n < Number(iterations); n += 1) module.default(data);
if (module.teardown) module.teardown(data);

for (const name of Object.keys(module.options.thresholds)) {
  if (!registry.has(name)) throw new Error(`there is a threshold for ${name}, and no such metric`);
}
const metrics = {};
for (const [name, metric] of registry) {
  if (!metric.samples.length) continue;
  const thresholds = module.options.thresholds[name];
  metrics[name] = {
    type: metric.type,
    contains: metric.type === 'trend' ? 'time' : 'default',
    values: metric.values(module.options.summaryTrendStats),
    ...(thresholds && {
      thresholds: Object.fromEntries(thresholds.map((text) => [text, { ok: judge(text, metric) }])),
    }),
  };
}
const summary = module.handleSummary({ metrics, options: {}, root_group: {}, state: {} });
process.stdout.write(JSON.stringify({
  options: module.options,
  metrics,
  summary,
  checks: Object.fromEntries(byName),
  names: [...names].sort(),
}));
process.exit(0);
