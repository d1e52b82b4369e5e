"""The tables of a measurement, as the docs have them.

python -m loadtest.bench.markdown var/bench/bench.json
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from loadtest.bench import documents_table


def tables(measured: Mapping[str, Any]) -> str:
    """What was reached, where the processor's time went, documents, and gunicorn's settings."""
    rows = measured["rows"]
    loads = [load for row in rows for load in row["figures"].get("loads", ())]
    parts = [_goals(rows), _cpu(rows), *map(_documents, loads), _servers(measured["servers"])]
    return "\n\n".join("\n".join(part) for part in map(list, parts) if part)


def _goals(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | reached | goal | median | p99, ms |"
    yield "|---|---|---|---|---|"
    for row in rows:
        figures = row["figures"]
        rate = p99 = ""
        if "median" in figures:
            rate = f"{figures['median']:,.0f} / {figures['median_of_base']:,.0f} per s"
        elif "median_ms" in figures:
            rate = f"{figures['median_ms']:,.3g} / {figures['median_ms_of_base']:,.3g} ms"
        if "p99_ms_of_base" in figures:
            p99 = f"{figures['p99_ms']:.0f} / {figures['p99_ms_of_base']:.0f}"
        value = f"{row['value']:,.2f} {row['unit']}".removesuffix(" times")
        bound = f"{'≥' if row['at_least'] else '≤'} {row['goal']:g}"
        reached = value if row["met"] else f"{value}, **missed**"
        yield f"| {row['what']} | {reached} | {bound} | {rate} | {p99} |"


def _cpu(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = ("workers", "postgres", "redis")
    yield "| µs of processor time for each request | workers | Postgres | Redis |"
    yield "|---|---|---|---|"
    for row in rows:
        figures = row["figures"]
        if spent := figures.get("cpu_us"):
            base = figures["cpu_us_of_base"]
            cells = " | ".join(f"{spent[name]:,.0f} / {base[name]:,.0f}" for name in names)
            yield f"| {row['what']} | {cells} |"


def _documents(load: Mapping[str, Any]) -> Iterator[str]:
    yield f"| {load['what']} | {' | '.join(documents_table.COLUMNS)} |"
    yield "|---|" + "---|" * len(documents_table.COLUMNS)
    for way in load["ways"]:
        yield f"| {way['title']} | {' | '.join(documents_table.cells(way))} |"


def _servers(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not points:
        return
    loads = list(points[0]["rates"])
    yield "| gunicorn | " + " | ".join(f"{load}/s (p99, ms)" for load in loads) + " |"
    yield "|---|" + "---|" * len(loads)
    for point in points:
        cells = " | ".join(f"{rate:,.0f} ({p99:.0f})" for rate, p99 in point["rates"].values())
        yield f"| {point['x']} | {cells} |"


if __name__ == "__main__":
    sys.stdout.write(tables(orjson.loads(Path(sys.argv[1]).read_bytes())) + "\n")
