"""The charts of the cache page, from numbers to SVG."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from cachelayer.admin import charts
from cachelayer.telemetry.counters import NAMES, Slice
from cachelayer.telemetry.processes import Latency


def history(*slices):
    """Slices of hits, misses and bypasses."""
    names = ("hit", "miss", "bypass")
    empty = dict.fromkeys(NAMES, 0)
    return [
        Slice(10 * i, empty | dict(zip(names, counts, strict=True)))
        for i, counts in enumerate(slices)
    ]


def paths(svg):
    root = ElementTree.fromstring(svg)
    return {path.get("class"): path.get("d") for path in root.iter("path")}


def heights(path):
    """Of the bars in *path*."""
    bars = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", path)
    return [round(float(low) - float(high), 1) for low, high in bars]


def test_reads_are_stacked_in_proportion():
    drawn = paths(charts.reads(history((100, 0, 0), (50, 25, 25), (0, 0, 0))))
    full, half = heights(drawn["hit"])
    assert half * 2 == pytest.approx(full, abs=0.2)
    assert heights(drawn["miss"]) == heights(drawn["bypass"]) == [pytest.approx(full / 4, abs=0.2)]


def test_the_top_of_the_chart_is_a_round_number_above_its_bars():
    svg = charts.reads(history((730, 0, 0)))
    assert re.findall(r">([\d.]+)</text>", svg) == ["0", "50", "100"]


def test_a_hit_rate_has_a_gap_where_nothing_was_read():
    drawn = paths(charts.hit_rates(history((1, 1, 0), (0, 0, 5), (1, 0, 0), (1, 0, 0))))
    assert drawn["line"].count("M") == 2
    assert drawn["line"].count("L") == 1


def test_the_label_of_a_hit_rate_says_that_there_were_no_reads():
    assert "no reads." in charts.hit_rates(history((0, 0, 1)))


def test_a_slower_operation_reaches_further():
    svg = charts.latencies([Latency("get", 9, 0.0002, 0.001), Latency("push", 9, 0.0002, 0.02)])
    ends = [float(end) for end in re.findall(r'class="bar" d="M[\d.]+ [\d.]+H([\d.]+)"', svg)]
    assert ends[0] < ends[1] <= 480
    assert "get 0.20 and 1.00 ms; push 0.20 and 20.00 ms." in svg


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (1.1, 2), (2, 2), (4, 5), (6, 10), (73, 100), (200, 200)]
)
def test_a_nice_ceiling(value, top):
    assert charts.nice_ceiling(value) == top
