"""The checker, on histories made by hand and against a search of every order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.history import ABSENT, Operation, check, initially, staleness

MS = 1_000_000


def write(value, start, end, outcome="ok", key="k"):
    return Operation(key, "write", value, start * MS, end * MS, outcome)


def read(value, start, end, key="k"):
    return Operation(key, "read", value, start * MS, end * MS)


def reasons(*operations):
    return [violation.reason for violation in check(operations)]


START = initially("k", "0")


def test_reads_of_the_last_acknowledged_write_are_fine():
    assert not reasons(START, read("0", 1, 2), write("a", 3, 4), read("a", 5, 6), read("a", 5, 9))


def test_a_read_during_a_write_may_return_either_value():
    assert not reasons(START, write("a", 1, 10), read("0", 2, 3), read("a", 4, 5))
    assert not reasons(START, write("a", 1, 10), read("a", 2, 3), read("a", 4, 5))


def test_concurrent_writes_take_effect_in_either_order():
    both = [START, write("a", 1, 10), write("b", 2, 9)]
    assert not reasons(*both, read("a", 11, 12))
    assert not reasons(*both, read("b", 11, 12))


def test_a_stale_read_after_the_acknowledgement():
    [reason] = reasons(START, write("a", 1, 2), write("b", 3, 4), read("a", 9, 10))
    assert reason == "a was read 5.0 ms after b was there"


def test_the_initial_value_read_after_a_write():
    assert reasons(START, write("a", 1, 2), read("0", 3, 4))


def test_two_reads_that_see_new_then_old_while_the_write_runs():
    assert reasons(START, write("a", 1, 20), read("a", 2, 3), read("0", 4, 5))


def test_concurrent_writes_seen_in_both_orders():
    both = [START, write("a", 1, 10), write("b", 1, 10)]
    assert reasons(*both, read("a", 11, 12), read("b", 13, 14))


def test_a_value_never_written():
    assert reasons(START, read("x", 1, 2)) == ["never written"]


def test_a_value_read_before_its_write_began():
    assert reasons(START, read("a", 1, 2), write("a", 3, 4)) == ["read before it was written"]


def test_a_refused_write_must_not_be_seen():
    refused = write("a", 1, 2, "failed")
    assert not reasons(START, refused, read("0", 3, 4))
    assert reasons(START, refused, read("a", 3, 4)) == ["a value was read whose write was refused"]


def test_an_unknown_write_may_never_happen_or_happen_late():
    unknown = write("a", 1, 2, "unknown")
    assert not reasons(START, unknown, read("0", 50, 51))
    assert not reasons(START, unknown, read("0", 50, 51), read("a", 60, 61))


def test_an_unknown_write_happens_only_once():
    unknown = write("a", 1, 2, "unknown")
    assert reasons(START, unknown, read("a", 3, 4), read("0", 5, 6))
    assert reasons(
        START, unknown, write("b", 3, 4), read("a", 5, 6), read("b", 7, 8), read("a", 9, 9)
    )


def test_a_deleted_row_that_comes_back():
    gone = write(ABSENT, 1, 2)
    assert not reasons(START, gone, read(ABSENT, 3, 4))
    assert reasons(START, gone, read("0", 3, 4))


def test_a_lost_write_is_found_by_the_last_read():
    assert reasons(START, write("a", 1, 2), write("b", 3, 4), read("a", 1000, 1001))


def test_keys_do_not_concern_each_other():
    other = initially("other", "0")
    assert not reasons(START, other, write("a", 1, 2), read("0", 3, 4, key="other"))


def test_a_bounded_read_is_stale_only_beyond_its_bound():
    history = [START, write("a", 1, 2), read("0", 7, 8)]
    assert not check(history, lambda read: 5 * MS)
    assert check(history, lambda read: 4 * MS)


def test_staleness_is_what_the_stalest_read_needs():
    history = [START, write("a", 1, 2), read("0", 3, 4), read("0", 7, 8), read("a", 9, 10)]
    assert abs(staleness(history) - 5 * MS) <= MS // 5
    assert staleness([START, write("a", 1, 2), read("a", 3, 4)]) == 0


def test_the_report_has_the_operations_with_their_times():
    [violation] = check([START, write("a", 1, 2), read("0", 7, 8)])
    text = violation.text()
    assert "0 was read 5.0 ms after a was there" in text
    assert "0.001000 …     0.002000 s  write a  ok" in text
    assert "0.007000 …     0.008000 s  read  0  ok" in text


VALUES = ["0", "a", "b", "c"]


@st.composite
def histories(draw):
    times = st.integers(1, 12)
    operations = [START]
    for value in VALUES[1 : 1 + draw(st.integers(1, 3))]:
        start, end = sorted((draw(times), draw(times)))
        operations.append(write(value, start, end, draw(st.sampled_from(["ok", "ok", "unknown"]))))
    for _ in range(draw(st.integers(1, 4))):
        start, end = sorted((draw(times), draw(times)))
        operations.append(read(draw(st.sampled_from(VALUES)), start, end))
    return operations


def some_order_explains(operations, current=None):
    """Whether a register could answer *operations* in some order that their times allow."""
    required = [op for op in operations if op.outcome == "ok"]
    if not required:
        return True
    first_end = min(op.end for op in required)
    for op in operations:
        if op.start > first_end or (op.kind == "read" and op.value != current):
            continue
        rest = [other for other in operations if other is not op]
        if some_order_explains(rest, op.value if op.kind == "write" else current):
            return True
    return False


@settings(max_examples=800, deadline=None)
@given(histories())
def test_it_agrees_with_a_search_of_every_order(operations):
    assert bool(check(operations)) != some_order_explains(operations)


@settings(max_examples=300, deadline=None)
@given(histories())
def test_staleness_is_the_least_bound_that_is_kept(operations):
    beyond_help = {op for v in check(operations) if "after" not in v.reason for op in v.operations}
    operations = [op for op in operations if op.kind == "write" or op not in beyond_help]
    least = staleness(operations)
    assert not check(operations, lambda read: least)
    assert least == 0 or check(operations, lambda read: least - MS // 2)
