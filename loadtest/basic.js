// The same people as in locustfile.py, for k6.
//
//   k6 run loadtest/basic.js
//   k6 run -e BASE_URL=http://api:8000 -e VUS=40 -e DURATION=2m loadtest/basic.js
//
// Writing needs a token outside the lab: -e API_TOKEN=...

import http from 'k6/http';
import { check, group, sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

const BASE_URL = (__ENV.BASE_URL || 'http://localhost:8000').replace(/\/$/, '');
const VUS = Number(__ENV.VUS || 20);
const DURATION = __ENV.DURATION || '60s';

const SAMPLES = [1, 2, 3, 4, 5].map((n) => `550e8400-e29b-41d4-a716-44665544000${n}`);
const OWN_ROWS = 5;

// Milliseconds of reads of one row, by X-Cache, and of writes.
const trends = {
  hit: new Trend('hit_duration', true),
  miss: new Trend('miss_duration', true),
  bypass: new Trend('bypass_duration', true),
  list: new Trend('list_duration', true),
  write: new Trend('write_duration', true),
};
const hitRate = new Rate('hit_rate');
const readsOwnWrite = new Rate('reads_own_write');
const staleReads = new Counter('stale_reads');

// One in so many: 12 readers, 4 browsers, 2 writers, 2 editors.
const PEOPLE = [
  { weight: 12, act: readHotRow },
  { weight: 4, act: browse },
  { weight: 2, act: write },
  { weight: 2, act: editAndLook },
];

export const options = {
  scenarios: {
    people: {
      executor: 'ramping-vus',
      startVUs: 1,
      stages: [
        { duration: '10s', target: VUS },
        { duration: DURATION, target: VUS },
        { duration: '5s', target: 0 },
      ],
      gracefulStop: '15s',
    },
  },
  thresholds: {
    http_req_failed: ['rate<0.01'],
    checks: ['rate>0.99'],
    reads_own_write: ['rate==1'],
    stale_reads: ['count==0'],
    hit_duration: ['p(95)<200'],
    write_duration: ['p(95)<500'],
  },
  summaryTrendStats: ['count', 'avg', 'min', 'med', 'p(95)', 'p(99)', 'max'],
};

// A 404 for a row that another one has deleted since it was listed is no failure.
const mayBeGone = http.expectedStatuses({ min: 200, max: 399 }, 404);

// This user's own rows.
const own = [];
let edited = null;

export function setup() {
  const answer = http.get(`${BASE_URL}/health`);
  if (answer.status !== 200) {
    throw new Error(`${BASE_URL}/health answers ${answer.status}: is the API at BASE_URL?`);
  }
  return { hot: SAMPLES.filter((id) => http.get(url(id), { responseCallback: mayBeGone }).status === 200) };
}

export default function (data) {
  pick(PEOPLE.map(({ weight, act }) => ({ weight, value: act })))(data);
  sleep(0.05 + Math.random() * 0.25);
}

// Rows are named after their run, so that the end finds what its users have made.
const RUN = __ENV.RUN || 'k6 load test';

export function teardown() {
  let next = `${BASE_URL}/items?limit=100`;
  for (let pages = 0; next && pages < 50; pages += 1) {
    const answer = http.get(next);
    if (answer.status !== 200) return;
    const page = answer.json();
    page.items.filter((item) => item.name === RUN).forEach((item) => {
      http.del(url(item.id), null, request('/items/[id]', { responseCallback: mayBeGone }));
    });
    next = page.next;
  }
}

function readHotRow(data) {
  group('reader', () => {
    if (!data.hot.length) return;
    // The first is read twice as often as the second, and so on.
    read(pick(data.hot.map((id, n) => ({ weight: 1 / (n + 1), value: id }))));
  });
}

function browse() {
  group('browser', () => {
    let next = `${BASE_URL}/items?limit=${pickOne([5, 10, 20])}`;
    for (let pages = 1 + Math.floor(Math.random() * 3); next && pages > 0; pages -= 1) {
      const answer = http.get(next, request('/items?limit=[n]'));
      trends.list.add(answer.timings.duration);
      if (!check(answer, { 'list is 200': (r) => r.status === 200 })) return;
      const page = answer.json();
      check(page, { 'list has its items': (p) => p.items.length === p.count });
      if (page.items.length) read(pickOne(page.items).id);
      next = page.next;
    }
  });
}

function write() {
  group('writer', () => {
    if (own.length >= OWN_ROWS) {
      const id = own.shift();
      const answer = http.del(url(id), null, request('/items/[id]'));
      trends.write.add(answer.timings.duration);
      check(answer, { 'deleted is 204': (r) => r.status === 204 });
    } else if (own.length && Math.random() < 0.4) {
      const answer = send('PATCH', url(pickOne(own)), { price: price() });
      check(answer, { 'changed is 200': (r) => r.status === 200 });
    } else {
      const made = create();
      if (made) own.push(made.id);
    }
  });
}

// Nobody else writes this row: whatever is read after a write must be this very version.
function editAndLook() {
  group('editor', () => {
    let etag = '';
    if (edited === null) {
      const made = create();
      if (!made) return;
      edited = made.id;
      etag = made.etag;
    } else {
      const answer = send(pickOne(['PUT', 'PATCH']), url(edited), { name: RUN, price: price() });
      if (!check(answer, { 'edited is 200': (r) => r.status === 200 })) {
        // It may still be carried out, after what is written next.
        edited = null;
        return;
      }
      etag = answer.headers.Etag || answer.headers.ETag;
    }
    const seen = read(edited);
    if (seen.status !== 200 && seen.status !== 404) return;
    const same = (seen.headers.Etag || seen.headers.ETag) === etag;
    readsOwnWrite.add(same);
    staleReads.add(same ? 0 : 1);
    check(seen, { 'reads its own write': () => same });
  });
}

function read(id) {
  const answer = http.get(url(id), request('/items/[id]', { responseCallback: mayBeGone }));
  const outcome = (answer.headers['X-Cache'] || '').toLowerCase();
  if (trends[outcome]) {
    trends[outcome].add(answer.timings.duration);
    hitRate.add(outcome === 'hit');
  }
  check(answer, { 'row is 200, or gone': (r) => r.status === 200 || r.status === 404 });
  return answer;
}

function create() {
  const answer = send('POST', `${BASE_URL}/items`, { name: RUN, price: price() });
  if (!check(answer, { 'created is 201': (r) => r.status === 201 })) return null;
  return { id: answer.json('id'), etag: answer.headers.Etag || answer.headers.ETag };
}

function send(method, to, body) {
  const name = method === 'POST' ? '/items' : '/items/[id]';
  const answer = http.request(method, to, JSON.stringify(body), request(name));
  trends.write.add(answer.timings.duration);
  return answer;
}

// The options of a request; the name groups URLs.
function request(name, more) {
  const headers = { 'Content-Type': 'application/json' };
  if (__ENV.API_TOKEN) headers.Authorization = `Token ${__ENV.API_TOKEN}`;
  return Object.assign({ headers, tags: { name } }, more || {});
}

function url(id) {
  return `${BASE_URL}/items/${id}`;
}

function price() {
  return Math.floor(100 + Math.random() * 9900) / 100;
}

function pickOne(values) {
  return values[Math.floor(Math.random() * values.length)];
}

function pick(weighted) {
  let left = Math.random() * weighted.reduce((sum, { weight }) => sum + weight, 0);
  for (const { weight, value } of weighted) {
    left -= weight;
    if (left < 0) return value;
  }
  return weighted[weighted.length - 1].value;
}

export function handleSummary(data) {
  const metrics = data.metrics;
  const line = (label, name) => {
    const values = (metrics[name] || {}).values;
    if (!values || !values.count) return `  ${label.padEnd(8)} none`;
    const ms = (stat) => `${values[stat].toFixed(1)} ms`.padStart(10);
    return `  ${label.padEnd(8)} ${String(values.count).padStart(8)}${ms('med')}${ms('p(95)')}${ms('p(99)')}`;
  };
  const value = (name, stat) => ((metrics[name] || {}).values || {})[stat] || 0;
  const broken = Object.keys(metrics).filter((name) =>
    Object.values(metrics[name].thresholds || {}).some((threshold) => !threshold.ok));
  const text = [
    '',
    `  ${''.padEnd(8)}    count       med       p95       p99`,
    line('hit', 'hit_duration'),
    line('miss', 'miss_duration'),
    line('bypass', 'bypass_duration'),
    line('list', 'list_duration'),
    line('write', 'write_duration'),
    '',
    `  requests ${value('http_reqs', 'count')}, failed ${(100 * value('http_req_failed', 'rate')).toFixed(2)} %`,
    `  hits ${(100 * value('hit_rate', 'rate')).toFixed(1)} % of the reads of a row`,
    `  stale reads ${value('stale_reads', 'count')}`,
    broken.length ? `  thresholds broken: ${broken.join(', ')}` : '  all thresholds hold',
    '',
  ].join('\n');
  const files = { stdout: text };
  if (__ENV.SUMMARY) files[__ENV.SUMMARY] = JSON.stringify(data, null, 2);
  return files;
}
