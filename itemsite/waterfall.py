"""A trace as a waterfall for a terminal: what was done inside what, when, and for how long."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from itemsite.traces import began

Trace = dict[str, Any]

#: Columns of the bars at most, and of plain text.
_BAR: Final = 30
_WIDTH: Final = 120
_STYLES: Final = {"redis": "magenta", "postgresql": "blue"}
#: Of a span of the cache, what it came to.
_FINDINGS: Final = ("cache.state", "cache.result", "cache.outcome", "cache.refused")


@dataclass(frozen=True, slots=True)
class Row:
    """One span: how deep it stands, when it began after the trace did; times in µs."""

    depth: int
    name: str
    offset: int
    duration: int
    tags: dict[str, Any]

    @property
    def note(self) -> str:
        """What is worth knowing of it, in a few words."""
        tags = self.tags
        words = [str(tags["cache.key"])] if "cache.key" in tags else []
        if tags.get("cache.keys", 0) > 1:
            words.append(f"{tags['cache.keys']} keys")
        words += [str(tags[name]) for name in _FINDINGS if name in tags]
        if tags.get("cache.gate", "closed") != "closed":
            words.append(f"gate {tags['cache.gate']}")
        if self.name not in ("BEGIN", "COMMIT", "ROLLBACK"):
            words += str(tags.get("db.query.text") or tags.get("db.statement") or "").split()
        if "error.type" in tags:
            words.append(f"failed: {tags.get('otel.status_description') or tags['error.type']}")
        return " ".join(words)

    @property
    def style(self) -> str:
        if self.tags.get("error"):
            return "red"
        return _STYLES.get(str(self.tags.get("db.system.name") or self.tags.get("db.system")), "")


def rows(trace: Trace) -> list[Row]:
    """The spans, each below the one that it is part of, in the order in which they began."""
    start = began(trace)
    known = {span["spanID"] for span in trace["spans"]}
    below: dict[str | None, list[Any]] = {}
    for span in sorted(trace["spans"], key=lambda span: int(span["startTime"])):
        parent = next((r["spanID"] for r in span["references"] or () if r["spanID"] in known), None)
        below.setdefault(parent, []).append(span)

    def walk(parent: str | None, depth: int) -> Iterator[Row]:
        for span in below.pop(parent, []):
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            offset = span["startTime"] - start
            yield Row(depth, span["operationName"], offset, span["duration"], tags)
            yield from walk(span["spanID"], depth + 1)

    return list(walk(None, 0))


def waterfall(traces: Iterable[Trace], width: int) -> Text:
    """*traces*, one below the other, in lines of *width* columns at most."""
    parts = [line for trace in traces for line in (*_lines(trace, width), Text())]
    return Text("\n").join(parts[:-1])


def text(traces: Iterable[Trace]) -> str:
    """As ``waterfall``, plain."""
    plain = waterfall(traces, _WIDTH).plain
    return f"{plain}\n" if plain else ""


def _lines(trace: Trace, width: int) -> Iterator[Text]:
    found = rows(trace)
    yield _fit(_heading(trace, found[0]), width)
    whole = max(row.offset + row.duration for row in found) or 1
    names = ["  " * (row.depth + 1) + row.name for row in found]
    longest = max(map(len, names))
    bars = max(8, min(_BAR, width - longest - 34))
    for row, name in zip(found, names, strict=True):
        left = min(bars - 1, row.offset * bars // whole)
        length = max(1, min(bars - left, round(row.duration * bars / whole)))
        line = Text(name.ljust(longest + 2))
        line.append((" " * left + "━" * length).ljust(bars), style=row.style or "green")
        line.append(_ms(row.duration).rjust(11))
        line.append(f"  {row.note}", style="dim")
        yield _fit(line, width)


def _heading(trace: Trace, root: Row) -> Text:
    when = time.strftime("%H:%M:%S", time.localtime(began(trace) / 1e6))
    method = root.tags.get("http.request.method") or root.tags.get("http.method") or ""
    path = root.tags.get("url.path") or root.tags.get("http.target") or ""
    status = root.tags.get("http.response.status_code") or root.tags.get("http.status_code")
    parts = [when, f"{method} {path}".strip() or root.name]
    parts += [str(part) for part in (status, root.tags.get("cache.outcome")) if part]
    heading = Text("  ".join([*parts, _ms(root.duration)]), style="bold")
    return heading.append(f"  trace {trace['traceID']}", style="dim")


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.rstrip()
    return line


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.2f} ms"
