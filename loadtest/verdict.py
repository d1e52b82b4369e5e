"""What a storm has shown: the promise, checked against all that was recorded, as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.clients import Keys
from loadtest.fault_injection import Outcome
from loadtest.history import ABSENT, Operation, Violation, by_key, check, staleness
from loadtest.lists import check as check_lists
from loadtest.lists import observed
from loadtest.record import Failure, Record

_SECOND = 1_000_000_000
#: Postgres is asked for a connection for so long; then the answer is 503.
_AFTER_POSTGRES = 3 * _SECOND
_AFTER_KILL = 1 * _SECOND
#: The faults in which nobody can repair what plain SQL has written.
_DELAY_SQL = ("cut", "pause", "postgres")
#: In which requests may be refused, and in which connections may break.
_REFUSING = ("postgres", "cut-postgres")
_BREAKING = ("kill-worker",)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the promise is a bound: how stale a read may be, in seconds, after the fault."""

    partition: float
    sql: float
    #: The strict choice: a pause or a cut leaves nothing stale.
    strict: bool = False
    #: The faults after which any read may be stale for so long.
    bounded: tuple[str, ...] = ("pause",)


@dataclass(frozen=True, slots=True)
class AtRest:
    """What was found when all faults were over."""

    #: What the API answered for each key, and what Postgres holds.
    api: Mapping[str, str]
    postgres: Mapping[str, str]
    #: Differences that ``cache_verify`` found; ``None`` where it was not run.
    verify: int | None
    recovered: bool
    #: How many of the servers that were asked have other newest items than Postgres.
    wrong_pages: int = 0


@dataclass
class Verdict:
    """The numbers, and whether the promise was kept."""

    numbers: dict[str, Any]
    violations: list[Violation]
    of_pages: list[Violation]
    lost: list[Violation]
    unexplained: list[Failure]
    torn: list[str]
    different: list[str]
    outcomes: Sequence[Outcome] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        wrong = [self.violations, self.of_pages, self.lost, self.unexplained]
        wrong += [self.torn, self.different]
        verified = not self.numbers["differences that cache_verify found"]
        return not any(wrong) and verified and bool(self.numbers["recovered"])


class _Allowed:
    """How stale each read may be: 0, save after a fault for which the promise is a bound."""

    def __init__(self, keys: Keys, outcomes: Iterable[Outcome], bounds: Bounds) -> None:
        self._island, self._by_sql = set(keys.island), {*keys.by_sql, *keys.made_by_sql}
        self._sql = round(bounds.sql * _SECOND)
        self._strict, self._bounded = bounds.strict, bounds.bounded
        self._bound = bound = round(bounds.partition * _SECOND)
        # Start, end, allowed. A write may have been acknowledged when the fault began.
        self._windows: dict[str, list[tuple[int, int, int]]] = {}
        for made in outcomes if bound else []:
            window = (made.start, made.end + bound, made.end - made.start + bound)
            self._windows.setdefault(made.fault.name, []).append(window)

    def __call__(self, read: Operation) -> int:
        allowed = 0
        if read.key in self._by_sql:
            # A cut may take cache_repair away, too; after a restart of Postgres it listens anew.
            allowed = max(self._sql, *(self._after(name, read) for name in _DELAY_SQL))
        if self._strict:
            return allowed
        if read.cut_off or read.key in self._island:
            # Through its proxy it misses answers without being cut off, too.
            allowed = max(allowed, self._bound, self._after("cut", read))
        return max(allowed, *(self._after(name, read) for name in self._bounded))

    def _after(self, name: str, read: Operation) -> int:
        windows = self._windows.get(name, [])
        found = (most for start, end, most in windows if read.start <= end and read.end >= start)
        return max(found, default=0)


