"""What the benchmark prints and writes."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from loadtest.bench import documents_table
from loadtest.bench.outcome import Outcome
from loadtest.bench.say import say
from loadtest.bench.testbed import versions


def show(outcomes: Sequence[Outcome]) -> None:
    """The table; rows that miss their goal say so."""
    table = Table("row", "what", "reached", "goal", "spread", "medians", "")
    for outcome in outcomes:
        bound = "≥" if outcome.at_least else "≤"
        spread = "{:.2f} to {:.2f}".format(*outcome.spread) if outcome.spread else ""
        figures = outcome.figures
        medians = ""
        if "median" in figures:
            medians = f"{figures['median']:,.0f} / {figures['median_of_base']:,.0f} per s"
        elif "median_ms" in figures:
            medians = f"{figures['median_ms']:,.3g} / {figures['median_ms_of_base']:,.3g} ms"
        table.add_row(
            outcome.row,
            outcome.what,
            f"{outcome.value:,.2f} {outcome.unit}",
            f"{bound} {outcome.goal:g}",
            spread,
            medians,
            "" if outcome.met else "missed",
        )
    _print(table)


def show_cpu(outcomes: Sequence[Outcome]) -> None:
    """Where the processor's time went, of the rows in which somebody was compared."""
    names = ("workers", "postgres", "redis")
    table = Table("row", *(f"{name} µs" for name in names), "peer", *(f"{n} µs" for n in names))
    for outcome in outcomes:
        if spent := outcome.figures.get("cpu_us"):
            base = outcome.figures["cpu_us_of_base"]
            mine, others = ([f"{us[name]:,.0f}" for name in names] for us in (spent, base))
            table.add_row(outcome.row, *mine, outcome.figures["peer"], *others)
    if table.rows:
        table.title = "Processor time of one request, microseconds"
        _print(table)


def show_documents(outcomes: Sequence[Outcome]) -> None:
    """Each way to serve documents, under each load; and which could not be measured."""
    for outcome in outcomes:
        for load in outcome.figures.get("loads", ()):
            table = Table("", *documents_table.COLUMNS, title=f"Documents, {load['what']}")
            for way in load["ways"]:
                table.add_row(way["title"], *documents_table.cells(way))
            _print(table)
        for title, reason in outcome.figures.get("left_out", {}).items():
            Console(width=150).print(f"{title} was not measured: {reason}", markup=False)


def show_servers(points: Sequence[Mapping[str, Any]]) -> None:
    """What gunicorn's settings do: requests per second, and the 99th percentile."""
    table = Table("gunicorn", *(f"{load}/s (p99 ms)" for load in points[0]["rates"]))
    for point in points:
        cells = (f"{rate:,.0f} ({p99:.0f})" for rate, p99 in point["rates"].values())
        table.add_row(point["x"], *cells)
    _print(table)


def _print(table: Table) -> None:
    Console(width=None if os.isatty(1) else 150).print(table)


def earlier(folder: Path, but: Sequence[str]) -> list[Outcome]:
    """The rows that an earlier measurement has left in *folder*, except those named in *but*."""
    file = folder / "bench.json"
    rows = orjson.loads(file.read_bytes())["rows"] if file.exists() else []
    for row in rows:
        del row["met"]
    return [Outcome(**row) for row in rows if row["row"] not in but]


def write(
    folder: Path,
    outcomes: Sequence[Outcome],
    sweeps: Mapping[str, Any],
    servers: Sequence[Mapping[str, Any]],
    options: dict[str, Any],
) -> None:
    """bench.json, and its plots where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "load_average": os.getloadavg(),
        },
        "versions": versions(),
        "options": options,
        "rows": [{**asdict(outcome), "met": outcome.met} for outcome in outcomes],
        "scaling": sweeps,
        "servers": servers,
    }
    (folder / "bench.json").write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
    try:
        from loadtest.bench import plot
    except ModuleNotFoundError as error:
        say(
            f"No plots: {error.name} is not installed. Install requirements-load.txt, then run "
            f"python -m loadtest.bench.plot {folder}."
        )
    else:
        plot.draw(folder)
