"""What the protocol announces: metrics, traces, totals and the live check listen.

The protocol imports none of them, and this module imports nothing of the package. An event that
nobody listens to costs one empty loop. The pattern is that of stamina's ``instrumentation``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

What = ParamSpec("What")
Keys = TypeVar("Keys", bound=Sequence[str] | Mapping[str, Any])
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Attributes = Mapping[str, str | bool | int]


class Event(Generic[What]):
    """Called with what happened, it calls every listener, in the thread where it happened."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: tuple[Callable[What, object], ...] = ()

    def listen(self, listener: Callable[What, object]) -> None:
        """Call *listener* from now on; once, however often this is said. It must not raise."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def __call__(self, *args: What.args, **kwargs: What.kwargs) -> None:
        for listener in self._listeners:
            listener(*args, **kwargs)


#: A read has ended: the kind of what was read (``row``, ``document``, ``page``), the outcome
#: (``hit``, ``miss``, ``bypass``), and seconds; None for one of many that were read at once.
read_ended: Final[Event[str, str, float | None]] = Event()
#: A value from Redis is answered: the registration, the primary key, the key, and the value.
value_answered: Final[Event[Any, Any, str, bytes]] = Event()
#: A reader waits for the row that another is loading.
stampede_waited: Final[Event[[]]] = Event()
#: A round trip to Redis has ended, or failed: the name of the command or script, and seconds.
round_trip_ended: Final[Event[str, float]] = Event()
#: A transaction that wrote cached rows has committed and pushed: seconds in all, those in
#: Postgres, and those in Redis.
write_ended: Final[Event[float, float, float]] = Event()
#: After a COMMIT: the keys, and what became of each (``pushed``, ``invalidated``, ``superseded``,
#: ``lost``, ``unsent``).
pushed: Final[Event[Sequence[str], Sequence[str]]] = Event()
#: The gate of this process is ``closed``, ``settling`` or ``open`` from now on.
gate_changed: Final[Event[str]] = Event()
#: The live check has compared a hit with Postgres: whether it was stale.
hit_checked: Final[Event[bool]] = Event()

#: Enters what surrounds an operation on keys, or answers None where it is not of interest.
#: What is entered takes the operation's attributes.
Surround = Callable[
    [str, Sequence[str] | Mapping[str, Any]],
    AbstractContextManager[Callable[[Attributes], None]] | None,
]
_surrounds: list[Surround] = []
#: Enters what surrounds work in the background, which no request waits for.
_background: list[Callable[[str], AbstractContextManager[object]]] = []


def surround_operations(surround: Surround) -> None:
    """From now on each operation on keys happens inside what *surround* gives."""
    if surround not in _surrounds:
        _surrounds.append(surround)


def surround_background(surround: Callable[[str], AbstractContextManager[object]]) -> None:
    """From now on work in the background happens inside what *surround* gives."""
    if surround not in _background:
        _background.append(surround)


def operation(
    name: str, describe: Callable[[Any], Attributes] = lambda result: {}
) -> Callable[
    [Callable[Concatenate[Keys, Rest], Result]], Callable[Concatenate[Keys, Rest], Result]
]:
    """Announce a function whose first argument is keys, or rows by key, as the operation *name*.

    *describe* gives attributes for its result.
    """

    def decorate(
        function: Callable[Concatenate[Keys, Rest], Result],
    ) -> Callable[Concatenate[Keys, Rest], Result]:
        @wraps(function)
        def call(keys: Keys, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
            found = (surround(name, keys) for surround in _surrounds)
            entered = [each for each in found if each is not None]
            if not entered:
                return function(keys, *args, **kwargs)
            with ExitStack() as stack:
                notes = [stack.enter_context(each) for each in entered]
                result = function(keys, *args, **kwargs)
                for note in notes:
                    note(describe(result))
            return result

        return call

    return decorate


def background(
    name: str,
) -> Callable[[Callable[Rest, Result]], Callable[Rest, Result]]:
    """Announce a function as the work *name*, in the background."""

    def decorate(function: Callable[Rest, Result]) -> Callable[Rest, Result]:
        @wraps(function)
        def call(*args: Rest.args, **kwargs: Rest.kwargs) -> Result:
            with ExitStack() as stack:
                for surround in _background:
                    stack.enter_context(surround(name))
                return function(*args, **kwargs)

        return call

    return decorate