def judge(
    record: Record, keys: Keys, outcomes: Sequence[Outcome], rest: AtRest, bounds: Bounds
) -> Verdict:
    """Check everything."""
    allowed = _Allowed(keys, outcomes, bounds)
    operations = record.operations
    lists = record.all_lists()
    shown = observed(operations, lists, allowed)
    unexplained = [f for f in record.failures if not _explained(f, outcomes)]
    different = [
        f"{key}: the API says {rest.api.get(key)}, Postgres {value}"
        for key, value in rest.postgres.items()
        if rest.api.get(key) != value
    ]
    different += [f"pages of {rest.wrong_pages} servers"] if rest.wrong_pages else []
    violations = check(operations, allowed)
    of_pages = check_lists(operations, lists, shown, allowed)
    lost = _lost(operations, rest.postgres)
    # Without workers, or a database, a reader waits.
    reads = sorted(
        (end - start) / 1e9
        for start, end in record.reads
        if not _during(start, end, outcomes, "kill-worker", _AFTER_KILL)
        and not any(_during(start, end, outcomes, each, _AFTER_POSTGRES) for each in _REFUSING)
    )
    numbers = {
        "faults made": dict(Counter(outcome.fault.name for outcome in outcomes)),
        "reads": sum(op.kind == "read" for op in operations),
        "writes": sum(op.kind == "write" for op in operations),
        "statements that wrote several rows": record.many,
        "writes of unknown outcome": sum(op.outcome == "unknown" for op in operations),
        "hits in percent": _hits(record.caches),
        "read, 99th percentile in ms": _ms(reads[len(reads) * 99 // 100]) if reads else None,
        "read, slowest in ms": _ms(reads[-1]) if reads else None,
        "refused (503)": sum(f.refused for f in record.failures),
        "failed": sum(not f.refused for f in record.failures),
        "failed for no fault": len(unexplained),
        "violations": len(violations),
        "worst staleness in ms": _worst(operations, keys, allowed),
        "pages read": len(lists.reads),
        "pages, hits in percent": _hits(record.list_caches),
        "pages, violations": len(of_pages),
        "pages, worst staleness in ms": _worst(shown, keys, allowed),
        "lost writes": len(lost),
        "rows that differ for one write": len(record.torn),
        "differences at rest": len(different),
        "differences that cache_verify found": rest.verify,
        "recovered": rest.recovered,
    }
    return Verdict(
        numbers, violations, of_pages, lost, unexplained, record.torn, different, outcomes
    )


def _worst(operations: Sequence[Operation], keys: Keys, allowed: _Allowed) -> dict[str, float]:
    """How stale reads were, in milliseconds: where none may be stale, and where the bounds are."""
    writes = [op for op in operations if op.kind == "write"]
    reads = [op for op in operations if op.kind == "read"]
    ours = {*keys.hot, *keys.cold, *keys.short_lived}.difference(keys.made_by_sql)
    by_sql, island = {*keys.by_sql, *keys.made_by_sql}, set(keys.island)
    groups = {
        "elsewhere": [op for op in reads if not allowed(op)],
        "after a pause": [op for op in reads if op.key in ours and not op.cut_off],
        "cut off": [op for op in reads if op.cut_off or op.key in island],
        "written by SQL": [op for op in reads if op.key in by_sql and not op.cut_off],
    }
    return {name: round(staleness([*writes, *group]) / 1e6, 1) for name, group in groups.items()}


def table(verdict: Verdict, zero: int, most: int = 5) -> str:
    """For people: each fault and what came of it, the numbers, and what went wrong."""
    lines = [
        f"{(o.start - zero) / 1e9:8.2f} s  {o.fault.name:12} {o.text}" for o in verdict.outcomes
    ]
    lines.append("")
    for name, number in verdict.numbers.items():
        if isinstance(number, dict):
            number = ", ".join(f"{part} {count}" for part, count in number.items())
        lines.append(f"{name:38} {number}")
    wrong = [violation.text(zero) for violation in verdict.violations]
    wrong += [f"PAGE {violation.text(zero)}" for violation in verdict.of_pages]
    wrong += [f"LOST {violation.text(zero)}" for violation in verdict.lost]
    wrong += [f"{(f.start - zero) / 1e9:.3f} s: {f.what}" for f in verdict.unexplained]
    wrong += [*verdict.torn, *verdict.different]
    lines += ["", *wrong[:most]] if wrong else []
    if len(wrong) > most:
        lines.append(f"… and {len(wrong) - most} more")
    return "\n".join(lines)


def _lost(operations: Iterable[Operation], postgres: Mapping[str, str]) -> list[Violation]:
    """Acknowledged writes that Postgres does not have at rest, nor a later one."""
    lost = []
    for key, history in by_key(operations).items():
        writes = [operation for operation in history if operation.kind == "write"]
        end = max(operation.end for operation in history)
        last = Operation(key, "read", postgres.get(key, ABSENT), end + 1, end + 2, who="Postgres")
        lost += check([*writes, last])
    return lost


def _explained(failure: Failure, outcomes: Iterable[Outcome]) -> bool:
    """Whether a fault that may make requests fail was under way."""
    concern = [outcome for outcome in outcomes if outcome.server in ("", failure.server)]
    names, after = (_REFUSING, _AFTER_POSTGRES) if failure.refused else (_BREAKING, _AFTER_KILL)
    return any(_during(failure.start, failure.end, concern, name, after) for name in names)


def _during(start: int, end: int, outcomes: Iterable[Outcome], name: str, after: int) -> bool:
    return any(o.fault.name == name and start <= o.end + after and end >= o.start for o in outcomes)


def _hits(outcomes: Counter[str]) -> float:
    return round(100 * outcomes["HIT"] / max(1, outcomes.total()), 1)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
