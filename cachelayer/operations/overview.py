"""Everything that an operator on call wants to know, collected once. Unknown values are None.

The admin page and ``cache_stats --watch`` show it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections

from cachelayer import conf
from cachelayer.exceptions import CacheUnavailable, SwitchedOff
from cachelayer.operations import stats
from cachelayer.redis import eviction, server_info
from cachelayer.redis.gate import Mode, gate
from cachelayer.redis.server_info import Server
from cachelayer.representation import registry
from cachelayer.telemetry import counters, processes
from cachelayer.telemetry.counters import Slice
from cachelayer.telemetry.processes import Latency, Processes
from cachelayer.tracking import repair_log

#: If a backlog is this old (in drain intervals), no process drains it.
LATE: Final = 5
#: Redis counts as full at this share of its memory.
_FULL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Trouble:
    """A message, and its level: ``error`` or ``warning``."""

    level: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of everything at one moment."""

    at: float
    stats: Mapping[str, Any]
    redis: Server | None
    processes: Processes
    history: Sequence[Slice] | None
    latencies: Sequence[Latency]
    #: Connections on which ``cache_repair`` listens.
    repairers: int | None
    troubles: Sequence[Trouble]

    @property
    def level(self) -> str:
        levels = {trouble.level for trouble in self.troubles}
        return "error" if "error" in levels else "warning" if levels else "ok"

    @property
    def hit_rate(self) -> float | None:
        """The hit rate of the last full minute in percent; None without reads or Redis."""
        recent = (self.history or [])[-7:-1]
        hits = sum(piece.counts["hit"] for piece in recent)
        reads = hits + sum(piece.counts["miss"] for piece in recent)
        return stats.hit_rate(hits, reads - hits) if reads else None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "level": self.level,
            "troubles": [asdict(trouble) for trouble in self.troubles],
            "stats": self.stats,
            "redis": self.redis and asdict(self.redis),
            "processes": [asdict(process) for process in self.processes.gates],
            "all_processes_known": self.processes.all_known,
            "latencies": [asdict(latency) for latency in self.latencies],
            "history": self.history and [asdict(piece) for piece in self.history],
            "cache_repair_processes": self.repairers,
        }


def collect() -> Overview:
    """Ask Redis, Postgres and the processes' files. Does not raise if one of them is away."""
    redis, history = _ask_redis()
    # Collect the statistics after that, so that they include changes of the gate.
    collected = stats.collect()
    found = processes.gates()
    repairers = _repairers()
    return Overview(
        at=time.time(),
        stats=collected,
        redis=redis,
        processes=found,
        history=history,
        latencies=processes.latencies(),
        repairers=repairers,
        troubles=list(_troubles(collected, redis, found, repairers)),
    )


def _ask_redis() -> tuple[Server | None, Sequence[Slice] | None]:
    try:
        return server_info.ask(), counters.history()
    except CacheUnavailable:
        return None, None


def _repairers() -> int | None:
    """How many connections listen for the repair log; None if Postgres does not answer."""
    listening = 0
    try:
        for using in registry.databases():
            with connections[using].cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND query = %s",
                    [f"LISTEN {repair_log.CHANNEL}"],
                )
                listening += cursor.fetchone()[0]
    except (DatabaseError, InterfaceError):
        return None
    return listening


def _troubles(
    collected: Mapping[str, Any],
    redis: Server | None,
    found: Processes,
    repairers: int | None,
) -> Iterator[Trouble]:
    if stale := collected["live_check"]["stale"]:
        checked = collected["live_check"]["checked"]
        yield Trouble(
            "error",
            f"The live check found {stale} stale reads among {checked}. The log names the keys. "
            "Run cache_verify, and report this.",
        )
    yield from _gate_troubles(redis, found)
    yield from _memory_troubles(redis)
    backlog, lag = collected["repair"]["backlog"], collected["repair"]["lag_seconds"]
    if backlog is None:
        yield Trouble(
            "error",
            "Postgres refuses new connections, so the repair log is unknown, and writes may be "
            "refused. Check that Postgres runs and that max_connections is not reached.",
        )
    elif backlog and lag > LATE * conf.get().DRAIN_INTERVAL:
        tail = (
            ""
            if repairers
            else " No cache_repair is listening: start one, unless it polls behind PgBouncer."
        )
        yield Trouble(
            "warning",
            f"{backlog} keys wait in the repair log, the oldest for {lag:.0f} s.{tail}",
        )


def _gate_troubles(redis: Server | None, found: Processes) -> Iterator[Trouble]:
    state = gate.state
    if not conf.get().ENABLED:
        yield Trouble("warning", str(SwitchedOff()))
    elif redis is None and eviction.FULL in state.reason:
        yield Trouble(
            "error",
            f"This process bypasses Redis: {state.reason} Reads come from Postgres; writes work "
            "and are logged for repair; nothing is lost. Once Redis has room, the gate closes by "
            "itself.",
        )
    elif redis is None:
        yield Trouble(
            "error",
            f"Redis does not answer this process ({state.reason or 'no reason known'}). Reads "
            "come from Postgres; writes work and are logged for repair; nothing is lost. Start "
            "Redis or repair the network; then the gate closes by itself.",
        )
    elif state.mode is not Mode.CLOSED:
        yield Trouble(
            "warning",
            f"This process does not trust Redis yet: {state.reason} Reads come from Postgres.",
        )
    others = found.passing_redis - (state.mode is not Mode.CLOSED)
    if found.all_known and others > 0:
        yield Trouble(
            "warning",
            f"On this host, {others} of the other processes bypass Redis; see the table.",
        )


def _memory_troubles(redis: Server | None) -> Iterator[Trouble]:
    share = redis and redis.memory_share
    if redis and share and share > _FULL and redis.policy == "noeviction":
        yield Trouble(
            "warning",
            f"Redis uses {share:.0%} of its maxmemory and may not evict: when it is full, it "
            "refuses marks. Raise maxmemory, or set maxmemory-policy to volatile-lru.",
        )
