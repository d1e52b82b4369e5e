"""The plots of a measurement, as SVG.

python -m loadtest.bench.plot var/bench
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import orjson
from matplotlib.figure import Figure

from loadtest.bench.outcome import Outcome

COLOURS: Final = {"met": "#1a7f37", "missed": "#bc4c00", "other": "#8c959f"}
#: Bars end here, however far above its goal a row is.
_MOST: Final = 3.0
#: Inches.
_WIDTH: Final = 10.0
_LINE: Final = 0.3
_MEASURES: Final[Sequence[tuple[str, str, Callable[[float], str]]]] = (
    ("stale reads", "stale", "{:,.0f}".format),
    ("hit rate", "hit_rate", "{:.1%}".format),
    ("reads/s", "reads_per_s", "{:,.0f}".format),
    ("writes/s", "writes_per_s", "{:,.1f}".format),
)


def goals(outcomes: Sequence[Outcome], file: Path) -> None:
    """How much of its goal each row reached; the dashed line is the goal."""
    figure = Figure((_WIDTH, 0.6 + _LINE * len(outcomes)), layout="constrained")
    axes = figure.subplots()
    _bars(
        axes,
        [outcome.what for outcome in outcomes],
        [min(outcome.share, _MOST) for outcome in outcomes],
        [f"{outcome.value:,.2f} {outcome.unit}" for outcome in outcomes],
        ["met" if outcome.met else "missed" for outcome in outcomes],
    )
    axes.axvline(1, color="black", linestyle="--")
    axes.set_xticks([1], ["goal"])
    _save(figure, file)


def documents(loads: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A part for each load, a panel for each measure; stale reads are coloured as missed goals."""
    heights = [0.9 + _LINE * len(load["ways"]) for load in loads]
    figure = Figure((_WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(loads), squeeze=False, height_ratios=heights).flat
    for part, load in zip(parts, loads, strict=True):
        part.suptitle(load["what"], x=0.01, ha="left")
        ways = load["ways"]
        panels = part.subplots(1, len(_MEASURES), sharey=True)
        for axes, (name, key, text) in zip(panels, _MEASURES, strict=True):
            values = [float(way[key]) for way in ways]
            kinds = ["met" if way["way"] == "cachelayer" else "other" for way in ways]
            kinds = ["missed"] * len(ways) if key == "stale" else kinds
            _bars(axes, [way["title"] for way in ways], values, map(text, values), kinds)
            axes.set_title(name, loc="left")
            axes.set_xticks([])
    _save(figure, file)


def scaling(sweeps: Mapping[str, Sequence[Mapping[str, Any]]], file: Path) -> None:
    """A panel for each thing that grows: hits per second, and the 99th percentile."""
    figure = Figure((_WIDTH, 2.5 * len(sweeps)), layout="constrained")
    for axes, (name, points) in zip(
        figure.subplots(len(sweeps), squeeze=False).flat, sweeps.items(), strict=True
    ):
        xs = [point["x"] for point in points]
        axes.plot(xs, [point["rate"] for point in points], marker="o")
        axes.twinx().plot(xs, [point["p99_ms"] for point in points], "o--", color=COLOURS["missed"])
        axes.set_title(f"{name}: hits/s, and p99 in ms (dashed)", loc="left")
        axes.set_xscale("log")
        axes.set_xticks(xs, [f"{x:,}" for x in xs])
    _save(figure, file)


def _bars(
    axes: Any, names: Sequence[str], values: Sequence[float], texts: Any, kinds: Sequence[str]
) -> None:
    bars = axes.barh(names, values, color=[COLOURS[kind] for kind in kinds])
    axes.bar_label(bars, list(texts), padding=4)
    axes.margins(x=0.35)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _save(figure: Figure, file: Path) -> None:
    # Text as text, and nothing that differs from one run to the next.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": file.name}):
        figure.savefig(file, format="svg", metadata={"Date": None})


def draw(folder: Path) -> None:
    """goals.svg and, where they were measured, documents.svg and scaling.svg, of bench.json."""
    measured = orjson.loads((folder / "bench.json").read_bytes())
    rows = [{k: v for k, v in row.items() if k != "met"} for row in measured["rows"]]
    outcomes = [Outcome(**row) for row in rows]
    if outcomes:
        goals(outcomes, folder / "goals.svg")
    for outcome in outcomes:
        if loads := outcome.figures.get("loads"):
            documents(loads, folder / "documents.svg")
    if measured["scaling"]:
        scaling(measured["scaling"], folder / "scaling.svg")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
