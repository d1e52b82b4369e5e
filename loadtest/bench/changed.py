"""Pages of a list that are read again when rows have changed.

The load generator asks for one page after another, the whole list and again from the start, and
after every forty of them it sends a PUT of a row. A write of any row invalidates all pages, and
four are sent before a page is asked for again: each read of a page finds that something was
written since the last one. The peer, which has no cache, gets the same requests.

The rate is of pages. The PUTs are not counted, but their work is in it, and the percentiles and
the processor time are of all requests. One page read after each write would say more of PUT,
which takes as long and has its own row; and of several readers of one page at once all but one
would find what the first has made.
"""

from typing import Final
from urllib.parse import urlsplit

import orjson

from loadtest.bench import wrk
from loadtest.bench.comparisons import Comparison, compare
from loadtest.bench.outcome import Outcome
from loadtest.bench.testbed import WRITTEN, Testbed
from loadtest.bench.wrk import Load
from loadtest.isolated_lab import Served

_ROWS: Final = 50
_PAGES: Final = 160
#: A page that is made while a row is being written is not stored: to the counts it is a bypass.
_BYPASSES: Final = 0.3


def measure(testbed: Testbed, repeats: int, seconds: float) -> list[Outcome]:
    """Pages per second, in turns with the peer; the share of misses is in the figures."""
    comparison = Comparison(
        *("page_changed", "50-row page, changed since / plain ListAPIView", 3.0, "plain"),
        load=_load(testbed, "lab"),
        base_load=_load(testbed, "plain"),
        outcome="misses",
        bypasses=_BYPASSES,
    )
    # What was cached when the list was walked is not valid from now on.
    wrk.once(testbed.peer("lab"), WRITTEN, 1)
    return [compare(testbed, comparison, repeats, seconds)]


def _load(testbed: Testbed, name: str) -> Load:
    """The pages that *name* has; their rows are in the cache, because they have been read."""
    return Load("changing", count=_ROWS * _PAGES, pages=tuple(_walk(testbed, testbed.peer(name))))


def _walk(testbed: Testbed, served: Served) -> list[str]:
    """The paths of the first pages of the list."""
    paths = [f"/items?limit={_ROWS}"]
    while len(paths) < _PAGES:
        following = urlsplit(orjson.loads(testbed.get(paths[-1], served))["next"])
        paths.append(f"{following.path}?{following.query}")
    return paths
