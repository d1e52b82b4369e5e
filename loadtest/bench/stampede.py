"""Five hundred clients ask for one row that nobody has cached, all at once."""

import asyncio
import statistics
import time
from typing import Final
from urllib.parse import urlsplit

from loadtest.bench.outcome import Outcome
from loadtest.bench.testbed import Testbed

CLIENTS: Final = 500
_POSTGRES: Final = (b"MISS", b"BYPASS")


def measure(testbed: Testbed, repeats: int) -> list[Outcome]:
    """Postgres' reads, and the slowest answers against those of a miss under the same load.

    A miss under the same load: as many clients at once, each on a cold row of its own.
    """
    reads, one, each = [], [], []
    for repeat in range(repeats):
        first = 10_001 + repeat * CLIENTS
        testbed.clear()
        answers = _ask(testbed.lab.url, [first] * CLIENTS)
        reads.append(sum(outcome in _POSTGRES for outcome, _ in answers))
        one.append(_p99([seconds for _, seconds in answers]))
        testbed.clear()
        answers = _ask(testbed.lab.url, list(range(first, first + CLIENTS)))
        each.append(statistics.median(seconds for _, seconds in answers))
    figures = {"clients": CLIENTS, "p99_ms": one, "median_miss_ms": each}
    ratio = statistics.median(one) / statistics.median(each)
    return [
        Outcome(
            *("stampede", f"stampede of {CLIENTS}: reads of Postgres", max(reads), 5),
            at_least=False,
            unit="reads",
            spread=(min(reads), max(reads)),
        ),
        Outcome(
            *("stampede", f"stampede of {CLIENTS}: p99 / a miss under as many clients", ratio, 3),
            at_least=False,
            figures=figures,
        ),
    ]


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _ask(url: str, numbers: list[int]) -> list[tuple[bytes, float]]:
    return asyncio.run(_ask_all(url, numbers))


async def _ask_all(url: str, numbers: list[int]) -> list[tuple[bytes, float]]:
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    connections = [await asyncio.open_connection(address.hostname, address.port) for _ in numbers]
    gate = asyncio.Event()

    async def ask(number: int, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]):  # type: ignore[no-untyped-def]
        reader, writer = streams
        path = f"/items/00000000-0000-4000-8000-{number:012x}"
        await gate.wait()
        start = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        took = (time.perf_counter() - start) * 1000
        writer.close()
        headers = dict(line.partition(b": ")[::2] for line in head.lower().split(b"\r\n"))
        return headers.get(b"x-cache", b"?").upper(), took

    waiting = [
        asyncio.ensure_future(ask(number, streams))
        for number, streams in zip(numbers, connections, strict=True)
    ]
    await asyncio.sleep(0.2)
    gate.set()
    return list(await asyncio.gather(*waiting))
