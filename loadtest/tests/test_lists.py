"""The checker of pages, on histories made by hand and against one that looks at every page."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.history import ABSENT, Operation, initially
from loadtest.history import check as check_rows
from loadtest.lists import NOT_YET, ListRead, Lists, check, observed

MS = 1_000_000
#: The newer, the greater.
POSITIONS = {"a": (1, "a"), "b": (2, "b"), "c": (3, "c"), "d": (4, "d")}


def write(key, value, start, end, outcome="ok"):
    return Operation(key, "write", value, start * MS, end * MS, outcome)


def delete(key, start, end, outcome="ok"):
    return write(key, ABSENT, start, end, outcome)


def read(key, value, start, end):
    return Operation(key, "read", value, start * MS, end * MS)


def page(shown, start, end, limit=10, *, more=False, cut_off=False):
    """*shown*: such as "c0 b0 a1", keys and values."""
    rows = tuple((row[0], row[1:]) for row in shown.split())
    return ListRead(limit, rows, more, start * MS, end * MS, cut_off=cut_off)


def violations(*history, allowance=lambda read: 0, unanswered=(), positions=POSITIONS):
    operations = [each for each in history if isinstance(each, Operation)]
    reads = [each for each in history if isinstance(each, ListRead)]
    lists = Lists(reads, positions, {each.value: each for each in unanswered})
    return check(operations, lists, observed(operations, lists, allowance), allowance)


def reasons(*history, **others):
    return [violation.reason for violation in violations(*history, **others)]


START = (initially("a", "0"), initially("b", "0"))
CREATE = write("c", "0", 10, 20)


def test_a_page_with_all_that_is_there_is_fine():
    assert not reasons(*START, page("b0 a0", 1, 2), CREATE, page("c0 b0 a0", 21, 22))


def test_a_row_whose_create_was_acknowledged_is_missing():
    [violation] = violations(*START, CREATE, page("b0 a0", 25, 26))
    assert violation.reason == f"{NOT_YET} was read 5.0 ms after 0 was there"
    assert violation.key == "c"


def test_a_row_may_be_there_or_not_while_it_is_created():
    for shown in ("b0 a0", "c0 b0 a0"):
        assert not reasons(*START, CREATE, page(shown, 11, 12))
        assert not reasons(*START, CREATE, page(shown, 19, 30))


def test_a_row_is_not_there_before_its_create_begins():
    assert reasons(*START, CREATE, page("c0 b0 a0", 1, 2)) == ["read before it was written"]


def test_a_row_that_was_seen_stays_also_before_its_create_is_acknowledged():
    seen = (CREATE, page("c0 b0 a0", 11, 12), page("b0 a0", 13, 14))
    assert reasons(*START, *seen) == [f"{NOT_YET} was read 1.0 ms after 0 was there"]


def test_a_row_that_a_read_of_it_has_seen_is_on_a_page_that_is_read_after():
    assert reasons(*START, CREATE, read("c", "0", 11, 12), page("b0 a0", 13, 14))
    assert not reasons(*START, CREATE, read("c", "0", 11, 12), page("b0 a0", 11, 14))


def test_reads_of_a_row_that_contradict_each_other_are_no_fault_of_a_page():
    wrong = (write("a", "1", 1, 2), read("a", "0", 3, 4), read("a", "1", 5, 6))
    assert not reasons(*START, *wrong, page("b0 a1", 7, 8))


def test_a_deleted_row_is_not_shown():
    gone = delete("a", 10, 20)
    assert not reasons(*START, gone, page("b0 a0", 1, 2), page("b0", 21, 22))
    [reason] = reasons(*START, gone, page("b0 a0", 25, 26))
    assert reason == f"0 was read 5.0 ms after {ABSENT} was there"


def test_a_row_may_be_there_or_not_while_it_is_deleted_but_does_not_come_back():
    gone = delete("a", 10, 20)
    assert not reasons(*START, gone, page("b0 a0", 11, 12), page("b0", 13, 14))
    assert reasons(*START, gone, page("b0", 11, 12), page("b0 a0", 13, 14))


def test_a_row_is_not_missing_before_its_delete_begins():
    assert reasons(*START, CREATE, page("b0 a0", 25, 26), delete("c", 30, 40))
    assert not reasons(*START, CREATE, page("b0 a0", 25, 31), delete("c", 30, 40))


def test_a_page_that_is_read_from_before_the_create_until_after_the_delete():
    for shown in ("b0 a0", "c0 b0 a0"):
        assert not reasons(*START, CREATE, delete("c", 30, 40), page(shown, 1, 50))


def test_an_old_value_is_not_shown():
    change = write("a", "1", 10, 20)
    assert not reasons(*START, change, page("b0 a0", 11, 12), page("b0 a1", 21, 22))
    assert reasons(*START, change, page("b0 a0", 25, 26)) == ["0 was read 5.0 ms after 1 was there"]


def test_a_value_that_nobody_wrote_and_one_that_was_refused():
    assert reasons(*START, page("b0 a9", 1, 2)) == ["never written"]
    refused = write("a", "1", 1, 2, "failed")
    [reason] = reasons(*START, refused, page("b0 a1", 3, 4))
    assert reason == "a value was read whose write was refused"


def test_a_page_is_no_snapshot_of_several_rows():
    changes = (write("a", "1", 10, 20), write("b", "1", 12, 18))
    assert not reasons(*START, *changes, page("b1 a0", 11, 19), page("b0 a1", 11, 19))


@pytest.mark.parametrize("shown", ["b0 a0", "c0 b0 a0"])
def test_a_create_of_unknown_outcome_may_have_happened_or_not(shown):
    assert not reasons(*START, write("c", "0", 10, 20, "unknown"), page(shown, 25, 26))


def test_a_create_of_unknown_outcome_happens_once():
    create = write("c", "0", 10, 20, "unknown")
    assert not reasons(*START, create, page("b0 a0", 50, 51), page("c0 b0 a0", 60, 61))
    assert reasons(*START, create, page("c0 b0 a0", 50, 51), page("b0 a0", 60, 61))


def test_a_refused_create_does_not_happen():
    create = write("c", "0", 10, 20, "failed")
    assert not reasons(*START, create, page("b0 a0", 25, 26))
    assert reasons(*START, create, page("c0 b0 a0", 25, 26))


@pytest.mark.parametrize("shown", ["b0", "b0 a0"])
def test_a_delete_of_unknown_outcome_may_have_happened_or_not(shown):
    assert not reasons(*START, delete("a", 10, 20, "unknown"), page(shown, 25, 26))


def test_a_delete_of_unknown_outcome_happens_once():
    gone = delete("a", 10, 20, "unknown")
    assert not reasons(*START, gone, page("b0 a0", 25, 26), page("b0", 27, 28))
    assert reasons(*START, gone, page("b0", 25, 26), page("b0 a0", 27, 28))


def test_a_row_of_a_create_without_an_answer_is_known_by_its_value():
    lost = Operation("", "write", "7", 10 * MS, 20 * MS, "unknown")
    assert not reasons(*START, page("c7 b0 a0", 11, 12), unanswered=[lost])
    assert reasons(*START, page("c7 b0 a0", 1, 2), unanswered=[lost])
    twice = page("d7 c7 b0 a0", 11, 12)
    assert reasons(*START, twice, unanswered=[lost]) == ["never written"]
    gone = (page("c7 b0 a0", 11, 12), page("b0 a0", 13, 14))
    assert reasons(*START, *gone, unanswered=[lost])


def test_a_row_may_be_missing_where_a_page_does_not_reach():
    assert not reasons(*START, CREATE, page("c0 b0", 25, 26, limit=2, more=True))
    assert reasons(*START, CREATE, page("c0 a0", 25, 26, limit=2, more=True))
    assert reasons(*START, CREATE, page("c0 b0", 25, 26, limit=2))


def test_a_page_with_a_next_one_is_full_but_for_what_is_deleted_meanwhile():
    short = page("c0", 25, 30, limit=2, more=True)
    assert reasons(*START, CREATE, short) == ["it has 1 rows, and there is a next page"]
    assert not reasons(*START, CREATE, delete("b", 28, 40), short)
    assert not reasons(*START, CREATE, delete("b", 20, 21, "unknown"), short)
    assert reasons(*START, CREATE, delete("b", 20, 21), short)
    stale = {"allowance": lambda read: 5 * MS}
    assert not reasons(*START, CREATE, delete("b", 20, 21), short, **stale)


def test_the_form_of_a_page():
    assert reasons(*START, page("a0 b0", 1, 2)) == ["a comes before b, which is newer"]
    assert reasons(*START, page("b0 b0 a0", 1, 2)) == ["it has a row twice"]
    assert reasons(*START, page("b0 a0", 1, 2, limit=1)) == ["it has 2 rows"]


def test_a_page_may_be_as_stale_as_a_read_of_the_row():
    bound = {"allowance": lambda read: 5 * MS * (read.key == "c")}
    assert not reasons(*START, CREATE, page("b0 a0", 24, 26), **bound)
    assert reasons(*START, CREATE, page("b0 a0", 26, 27), **bound)
    assert reasons(*START, write("a", "1", 10, 20), page("b0 a0", 24, 26), **bound)
    gone = (CREATE, delete("c", 30, 40))
    assert not reasons(*START, *gone, page("c0 b0 a0", 44, 45), **bound)
    assert reasons(*START, *gone, page("c0 b0 a0", 46, 47), **bound)


def test_only_those_that_were_cut_off_may_be_stale():
    bound = {"allowance": lambda read: 5 * MS * read.cut_off}
    assert not reasons(*START, CREATE, page("b0 a0", 24, 26, cut_off=True), **bound)
    assert reasons(*START, CREATE, page("b0 a0", 24, 26), **bound)


def test_what_is_observed_does_not_grow_with_the_pages():
    lists = Lists([page("b0 a0", n, n + 1) for n in range(100)], POSITIONS, {})
    seen = observed([*START, CREATE, delete("c", 30, 40)], lists)
    assert len(seen) < 16


@st.composite
def histories(draw):
    """Rows with a create, changes and a delete, and pages of some of them."""
    times = st.integers(1, 16)
    outcomes = st.sampled_from(["ok", "ok", "unknown"])
    operations, values = [], {}
    for key in "abc":
        start, end = sorted((draw(times), draw(times)))
        values[key] = ["0", "1"]
        operations.append(write(key, "0", start, end))
        operations.append(write(key, "1", *sorted((draw(times), draw(times))), draw(outcomes)))
        if draw(st.booleans()):
            later = draw(st.integers(end + 1, 20))
            operations.append(delete(key, later, later + draw(times), draw(outcomes)))
    reads = []
    for _ in range(draw(st.integers(1, 4))):
        shown = [f"{key}{draw(st.sampled_from(values[key]))}" for key in draw(st.sets(_KEYS))]
        start, end = sorted((draw(st.integers(1, 40)), draw(st.integers(1, 40))))
        limit = max(1, len(shown))
        rows = " ".join(sorted(shown, reverse=True))
        reads.append(page(rows, start, end, limit, more=draw(st.booleans()) and bool(rows)))
    return operations, reads


_KEYS = st.sampled_from("abc")


@settings(max_examples=1000, deadline=None)
@given(histories())
def test_it_agrees_with_one_that_looks_at_every_page(history):
    operations, reads = history
    # A change before the create is none.
    born = {op.key: op for op in operations if op.value == "0"}
    operations = [op for op in operations if op.value != "1" or op.start > born[op.key].end]
    found = violations(*operations, *reads)
    assert bool(found) == any(_is_wrong(key, operations, reads) for key in "abc")


def _is_wrong(key, operations, reads):
    """Whether no choice of what each page says of the row explains them all."""
    choices = [[]]
    for each in reads:
        shown = dict(each.rows)
        reaches = not each.more or POSITIONS[key] > POSITIONS[each.rows[-1][0]]
        if key in shown:
            values = [shown[key]]
        elif reaches:
            values = [NOT_YET, ABSENT]
        else:
            continue
        choices = [[*chosen, each.of(key, value)] for chosen in choices for value in values]
    writes = [initially(key, NOT_YET), *(op for op in operations if op.key == key)]
    return all(check_rows([*writes, *chosen]) for chosen in choices)
