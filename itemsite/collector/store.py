"""The last traces, in memory that has bounds."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from itemsite.collector.otlp import Json, Process, Received

#: Of one trace: beyond it, spans are dropped, and the trace says so.
_SPANS: Final = 500


class _Trace:
    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.spans: list[tuple[Json, Process]] = []
        self.dropped = 0

    def add(self, received: Received) -> bool:
        if len(self.spans) >= _SPANS:
            self.dropped += 1
            return False
        self.spans.append((received.span, received.process))
        return True

    @property
    def began(self) -> int:
        return min(int(span["startTime"]) for span, _ in self.spans)

    @property
    def services(self) -> set[str]:
        return {process.service for _, process in self.spans}

    def as_json(self) -> Json:
        """As Jaeger gives it; processes are named p1, p2, …"""
        processes: list[Process] = []
        spans = []
        for span, process in sorted(self.spans, key=lambda pair: pair[0]["startTime"]):
            if process not in processes:
                processes.append(process)
            spans.append({**span, "processID": f"p{processes.index(process) + 1}"})
        warnings = [f"{self.dropped} more spans were dropped."] if self.dropped else None
        return {
            "traceID": self.trace_id,
            "spans": spans,
            "processes": {f"p{i}": p.as_json() for i, p in enumerate(processes, 1)},
            "warnings": warnings,
        }


class Store:
    """Keeps *traces* traces and *spans* spans of all, the newest. For many threads."""

    def __init__(self, traces: int = 1000, spans: int = 30_000) -> None:
        self._most_traces, self._most_spans = traces, spans
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, _Trace] = OrderedDict()
        self._held = 0

    def add(self, received: Iterable[Received]) -> None:
        """Take spans in; the traces whose first span came longest ago make room."""
        with self._lock:
            for one in received:
                trace = self._traces.setdefault(one.trace_id, _Trace(one.trace_id))
                self._held += trace.add(one)
            while len(self._traces) > self._most_traces or self._held > self._most_spans:
                _, oldest = self._traces.popitem(last=False)
                self._held -= len(oldest.spans)

    def services(self) -> list[str]:
        with self._lock:
            return sorted({s for trace in self._traces.values() for s in trace.services})

    def recent(self, service: str, limit: int) -> list[dict[str, Any]]:
        """The newest *limit* traces that *service* has a part in, newest first."""
        with self._lock:
            found = [trace for trace in self._traces.values() if service in trace.services]
            found.sort(key=lambda trace: trace.began, reverse=True)
            return [trace.as_json() for trace in found[:limit]]

    def find(self, trace_id: str) -> dict[str, Any] | None:
        """The trace; leading zeros of its id may be left out."""
        with self._lock:
            trace = self._traces.get(trace_id.lower().zfill(32))
            return trace.as_json() if trace else None
