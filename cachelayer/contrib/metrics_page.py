"""The ``/metrics`` page: counted values, and values that are looked up at each scrape."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import row_count, stats
from cachelayer.telemetry import buffered_metrics

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class CacheCollector:
    """Values that are looked up at each scrape; left out while their server is away."""

    def collect(self) -> Iterator[Metric]:
        with suppress(CacheUnavailable):
            yield GaugeMetricFamily(
                "cachelayer_cached_rows", "Rows that the cache holds.", row_count.count().rows
            )
        if found := stats.repair_backlog():
            yield GaugeMetricFamily(
                "cachelayer_repair_backlog", "Keys that wait in the repair log.", found.keys
            )
            yield GaugeMetricFamily(
                "cachelayer_repair_lag_seconds",
                "How long the oldest key in the repair log has waited.",
                found.lag,
            )


def page(processes: Collector | None = None) -> bytes:
    """All metrics in Prometheus's text format; of all processes, if they share a folder.

    *processes* collects the metrics of the processes, in place of prometheus_client's collector.
    """
    buffered_metrics.flush()
    registry = CollectorRegistry()
    if processes:
        registry.register(processes)
    elif "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    registry.register(CacheCollector())
    return generate_latest(registry)
