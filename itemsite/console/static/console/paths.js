// Which way a request took: from its answer at once, from its trace when that is here.

const WRITES = { POST: "INSERT", PUT: "UPDATE", PATCH: "UPDATE", DELETE: "DELETE" };

/** What is drawn of a request: `steps` in their order, and what each place has taken. */
export function ofExchange(exchange, live) {
  const { method, outcome, redis, postgres } = exchange;
  // Of a write, the answer does not say whether Redis has taken the mark.
  const cut = !redis || live?.redis === "down";
  return {
    ...about(exchange),
    who: "you",
    total: exchange.ms,
    redis,
    postgres,
    steps: steps(method, outcome, cut, exchange),
  };
}

function about({ method, path, outcome, status, json }) {
  return { method, path, outcome, status, detail: json?.detail ?? "" };
}

function steps(method, outcome, cut, { path, status }) {
  const redis = (...names) => names.map((name) => ({ to: "redis", name }));
  const postgres = (...names) => names.map((name) => ({ to: "postgres", name }));
  if (outcome === "failed") return [];
  if (outcome === "hit") return redis("get");
  if (outcome === "miss")
    return [...redis("get", "lease"), ...postgres("SELECT"), ...redis("fill")];
  if (outcome === "bypass") return [...(cut ? [] : redis("get")), ...postgres("SELECT")];
  if (path === "/cache/clear") return status === 200 ? redis("drop") : [];
  if (outcome !== "write") return postgres("SELECT");
  const statement = WRITES[method];
  return cut
    ? [
        ...postgres(statement),
        { to: "log", name: "keys into the repair log" },
        ...postgres("COMMIT"),
      ]
    : [...postgres(statement), ...redis("mark"), ...postgres("COMMIT"), ...redis("push")];
}

/** As `ofExchange`, from a trace: each step with its own time. */
export function ofTrace(trace, who) {
  const found = outermost(trace.spans);
  const outcome = outcomeOf(trace);
  return {
    ...about({ ...trace, outcome }),
    who,
    total: trace.ms,
    redis: sum(found, "redis"),
    postgres: sum(found, "postgres"),
    steps: found.map((span) => ({
      to: isLog(span) ? "log" : span.where,
      name: name(span),
      ms: span.ms,
      failed: span.failed,
    })),
  };
}

function outcomeOf({ method, path, status, outcome }) {
  if (status >= 500) return "failed";
  const wrote = method !== "GET" && path.startsWith("/items") && status < 300;
  return outcome ?? (wrote ? "write" : "other");
}

/** The spans of Redis and Postgres that lie in no other one of these; not the checks of a connection. */
function outermost(spans) {
  const found = [];
  let inside = null;
  for (const span of spans) {
    if (inside && span.depth > inside.depth) continue;
    inside = span.where === "api" ? null : span;
    if (inside && !span.refused && span.name !== "SELECT 1") found.push(span);
  }
  return found.sort((a, b) => a.at - b.at);
}

const sum = (spans, where) =>
  spans.filter((span) => span.where === where).reduce((total, span) => total + span.ms, 0);
const isLog = (span) => span.name.endsWith("repair log");
function name(span) {
  if (isLog(span)) return "keys into the repair log";
  return span.where === "redis" ? span.name.replace(/^cache\./, "") : span.name.split(/\s/)[0];
}
