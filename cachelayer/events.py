"""The events that the protocol announces. Metrics, traces, totals and the live check listen.

The protocol imports none of its listeners, and this module imports nothing from the package. An
event without listeners costs one empty loop. The pattern comes from stamina's
``instrumentation``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

What = ParamSpec("What")
Keys = TypeVar("Keys", bound=Sequence[str] | Mapping[str, Any])
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Attributes = Mapping[str, str | bool | int]


class Event(Generic[What]):
    """A call announces the event: it calls every listener, in the same thread."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: tuple[Callable[What, object], ...] = ()

    def listen(self, listener: Callable[What, object]) -> None:
        """Call *listener* at every event; adding it twice has no effect. It must not raise."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def __call__(self, *args: What.args, **kwargs: What.kwargs) -> None:
        for listener in self._listeners:
            listener(*args, **kwargs)


#: A read has ended: its kind (``row``, ``document``, ``page``), its outcome (``hit``, ``miss``,
#: ``bypass``), and its seconds, or None if several were read at once.
read_ended: Final[Event[str, str, float | None]] = Event()
#: A read returns a value from Redis: the registration, the primary key, the key, and the value.
value_answered: Final[Event[Any, Any, str, bytes]] = Event()
#: A reader waits for a row that another reader is loading.
stampede_waited: Final[Event[[]]] = Event()
#: A round trip to Redis has ended, or failed: the name of the command or script, and seconds.
round_trip_ended: Final[Event[str, float]] = Event()
#: A transaction that wrote cached rows has committed and pushed: its seconds in all, in Postgres,
#: and in Redis.
write_ended: Final[Event[float, float, float]] = Event()
#: After a COMMIT: the keys, and the result for each (``pushed``, ``invalidated``,
#: ``superseded``, ``lost``, ``unsent``).
pushed: Final[Event[Sequence[str], Sequence[str]]] = Event()
#: The gate of this process is ``closed``, ``settling`` or ``open`` from now on.
gate_changed: Final[Event[str]] = Event()
#: The live check has compared a hit with Postgres: whether it was stale.
hit_checked: Final[Event[bool]] = Event()

#: Returns a context manager to run an operation on keys in, or None if it is not interested.
#: The context manager gives a function that takes the attributes of the result.
Surround = Callable[
    [str, Sequence[str] | Mapping[str, Any]],
    AbstractContextManager[Callable[[Attributes], None]] | None,
]
_surrounds: list[Surround] = []
#: Return a context manager to run background work in. No request waits for this work.
_background: list[Callable[[str], AbstractContextManager[object]]] = []


def surround_operations(surround: Surround) -> None:
    """From now on, run each operation on keys inside the context manager from *surround*."""
    if surround not in _surrounds:
        _surrounds.append(surround)


def surround_background(surround: Callable[[str], AbstractContextManager[object]]) -> None:
    """From now on, run background work inside the context manager from *surround*."""
    if surround not in _background:
        _background.append(surround)


def interested(
    name: str, keys: Sequence[str] | Mapping[str, Any]
) -> list[AbstractContextManager[Callable[[Attributes], None]]]:
    """The context managers to run the operation *name* on *keys* in; nearly always none.

    For what ``operation`` cannot decorate, because it is awaited; ``surrounded`` enters them.
    """
    found = []
    for surround in _surrounds:  # Of each hit: a comprehension is a call more in Python 3.11.
        each = surround(name, keys)
        if each is not None:
            found.append(each)
    return found


@contextmanager
def surrounded(
    found: Sequence[AbstractContextManager[Callable[[Attributes], None]]],
) -> Iterator[Callable[[Attributes], None]]:
    """Run the block inside *found*; gives a function that takes the attributes of the result."""
    with ExitStack() as stack:
        notes = [stack.enter_context(each) for each in found]

        def note(attributes: Attributes) -> None:
            for each in notes:
                each(attributes)

        yield note


def operation(
    name: str, describe: Callable[[Any], Attributes] = lambda result: {}
) -> Callable[
    [Callable[Concatenate[Keys, Rest], Result]], Callable[Concatenate[Keys, Rest], Result]
]:
    """Announce each call of a function as the operation *name*.

    The function's first argument holds keys, or rows by key. *describe* turns its result into
    attributes.
    """

    def decorate(
        function: Callable[Concatenate[Keys, Rest], Result],
    ) -> Callable[Concatenate[Keys, Rest], Result]:
        @wraps(function)
        def call(keys: Keys, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
            found = interested(name, keys)
            if not found:
                return function(keys, *args, **kwargs)
            with surrounded(found) as note:
                result = function(keys, *args, **kwargs)
                note(describe(result))
            return result

        return call

    return decorate


def background(
    name: str,
) -> Callable[[Callable[Rest, Result]], Callable[Rest, Result]]:
    """Announce each call of a function as the background work *name*."""

    def decorate(function: Callable[Rest, Result]) -> Callable[Rest, Result]:
        @wraps(function)
        def call(*args: Rest.args, **kwargs: Rest.kwargs) -> Result:
            with ExitStack() as stack:
                for surround in _background:
                    stack.enter_context(surround(name))
                return function(*args, **kwargs)

        return call

    return decorate
