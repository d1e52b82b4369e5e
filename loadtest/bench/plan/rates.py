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


#: What reads must have been, nearly all of them.
_PURE: Final = 0.9
_OUTCOMES: Final = {"hit": "hits", "miss": "misses"}


def _measure(
    testbed: Testbed, what: str, load: Load, repeats: int, seconds: float
) -> dict[str, Any]:
    say(what)
    rates, spent = [], []
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
        _insist(what, before, testbed.counts())
    return {
        "what": what,
        "rate": round(statistics.median(rates)),
        "cpu_us": {
            name: round(statistics.median(each[name] for each in spent), 1) for name in spent[0]
        },
    }


def _insist(what: str, before: dict[str, int], after: dict[str, int]) -> None:
    if outcome := _OUTCOMES.get(what):
        counted = {name: after[name] - before[name] for name in after}
        if counted[outcome] < _PURE * sum(counted.values()):
            raise RuntimeError(f"These reads were no {outcome}: {counted}. Run it again at rest.")
