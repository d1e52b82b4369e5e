"""Decides whether pages of a list show what they must: every row is a separate register.

A page is the newest *limit* rows, by ``created_at`` and key. For each row it is a read like any
other (``history.py``): of the value that it shows; of ``ABSENT`` or ``NOT_YET`` where the row is
not on it and would come before the last that is. So these are refused: a page without a row whose
create was acknowledged before the read began and that nobody had begun to delete when it ended,
one with a row whose delete was acknowledged before, and one with a value that no read of that row
could have given then.

A page is not a snapshot: of two rows it may show one as it was before the other was written. Each
row is judged by itself, and each may be as stale as a read of it alone could be.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from loadtest import history
from loadtest.history import ABSENT, Allowance, Operation, Violation, by_key

#: The value of a row before its create: ``ABSENT`` is written once only, by its delete.
NOT_YET: Final = "(not yet there)"

#: ``created_at`` in microseconds since 1970, and the key: the greater, the newer.
Position = tuple[int, str]
_OLDEST: Final[Position] = (-(1 << 62), "")
_NEWEST: Final[Position] = (1 << 62, "")


@dataclass(frozen=True, slots=True)
class ListRead:
    """A page of at most *limit* rows (keys and values); times are monotonic nanoseconds."""

    limit: int
    rows: tuple[tuple[str, str], ...]
    #: Whether it says that there is a next page.
    more: bool
    start: int
    end: int
    who: str = ""
    #: As ``Operation.cut_off``.
    cut_off: bool = False

    def of(self, key: str, value: str) -> Operation:
        """What it says of one row."""
        return Operation(key, "read", value, self.start, self.end, "ok", self.who, self.cut_off)


@dataclass(frozen=True, slots=True)
class Lists:
    """All pages that were read, where each row is in the list, and the creates without an answer.

    Of such a create nobody knows the key; *unanswered* has it by its value.
    """

    reads: Sequence[ListRead]
    positions: Mapping[str, Position]
    unanswered: Mapping[str, Operation]


def observed(
    operations: Iterable[Operation], lists: Lists, allowance: Allowance = lambda read: 0
) -> list[Operation]:
    """All writes, and what the pages say of each row, as reads of it.

    Of all pages that show the same value only those that decide: the first to end and the last
    to begin. So there are as few as there are writes, however many pages were read.
    """
    writes = _writes(operations, lists)
    deciding = _Deciding(allowance)
    for read in lists.reads:
        for key, value in read.rows:
            deciding.add(read.of(key, value))
    pages = _pages(lists)
    starts = [page.read.start for page in pages]
    for key, history_of_key in by_key(writes).items():
        life = _Life.of(history_of_key)
        if life and key in lists.positions:
            for page in _without(key, lists.positions[key], life, pages, starts):
                if missing := life.value_when_missing(page.read, allowance):
                    deciding.add(page.read.of(key, missing))
    reads = deciding.reads()
    early = {read.key for read in reads if read.value == NOT_YET}
    return [*writes, *map(_before_all, early), *reads]


def check(
    operations: Sequence[Operation],
    lists: Lists,
    seen: Sequence[Operation],
    allowance: Allowance = lambda read: 0,
) -> list[Violation]:
    """What is wrong with the pages; *seen* is what ``observed`` has made of them.

    Reads of single rows are witnesses: a page may not show what was there before them. Where
    they contradict each other, they are none.
    """
    found = [violation for read in lists.reads for violation in _check_form(read, lists)]
    found += _check_length(lists, seen, allowance)
    alone = by_key(operations)
    for key, shown in by_key(seen).items():
        wrong = history.check(shown, allowance)
        if not wrong and not history.check(alone.get(key, []), allowance):
            reads = [each for each in alone.get(key, []) if each.kind == "read"]
            wrong = history.check([*shown, *reads], allowance)
        found += wrong
    return found


def _before_all(key: str) -> Operation:
    """Also before what ``initially`` has written."""
    return Operation(key, "write", NOT_YET, -2, -2, who="initial value")


def _writes(operations: Iterable[Operation], lists: Lists) -> list[Operation]:
    """All writes; also the creates without an answer, where a page has shown whose they are."""
    writes = [operation for operation in operations if operation.kind == "write"]
    known = {operation.key for operation in writes}
    left = dict(lists.unanswered)
    for page in lists.reads if left else []:
        for key, value in page.rows:
            # One create makes one row: another with its value is not explained.
            if key not in known and (create := left.pop(value, None)):
                writes.append(replace(create, key=key))
                known.add(key)
    return writes


@dataclass(frozen=True, slots=True)
class _Life:
    """A row's create, and its delete if there is one."""

    born: Operation
    gone: Operation | None

    @classmethod
    def of(cls, writes: Iterable[Operation]) -> "_Life | None":
        """From all writes of its key; None where none was a create that may have happened."""
        real = sorted((w for w in writes if w.outcome != "failed"), key=lambda write: write.start)
        gone = next((write for write in real if write.value == ABSENT), None)
        born = next((write for write in real if write.value != ABSENT), None)
        return cls(born, gone) if born else None

    def value_when_missing(self, read: ListRead, allowance: Allowance) -> str | None:
        """What a page says of the row that does not show it; None where it may be either."""
        if self.gone is None or read.end < self.gone.start:
            return NOT_YET
        start = read.start - allowance(read.of(self.born.key, ABSENT))
        return ABSENT if self.born.outcome == "ok" and start > self.born.end else None


