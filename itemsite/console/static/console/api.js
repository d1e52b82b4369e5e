// Requests to the API: sent, measured, and told to whoever listens.

export const facts = JSON.parse(document.getElementById("facts").textContent);

/** "exchange": a request was answered. "live": new numbers. "trace": somebody's request. "race". */
export const bus = new EventTarget();
export const tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));
export const hear = (name, call) => bus.addEventListener(name, (event) => call(event.detail));

const hex = (bytes) =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");

/**
 * Send one request. Resolves also for an error status; for no answer at all, with status 0.
 * `quiet`: it is not told to the listeners.
 */
export async function send(method, path, body, { quiet = false } = {}) {
  const trace = hex(16);
  const headers = { traceparent: `00-${trace}-${hex(8)}-01` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const exchange = {
    trace,
    method,
    path,
    body,
    at: Date.now(),
    status: 0,
    text: "",
    json: null,
    headers: {},
    isTraced: null,
    ms: 0,
  };
  const start = performance.now();
  try {
    const answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
    exchange.text = await answer.text();
    exchange.status = answer.status;
    exchange.isTraced = answer.headers.has("traceresponse");
    for (const name of ["X-Cache", "Server-Timing", "ETag", "Location", "Retry-After"]) {
      if (answer.headers.has(name)) exchange.headers[name] = answer.headers.get(name);
    }
    if (answer.headers.get("Content-Type")?.includes("json"))
      exchange.json = JSON.parse(exchange.text);
  } catch {
    exchange.text = "There was no answer.";
  }
  exchange.ms = performance.now() - start;
  const timing = exchange.headers["Server-Timing"] ?? "";
  exchange.redis = part(timing, "redis");
  exchange.postgres = part(timing, "postgres");
  exchange.outcome = outcome(exchange);
  if (!quiet) tell("exchange", exchange);
  return exchange;
}

/** POST to the console's own endpoints, which ask for the CSRF token. */
export async function control(method, path) {
  const answer = await fetch(path, {
    method,
    headers: { "X-CSRFToken": facts.csrf },
    cache: "no-store",
  });
  const isJson = answer.headers.get("Content-Type")?.includes("json");
  const json = isJson ? await answer.json() : null;
  if (answer.status === 403) return { ok: false, json, detail: "This page is too old. Reload it." };
  return { ok: answer.ok, json, detail: json?.detail ?? "" };
}

export function curl({ method, path, body }) {
  const words = ["curl -i"];
  if (method !== "GET") words.push(`-X ${method}`);
  words.push(location.origin + path);
  if (body !== undefined) {
    words.push("-H 'Content-Type: application/json'");
    words.push(`-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  }
  return words.join(" ");
}

function part(timing, name) {
  const found = timing.match(new RegExp(`${name};dur=([\\d.]+)`));
  return found ? Number(found[1]) : null;
}

function outcome({ method, path, headers, status }) {
  if (!status || status >= 500) return "failed";
  if (headers["X-Cache"]) return headers["X-Cache"].toLowerCase();
  return method !== "GET" && path.startsWith("/items") && status >= 200 && status < 300
    ? "write"
    : "other";
}
