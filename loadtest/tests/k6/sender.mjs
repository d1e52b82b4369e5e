// Sends the requests for http.mjs. A request that fails has the status 0, as in k6.

import { workerData } from 'node:worker_threads';

const { port, signal } = workerData;
// Go's way to write the name of a header: Etag, X-Cache.
const canonical = (name) => name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());

port.on('message', async ({ method, url, body, headers }) => {
  let answer = { status: 0, headers: {}, body: '' };
  try {
    const response = await fetch(url, { method, headers, body });
    const pairs = [...response.headers].map(([name, value]) => [canonical(name), value]);
    answer = { status: response.status, headers: Object.fromEntries(pairs), body: await response.text() };
  } catch (error) {
    answer.error = String(error.cause || error);
  }
  port.postMessage(answer);
  Atomics.store(signal, 0, 1);
  Atomics.notify(signal, 0);
});