@dataclass(frozen=True, slots=True)
class _Page:
    """A page, the keys on it, and the oldest position that it reaches to."""

    read: ListRead
    keys: frozenset[str]
    floor: Position

    def lacks(self, key: str, position: Position) -> bool:
        return position > self.floor and key not in self.keys


def _pages(lists: Lists) -> list[_Page]:
    """By when they began."""
    keys: dict[tuple[tuple[str, str], ...], frozenset[str]] = {}
    pages = []
    for read in sorted(lists.reads, key=lambda read: read.start):
        shown = keys.setdefault(read.rows, frozenset(key for key, _ in read.rows))
        floor = _OLDEST
        if read.more:
            # Also of a page that lacks rows at its end because they were deleted meanwhile.
            floor = lists.positions.get(read.rows[-1][0], _NEWEST) if read.rows else _NEWEST
        pages.append(_Page(read, shown, floor))
    return pages


def _without(
    key: str, position: Position, life: _Life, pages: Sequence[_Page], starts: Sequence[int]
) -> Iterator[_Page]:
    """The pages that lack the row; of those after its delete only the last, which decides."""
    first, last = bisect_left(starts, life.born.start), len(pages)
    if life.gone and life.gone.outcome == "ok":
        last = bisect_right(starts, life.gone.end)
    yield from (page for page in pages[first:last] if page.lacks(key, position))
    for page in reversed(pages[last:]):
        if page.lacks(key, position):
            yield page
            break


class _Deciding:
    """Of the reads of each value: the first to end, and the last to begin.

    Pages that may be stale are counted apart, because staleness is reported for each kind.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._first: dict[tuple[str, str, bool, bool], Operation] = {}
        self._last: dict[tuple[str, str, bool, bool], Operation] = {}
        self._last_allowed: dict[tuple[str, str, bool, bool], tuple[int, Operation]] = {}

    def add(self, read: Operation) -> None:
        slack = self._allowance(read)
        kind = (read.key, read.value, read.cut_off, slack > 0)
        if read.end <= self._first.setdefault(kind, read).end:
            self._first[kind] = read
        if read.start >= self._last.setdefault(kind, read).start:
            self._last[kind] = read
        start = read.start - slack
        if start >= self._last_allowed.setdefault(kind, (start, read))[0]:
            self._last_allowed[kind] = (start, read)

    def reads(self) -> list[Operation]:
        every = [
            *self._first.values(),
            *self._last.values(),
            *(read for _, read in self._last_allowed.values()),
        ]
        return list({id(read): read for read in every}.values())


def _check_form(read: ListRead, lists: Lists) -> Iterator[Violation]:
    """A page has at most *limit* rows, each once, newest first."""
    keys = [key for key, _ in read.rows]
    if len(keys) > read.limit:
        yield _of_page(read, f"it has {len(keys)} rows")
    if len(set(keys)) < len(keys):
        yield _of_page(read, "it has a row twice")
    for before, after in pairwise(keys):
        if lists.positions.get(before, _NEWEST) < lists.positions.get(after, _OLDEST):
            yield _of_page(read, f"{before} comes before {after}, which is newer")


def _check_length(
    lists: Lists, seen: Iterable[Operation], allowance: Allowance
) -> Iterator[Violation]:
    """A page that is followed by another is full, but for rows that are being deleted."""
    short = [read for read in lists.reads if read.more and len(read.rows) < read.limit]
    if not short:
        return
    deletes = [op for op in seen if op.kind == "write" and op.value == ABSENT]
    for read in short:
        meanwhile = sum(
            delete.start <= read.end
            and (
                delete.outcome == "unknown"
                or delete.end >= read.start - allowance(read.of(delete.key, ABSENT))
            )
            for delete in deletes
            if delete.outcome != "failed"
        )
        if len(read.rows) + meanwhile < read.limit:
            yield _of_page(read, f"it has {len(read.rows)} rows, and there is a next page")


def _of_page(read: ListRead, reason: str) -> Violation:
    return Violation(f"GET ?limit={read.limit}", reason, (read.of("", f"{len(read.rows)} rows"),))
