"""The faults of the storm, and the seeded schedule of them."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from loadtest import network
from loadtest.clients import clear
from loadtest.cut_off import CutOff
from loadtest.isolated_lab import IsolatedLab, Served, wait_until
from loadtest.proxy import Proxy
from loadtest.record import now
from loadtest.redis_faults import Make, paused
from loadtest.redis_servers import Servers, Single


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to be done, how many seconds after the start, and how hard (0 to 1)."""

    name: str
    at: float
    strength: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fault that was made, when (monotonic nanoseconds), and what came of it."""

    fault: Fault
    start: int
    end: int
    text: str
    #: Host and port of the one server that it concerns; empty: all.
    server: str = ""


class Faults:
    """Makes faults in *lab*, whose clients talk to *web*.

    *cut_off*: the hosts that can be cut off, by the name of the fault that does it. *servers*: its
    Redis.
    """

    def __init__(
        self, lab: IsolatedLab, web: Served, cut_off: Mapping[str, CutOff], servers: Servers
    ) -> None:
        self._lab, self._web, self._cut_off = lab, web, cut_off
        own = {name: partial(make, self) for name, make in _KINDS.items()}
        self._kinds: Mapping[str, Make] = {**own, **servers.faults(lab)}

    def make(self, fault: Fault) -> Outcome:
        """Make *fault* and mend it; never raises."""
        start = now()
        try:
            text = self._kinds[fault.name](fault.strength)
        except Exception as error:
            text = f"could not be made: {type(error).__name__}: {error}"
        host = self._cut_off.get(fault.name)
        return Outcome(fault, start, now(), text, host.netloc if host else "")

    def _kill_worker(self, strength: float) -> str:
        workers = self._web.workers
        # Now and then all of them.
        killed = workers if strength > 0.8 else workers[: 1 if strength < 0.4 else -1]
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        back = wait_until(lambda: self._has_new_workers(workers, killed), 20)
        return f"killed {len(killed)} of {len(workers)}, {'all back' if back else 'NOT all back'}"

    def _freeze_worker(self, strength: float) -> str:
        """Stop workers in the middle of what they do, so that others overtake them."""
        longest = 0.02 + 0.15 * strength
        for n in range(12):
            workers = self._web.workers
            with contextlib.suppress(ProcessLookupError), paused(workers[n % len(workers)]):
                time.sleep(longest * (1 + n % 3) / 3)
            time.sleep(0.03)
        return f"12 times, up to {longest * 1000:.0f} ms"

    def _has_new_workers(self, before: Sequence[int], killed: Sequence[int]) -> bool:
        there = self._web.workers
        return len(there) >= len(before) and not set(there) & set(killed)

    def _clear(self, strength: float) -> str:
        answers = []
        for _ in range(1 + round(14 * strength)):
            answers.append(clear(self._web.url))
            time.sleep(0.05)
        return f"{len(answers)} times, answered {', '.join(sorted(set(answers)))}"

    def _postgres(self, strength: float) -> str:
        began = time.monotonic()
        self._lab.lab("postgres", "stop")
        time.sleep(strength)
        self._lab.lab("postgres", "start")
        return f"away for {time.monotonic() - began:.1f} s"

    def _cut_redis(self, strength: float) -> str:
        # What is logged is then repaired by those who serve hits, within a second.
        alone = round(strength * 100) % 2 == 1
        with paused(self._lab.repair_pid if alone else None, 1.2):
            words = self._cut("cut", strength)
        return f"{words}, without cache_repair" if alone else words

    def _cut_postgres(self, strength: float) -> str:
        return self._cut("cut-postgres", strength)

    def _cut(self, name: str, strength: float) -> str:
        """Cut one host off while the others go on, in both directions or in one."""
        if name not in self._cut_off:
            return "nothing to cut off"
        known, seconds = self._cut_off[name].proxies, 0.3 + strength
        percent = round(strength * 100)
        # From all servers, or from one half of them.
        some = (len(known) + 1) // 2 if percent % 4 < 2 else len(known)
        proxies = [known[(percent + n) % len(known)] for n in range(some)]
        how = Proxy.swallow if strength < 0.5 else Proxy.refuse
        words = "black-holed" if strength < 0.5 else "refused"
        if one_sided := percent % 3 == 0:
            how = Proxy.hold_answers
            words = "answers lost" if strength < 0.5 else "answers late"
        for proxy in proxies:
            how(proxy)
        time.sleep(seconds)
        for proxy in proxies:
            if one_sided and strength < 0.5:
                # The answers never come: whether it was carried out stays unknown.
                proxy.refuse()
            proxy.mend()
        return f"{words} for {seconds:.1f} s, {len(proxies)} of {len(known)} servers"


_KINDS: Final[dict[str, Callable[[Faults, float], str]]] = {
    "kill-worker": Faults._kill_worker,
    "freeze-worker": Faults._freeze_worker,
    "clear": Faults._clear,
    "postgres": Faults._postgres,
    "cut": Faults._cut_redis,
    "cut-postgres": Faults._cut_postgres,
}


def names(servers: type[Servers]) -> tuple[str, ...]:
    """The faults of a storm whose Redis are *servers*."""
    # Of servers that tell addresses, a host in a network of its own is cut off.
    own = _KINDS if servers is Single or network.can_be_made() else _KINDS.keys() - {"cut"}
    return (*(name for name in _KINDS if name in own), *servers.NAMES)


NAMES: Final = names(Single)


def in_pairs(
    seed: int, faults: Sequence[Fault], servers: type[Servers], known: Sequence[str]
) -> list[tuple[Fault, ...]]:
    """*faults*, each with another one of *known* at the same time.

    One of the two concerns Redis and the other does not: two that stop the same server are one.
    """
    choice = random.Random(f"pairs {seed}")
    pairs: list[tuple[Fault, ...]] = []
    for fault in faults:
        of_redis = fault.name in servers.NAMES
        others = [name for name in known if (name in servers.NAMES) is not of_redis]
        other = (
            [Fault(choice.choice(others), fault.at, round(choice.random(), 2))] if others else []
        )
        pairs.append((fault, *other))
    return pairs


def schedule(seed: int, seconds: float, names: Sequence[str]) -> list[Fault]:
    """The faults of a storm: every one of *names* in each round, each in its own order."""
    choice = random.Random(f"faults {seed}")
    faults: list[Fault] = []
    at, pace = 1.0, 0.0
    while names:
        # Now a quick succession, now time enough to recover and fill the cache.
        gaps = [
            choice.uniform(0.2, 0.8) if choice.random() < 0.3 else choice.uniform(1.5, 4)
            for _ in names
        ]
        # However short the storm, one round fits.
        pace = pace or min(1.0, (seconds - 2) / sum(gaps))
        for name, gap in zip(choice.sample(list(names), len(names)), gaps, strict=True):
            if at > seconds - 1:
                return faults
            faults.append(Fault(name, round(at, 2), round(choice.random(), 2)))
            at += pace * gap
    return faults
