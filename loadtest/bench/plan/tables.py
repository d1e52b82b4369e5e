"""The tables of the planning page.

python -m loadtest.bench.plan.tables loadtest/bench/results/plan.json
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from loadtest.simulate import sites

#: Losses, of which it does not matter how many keys there were.
_WITHOUT_KEYS: Final = ("loss", "takeover")


def measured(body: Mapping[str, Any]) -> str:
    """What was measured: bytes, rates, writes and times."""
    parts = body["parts"]
    shown = dict(parts)
    if cluster := parts.get("cluster"):
        shown["cluster"] = cluster["rates"]
        shown["repairs"] = [*parts.get("repairs", ()), cluster["loss"]]
    return "\n\n".join("\n".join(_MAKERS[name](part)) for name, part in shown.items())


def everything(body: Mapping[str, Any]) -> str:
    """What was measured, and what it means for three sites."""
    return f"{measured(body)}\n\n{sites.table(body['parts'])}"


def _memory(part: Mapping[str, Any]) -> Iterator[str]:
    """Also what the formula says where it was not fitted: with ten times as many keys."""
    yield "| key | keys | bytes of each | by the formula |"
    yield "|---|---|---|---|"
    for found in [*part["kinds"], *part["many"]]:
        name = (
            f"{found['kind']}, {found['json']:,} bytes of JSON" if found["json"] else found["kind"]
        )
        line = part["formulas"].get(found["kind"])
        formula = f"{line['each'] + line['of_json'] * found['json']:,.0f}" if line else ""
        how = f"{found['bytes']:,.0f}" + (", extrapolated" if found["extrapolated"] else "")
        yield f"| {name} | {found['keys']:,} | {how} | {formula} |"


def _rates(part: Any) -> Iterator[str]:
    yield "| | µs of workers | Redis | Postgres | a second: each core of workers | of Redis |"
    yield "|---|---|---|---|---|---|"
    for found in part:
        us = found["cpu_us"]
        each = (f"{1e6 / us[name]:,.0f}" for name in ("workers", "redis"))
        spent = (f"{us[name]:,.0f}" for name in ("workers", "redis", "postgres"))
        yield f"| {found['what']} | {' | '.join(spent)} | {' | '.join(each)} |"


def _writes(part: Any) -> Iterator[str]:
    yield "| stamps of the row | ms of one `update()` | / with none |"
    yield "|---|---|---|"
    for found in part:
        yield f"| {found['stamps']} | {found['ms']:.2f} | {found['ms'] / part[0]['ms']:.2f} |"


def _repairs(part: Any) -> Iterator[str]:
    yield "| | N | seconds | from, to |"
    yield "|---|---|---|---|"
    for found in part:
        low, high = found["spread"]
        keys = f"{found['keys']:,}" if found["name"] not in _WITHOUT_KEYS else ""
        yield f"| {found['what']} | {keys} | {found['seconds']:.2f} | {low:.2f}, {high:.2f} |"


_MAKERS: Final[Mapping[str, Callable[[Any], Iterator[str]]]] = {
    "memory": _memory,
    "rates": _rates,
    "cluster": _rates,
    "writes": _writes,
    "repairs": _repairs,
}


if __name__ == "__main__":
    sys.stdout.write(everything(orjson.loads(Path(sys.argv[1]).read_bytes())) + "\n")
