"""Reads and writes of a real lab, as the simulation assumes them."""

import random
import threading
import time
from types import TracebackType
from typing import Final

from loadtest.api import Api, NoAnswer
from loadtest.simulate.popularity import cumulative
from loadtest.simulate.site import Site

#: Enough that one slow answer holds up few of the others.
_CLIENTS: Final = 6


class Traffic:
    """Inside the block, clients read and write *site* at its rates, at independent times.

    Row number n of the site is the row whose UUID ends with n, as ``Testbed`` makes them. Leaving
    the block raises ``RuntimeError`` if a client was refused.
    """

    def __init__(self, url: str, site: Site) -> None:
        self._url, self._site = url, site
        self._over = threading.Event()
        self._refused: list[str] = []
        self._read = cumulative(site.rows, site.skew)
        self._written = cumulative(site.rows, site.write_skew)
        self._clients = [
            threading.Thread(target=self._run, args=(seed,), daemon=True)
            for seed in range(_CLIENTS)
        ]

    def __enter__(self) -> "Traffic":
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for client in self._clients:
            client.join()
        if self._refused and error is None:
            raise RuntimeError(f"The lab has refused requests: {self._refused[0]}")

    def _run(self, seed: int) -> None:
        chance, api, site = random.Random(seed), Api(self._url), self._site
        numbers = range(1, site.rows + 1)
        rate = (site.reads + site.writes) / _CLIENTS
        share = site.writes / (site.reads + site.writes)
        due = time.monotonic()
        try:
            while not self._over.is_set():
                due += chance.expovariate(rate)
                # Behind time, it does not wait.
                self._over.wait(max(0.0, due - time.monotonic()))
                is_write = chance.random() < share
                weights = self._written if is_write else self._read
                [number] = chance.choices(numbers, cum_weights=weights)
                path = f"/items/00000000-0000-4000-8000-{number:012x}"
                if is_write:
                    status, _, _ = api.request("PATCH", path, {"price": chance.randrange(1, 9999)})
                else:
                    status, _, _ = api.request("GET", path)
                if status != 200:
                    raise NoAnswer(f"{path} was answered with {status}")
        except NoAnswer as reason:
            self._refused.append(str(reason))
        finally:
            api.close()
