"""Working ahead: one step is begun before the one before it is given, and no more."""

from contextvars import ContextVar

from cachelayer.operations import ahead


def begun(steps, events):
    for step in steps:
        events.append(f"begin {step}")
        yield step


def test_one_step_is_begun_ahead_so_that_memory_does_not_grow():
    events = []
    for step in ahead.one_ahead(begun([1, 2, 3], events)):
        events.append(f"give {step}")
    assert events == ["begin 1", "begin 2", "give 1", "begin 3", "give 2", "give 3"]


def test_there_may_be_one_step_or_none():
    assert list(ahead.one_ahead([])) == []
    assert list(ahead.one_ahead([1])) == [1]


def test_the_second_thread_has_the_context_of_this_one():
    variable = ContextVar("variable", default=0)
    with ahead.thread() as call:
        variable.set(7)
        assert call(variable.get).result() == 7
