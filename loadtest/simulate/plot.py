"""The plots of the planning page: hit rate against TTL, memory and skew; loads after a loss.

python -m loadtest.simulate.plot loadtest/bench/results/plan.svg
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.simulate import refill
from loadtest.simulate.formula import forecast
from loadtest.simulate.site import Site
from loadtest.simulate.sites import SITES

#: Rows of one byte, so that memory is a number of rows.
_SITE: Final = replace(SITES["middle"], row_bytes=1.0)
_SKEWS: Final = (0.7, 0.9, 1.1)
_TTLS: Final = (30, 100, 300, 1000, 3600, 10_000, 36_000, 86_400)
#: Of all rows.
_SHARES: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_SECONDS: Final = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


def draw(file: Path) -> None:
    """Three panels for the middle site of the planning page, a line for each skew."""
    figure = Figure((10.0, 3.2), layout="constrained")
    by_ttl, by_memory, by_time = figure.subplots(1, 3)
    _lines(by_ttl, _TTLS, lambda site, ttl: forecast(replace(site, ttl=ttl)).hit_rate)
    by_ttl.set(title="hit rate", xlabel="ROW_TTL, seconds", xscale="log", ylim=(0, 1))
    _lines(by_memory, _SHARES, _hit_rate_with_memory)
    by_memory.set(title="hit rate", xlabel="share of rows that fits", xscale="log", ylim=(0, 1))
    _lines(by_time, _SECONDS, lambda site, seconds: refill.loads(site, seconds) / site.reads)
    by_time.set(title="loads / reads", xlabel="seconds after all was lost", ylim=(0, 1))
    by_time.set_xscale("log")
    by_time.legend([f"skew {skew}" for skew in _SKEWS], frameon=False)
    # Text as text, and nothing that differs from one run to the next.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": file.name}):
        figure.savefig(file, format="svg", metadata={"Date": None})


def _hit_rate_with_memory(site: Site, share: float) -> float:
    return forecast(replace(site, ttl=86_400.0, memory=share * site.rows)).hit_rate


def _lines(axes: Any, xs: Sequence[float], of: Callable[[Site, float], float]) -> None:
    for skew in _SKEWS:
        site = replace(_SITE, skew=skew)
        axes.plot(xs, [of(site, x) for x in xs], marker=".")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
