"""What one core does: hits, misses and writes, by the processor time of each."""

import statistics
from typing import Any, Final

from loadtest.bench import wrk
from loadtest.bench.cpu import Account
from loadtest.bench.say import say
from loadtest.bench.testbed import HOT, WRITTEN, Testbed
from loadtest.bench.wrk import Load


def measure(testbed: Testbed, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Microseconds of workers, Postgres and Redis for each request, as medians of *repeats*."""
    cold = Load("walk", first=10_001, count=testbed.rows - 10_000)
    return [
        _measure(testbed, "hit", HOT, repeats, seconds),
        _measure(testbed, "miss", cold, repeats, seconds),
        _measure(testbed, "write (PUT)", WRITTEN, repeats, seconds),
    ]


#: What reads must have been, nearly all of them. On a busy machine some go past the cache, because
#: Redis answers too late.
_PURE: Final = 0.95
_OUTCOMES: Final = {"hit": "hits", "miss": "misses"}


def _measure(
    testbed: Testbed, what: str, load: Load, repeats: int, seconds: float
) -> dict[str, Any]:
    say(what)
    rates, spent, shares = [], [], []
    for _ in range(repeats):
        if what == "miss":
            testbed.clear()
        elif what == "hit":
            testbed.warm("lab")
        before = testbed.counts()
        account = Account({"workers": [testbed.lab.web.pid], **testbed.servers()})
        run = wrk.run(testbed.lab.web, load, seconds)
        spent.append(account.per_request(run.all_requests))
        rates.append(run.rate)
        shares.append(_share(what, before, testbed.counts()))
    share = min(shares)
    if share < _PURE:
        say(f"Only {share:.0%} of these reads were {_OUTCOMES[what]}. Measure again at rest.")
    return {
        "what": what,
        "rate": round(statistics.median(rates)),
        "cpu_us": {
            name: round(statistics.median(each[name] for each in spent), 1) for name in spent[0]
        },
        "share": round(share, 3),
    }


def _share(what: str, before: dict[str, int], after: dict[str, int]) -> float:
    """Of the reads between, what they should have been; 1 for writes."""
    counted = {name: after[name] - before[name] for name in after}
    if what not in _OUTCOMES:
        return 1.0
    return counted[_OUTCOMES[what]] / max(1, sum(counted.values()))
