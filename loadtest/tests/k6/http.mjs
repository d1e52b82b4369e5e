// k6/http: synchronous, as k6's is. A worker sends, this thread waits for it.

import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';

import { Counter, Rate, Trend } from './metrics.mjs';

const requests = new Counter('http_reqs');
const failed = new Rate('http_req_failed');
const durations = new Trend('http_req_duration');

const signal = new Int32Array(new SharedArrayBuffer(4));
const { port1: port, port2 } = new MessageChannel();
const worker = new Worker(new URL('./sender.mjs', import.meta.url), {
  workerData: { port: port2, signal },
  transferList: [port2],
});
worker.unref();

const usual = expectedStatuses({ min: 200, max: 399 });
export const names = new Set();

export function expectedStatuses(...ranges) {
  return (status) => ranges.some((range) =>
    (typeof range === 'number' ? range === status : range.min <= status && status <= range.max));
}

export function request(method, url, body = null, params = {}) {
  const began = performance.now();
  Atomics.store(signal, 0, 0);
  port.postMessage({ method, url, body, headers: params.headers || {} });
  if (Atomics.wait(signal, 0, 0, 60_000) === 'timed-out') throw new Error(`${method} ${url}`);
  const { message } = receiveMessageOnPort(port);
  const duration = performance.now() - began;
  requests.add(1);
  durations.add(duration);
  failed.add(!(params.responseCallback || usual)(message.status));
  names.add(`${method} ${(params.tags || {}).name || url}`);
  return {
    ...message,
    timings: { duration },
    json(selector) {
      const whole = JSON.parse(message.body);
      return selector === undefined ? whole : whole[selector];
    },
  };
}

export const get = (url, params) => request('GET', url, null, params);
export const del = (url, body, params) => request('DELETE', url, body, params);

export default { expectedStatuses, request, get, del };
