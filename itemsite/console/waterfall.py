"""Traces in Jaeger's JSON, made small for the page's waterfall."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

#: The page itself, and what polls.
_NOT_SHOWN: Final = ("/console", "/static", "/health", "/metrics", "/favicon")

Span = Mapping[str, Any]


def shown(traces: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The requests among *traces*, in their order; times in ms from the request's start."""
    return [small for trace in traces if (small := _shrink(trace))]


def _shrink(trace: Mapping[str, Any]) -> dict[str, Any] | None:
    spans = sorted(trace.get("spans", ()), key=lambda span: span["startTime"])
    if not spans:
        return None
    known = {span["spanID"] for span in spans}
    # The parent of the first may be the client's span, which is not here.
    root = next((span for span in spans if _parent(span) not in known), spans[0])
    tags = _tags(root)
    path = str(tags.get("url.path") or tags.get("http.target") or tags.get("http.route") or "")
    path = path.partition("?")[0]
    method = tags.get("http.request.method") or tags.get("http.method")
    path = f"/{path.lstrip('/')}"
    if not method or path == "/" or path.startswith(_NOT_SHOWN):
        return None
    return {
        "id": trace["traceID"],
        "at": root["startTime"] / 1000,
        "ms": root["duration"] / 1000,
        "method": method,
        "path": path,
        "status": tags.get("http.response.status_code") or tags.get("http.status_code"),
        "outcome": tags.get("cache.outcome"),
        "spans": _rows(root, spans),
    }


def _rows(root: Span, spans: list[Span]) -> list[dict[str, Any]]:
    """*spans* as a tree is read: a parent, then its children, by their start."""
    children: dict[str | None, list[Span]] = defaultdict(list)
    known = {span["spanID"] for span in spans}
    for span in spans:
        if span is not root:
            parent = _parent(span)
            children[parent if parent in known else root["spanID"]].append(span)
    rows: list[dict[str, Any]] = []

    def add(span: Span, depth: int) -> None:
        tags = _tags(span)
        rows.append(
            {
                "name": _name(span["operationName"], tags),
                "at": (span["startTime"] - root["startTime"]) / 1000,
                "ms": span["duration"] / 1000,
                "depth": depth,
                "where": _where(span["operationName"], tags),
                # The gate let nobody through: Redis was not asked.
                "refused": "cache.refused" in tags,
                "failed": tags.get("error") is True or tags.get("otel.status_code") == "ERROR",
            }
        )
        for child in children.pop(span["spanID"], ()):
            add(child, depth + 1)

    add(root, 0)
    return rows


def _name(name: str, tags: Mapping[str, Any]) -> str:
    statement = str(tags.get("db.query.text") or tags.get("db.statement") or "")
    if "INSERT INTO cachelayer_repair" in statement:
        return f"{name} into the repair log"
    # Django asks so whether its connection still stands.
    return "SELECT 1" if statement == "SELECT 1" else name


def _where(name: str, tags: Mapping[str, Any]) -> str:
    system = str(tags.get("db.system.name") or tags.get("db.system") or "")
    if system == "redis" or name.startswith("cache."):
        return "redis"
    return "postgres" if system.startswith("postgres") else "api"


def _parent(span: Span) -> str | None:
    for reference in span.get("references", ()):
        if reference.get("refType") == "CHILD_OF":
            return str(reference["spanID"])
    return None


def _tags(span: Span) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span.get("tags", ())}
