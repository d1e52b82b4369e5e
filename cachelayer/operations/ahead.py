"""Round trips of the next batch, in a second thread, while this thread reads and renders a batch.

Rendering takes the interpreter's time, and a round trip of a thousand rows takes Redis's; side by
side they take the longer of the two. Only commands to Redis go into the second thread: what asks
Postgres must use this thread's connection, which may have a tenant.
"""

import contextvars
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Call(Protocol):
    """Calls functions in the second thread, one after the other."""

    def __call__(self, work: Callable[[], T], /) -> "Future[T]": ...


@contextmanager
def thread() -> Iterator[Call]:
    """Inside, the second thread runs. The end of the block waits for it."""
    with ThreadPoolExecutor(1, "cachelayer-ahead") as executor:

        def call(work: Callable[[], T], /) -> "Future[T]":
            # The span of this thread applies there, too.
            return executor.submit(contextvars.copy_context().run, work)

        yield call


def one_ahead(steps: Iterable[T]) -> Iterator[T]:
    """*steps*, each given after the step behind it has begun."""
    iterator = iter(steps)
    for step in iterator:
        for following in iterator:
            yield step
            step = following
        yield step
