"""Decides whether a recorded history of reads and writes is that of a linearizable register.

Every key is a separate register and every write stores a value that no other
write of that key stores, so this takes n log n time (Gibbons and Korach, Testing
Shared Memories, 1997). A write and the reads of its value are a cluster. Some
operation of cluster A precedes one of B when A's earliest end lies before B's
latest start; the history is linearizable when no two clusters precede each other,
no read precedes its write, and every value that was read was written.

A read may be allowed to be stale by d: then its start counts as d earlier
("delta-atomicity": Golab, Li and Shah, PODC 2011). The least d that makes a
history linearizable is its staleness.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

#: The value of a key that has no row.
ABSENT: Final = "(absent)"
_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Operation:
    """A read of *value* or a write of it; times are monotonic nanoseconds.

    ``failed``: a write that was refused, so it never takes effect. ``unknown``: it
    may take effect at any time after its start, or never.
    """

    key: str
    kind: Literal["read", "write"]
    value: str
    start: int
    end: int
    outcome: Literal["ok", "failed", "unknown"] = "ok"
    who: str = ""
    #: Through the server that is cut off from Redis now and then.
    cut_off: bool = False

    def line(self, zero: int) -> str:
        began, ended = (self.start - zero) / 1e9, (self.end - zero) / 1e9
        return (
            f"{began:12.6f} … {ended:12.6f} s  {self.kind:5} {self.value}  {self.outcome}  "
            f"{self.who}".rstrip()
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """Operations of one key that no register could have answered so."""

    key: str
    reason: str
    operations: tuple[Operation, ...]

    def text(self, zero: int = 0) -> str:
        """For people: the reason and the operations, with seconds since *zero*."""
        # An initial write may begin before zero.
        lines = [operation.line(zero) for operation in self.operations]
        return "\n  ".join([f"{self.key}: {self.reason}", *lines])


#: How stale a read may be, in nanoseconds.
Allowance = Callable[[Operation], int]


def initially(key: str, value: str) -> Operation:
    """The write of the value that *key* has before anything else happens."""
    return Operation(key, "write", value, -1, -1, who="initial value")


def check(
    operations: Iterable[Operation], allowance: Allowance = lambda read: 0
) -> list[Violation]:
    """What is wrong with the history; nothing, when each key was a linearizable register."""
    return [
        violation
        for history in by_key(operations).values()
        for violation in _check_key(history, allowance)
    ]


def staleness(operations: Iterable[Operation]) -> int:
    """By how much the most stale read of any key was stale, in nanoseconds (to 0.1 ms)."""
    worst = 0
    for history in by_key(operations).values():
        worst = _staleness(history, worst)
    return worst


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """The history of each key."""
    histories: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        histories[operation.key].append(operation)
    return dict(histories)


@dataclass(frozen=True, slots=True)
class _Zone:
    """A cluster, by the operation that ends first and the one that starts last."""

    write: Operation
    ends_first: Operation
    starts_last: Operation
    end: int
    start: int


def _check_key(history: Sequence[Operation], allowance: Allowance) -> list[Violation]:
    writes, refused = _writes(history)
    reads: dict[str, list[Operation]] = defaultdict(list)
    violations = []
    for read in history:
        if read.kind != "read" or read.outcome != "ok":
            continue
        write = writes.get(read.value)
        if write is None:
            found = tuple(w for w in [refused.get(read.value)] if w)
            reason = "a value was read whose write was refused" if found else "never written"
            violations.append(Violation(read.key, reason, (*found, read)))
        elif read.end < write.start:
            violations.append(Violation(read.key, "read before it was written", (read, write)))
        else:
            reads[read.value].append(read)
    zones = [
        _zone(write, reads[value], allowance)
        for value, write in writes.items()
        # Nobody saw it: it may never have happened.
        if write.outcome == "ok" or reads[value]
    ]
    return violations + _conflicts(zones)


def _writes(history: Iterable[Operation]) -> tuple[dict[str, Operation], dict[str, Operation]]:
    writes: dict[str, Operation] = {}
    refused: dict[str, Operation] = {}
    for write in history:
        if write.kind == "write":
            if write.value in writes or write.value in refused:
                raise ValueError(f"Two writes of {write.key} store {write.value!r}.")
            (refused if write.outcome == "failed" else writes)[write.value] = write
    return writes, refused


def _zone(write: Operation, reads: Sequence[Operation], allowance: Allowance) -> _Zone:
    ends = [(read.end, read) for read in reads]
    ends.append((write.end if write.outcome == "ok" else _NEVER, write))
    starts = [(read.start - allowance(read), read) for read in reads]
    starts.append((write.start, write))
    end, ends_first = min(ends, key=lambda pair: pair[0])
    start, starts_last = max(starts, key=lambda pair: pair[0])
    return _Zone(write, ends_first, starts_last, end, start)


def _conflicts(zones: Iterable[_Zone]) -> list[Violation]:
    """The pairs A, B with A.end < B.start and B.end < A.start, one or more for each cycle."""
    forward = sorted((z for z in zones if z.end < z.start), key=lambda zone: zone.end)
    ends = [zone.end for zone in forward]
    # The forward zone that reaches furthest, of the first 1, 2, 3, …
    furthest = list(accumulate(forward, _further))
    violations = [
        _conflict(earlier, later)
        for earlier, later in zip(furthest, forward[1:], strict=False)
        if later.end < earlier.start
    ]
    for zone in zones:
        before = bisect_left(ends, zone.start)
        if zone.end >= zone.start and before and zone.end < furthest[before - 1].start:
            violations.append(_conflict(furthest[before - 1], zone))
    return violations


def _further(a: _Zone, b: _Zone) -> _Zone:
    return b if b.start > a.start else a


def _conflict(old: _Zone, new: _Zone) -> Violation:
    if old.write.start > new.write.start:
        old, new = new, old
    involved = {
        id(operation): operation
        for zone in (old, new)
        for operation in (zone.write, zone.ends_first, zone.starts_last)
    }
    late = (old.start - new.end) / 1e6
    reason = f"{old.write.value} was read {late:.1f} ms after {new.write.value} was there"
    in_order = sorted(involved.values(), key=lambda operation: operation.start)
    return Violation(old.write.key, reason, tuple(in_order))


def _staleness(history: Sequence[Operation], least: int) -> int:
    """That of one key, or *least* if it is less: so only few keys take more than one look."""

    def stale(slack: int) -> bool:
        violations = _check_key(history, lambda read: slack)
        return any(len({op.value for op in v.operations}) > 1 for v in violations)

    if not stale(least):
        return least
    low, high = least, max(operation.end for operation in history)
    while high - low > 100_000:
        middle = (low + high) // 2
        low, high = (middle, high) if stale(middle) else (low, middle)
    return high
