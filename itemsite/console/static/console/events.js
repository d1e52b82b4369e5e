// Finding things among the answers since a step of the tour began.

export const last = (events, want) => events.findLast(want);
export const after = (events, want) => events.slice(events.findIndex(want) + 1);

export const isRead = (event) => event.method === "GET" && /^\/items\/[^?]/.test(event.path);
export const isList = (event) => event.method === "GET" && /^\/items\?/.test(event.path);
export const isClear = (event) => event.path === "/cache/clear" && event.status === 200;
export const wrote = (event) => event.outcome === "write";
export const cacheOf = (event) => `X-Cache: ${event.headers["X-Cache"]}`;

/** The first read after the last write that has that write's price. */
export function freshRead(events) {
  const write = last(events, wrote);
  if (!write?.json) return null;
  const read = after(events, (event) => event === write).find(
    (event) => isRead(event) && event.status === 200,
  );
  return read?.json.price === write.json.price ? read : null;
}

/** The reads of the list after the last write, and what they say of its row, if they are right. */
export function freshLists(events) {
  const write = last(events, wrote);
  if (!write) return [];
  return after(events, (event) => event === write)
    .filter((event) => isList(event) && event.status === 200)
    .map((event) => ({ event, says: says(event.json, write) }))
    .filter(({ says }) => says);
}

function says({ items, next }, { method, path, json }) {
  const id = json?.id ?? path.split("/").at(-1);
  const row = items.find((item) => item.id === id);
  if (method === "DELETE") return row ? "" : "the item is gone";
  if (row) return row.price === json.price ? `price ${row.price}` : "";
  return next ? "the item is on a later page" : "";
}
