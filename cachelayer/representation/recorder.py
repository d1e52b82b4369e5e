"""The recorder: finds undeclared reads of serializers, in tests and with ``DEBUG``.

While a row is rendered for the cache, the recorder watches every query, every access to the
serializer's ``context``, and every use of the current language or time zone, which may differ
between requests. In tests, the first find is an ``UndeclaredRead``. With ``DEBUG``, it is an error
in the log, once for each serializer and field. Otherwise nothing is recorded, unless the settings
say so.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.db import connections, models
from django.utils import timezone, translation

from cachelayer import conf
from cachelayer.exceptions import UndeclaredRead
from cachelayer.representation import declared_reads, neutral

logger = logging.getLogger("cachelayer.recorder")

_TRANSLATES: Final = ("gettext", "ngettext", "pgettext", "npgettext")
#: Packages whose lines do not show what to change.
_LIBRARIES: Final = frozenset({"django", "rest_framework", "psycopg", "python", "cachelayer"})
#: The module whose frames render a row.
_RENDERING: Final = f"{__package__}.rendering"
_DECLARE: Final = (
    "Name the relations that it reads in depends_on of cachelayer.register(), and read their rows "
    "by .all(), because only those rows are loaded with it. Or: "
)
_NEXT: Final = (
    "Show only what the row itself has; or do not register {model}; or call "
    "cachelayer.invalidate() wherever that changes, set depends_on=[] in the registration, and "
    "set CACHELAYER['RECORDER'] to 'off'."
)


class _Thread(threading.local):
    watch: "_Watch | None" = None


_thread = _Thread()
_logged: set[tuple[Any, str]] = set()


def is_wanted() -> str:
    """What happens to a find: ``raise``, ``log``, or "" if nothing is recorded."""
    wanted = conf.get().RECORDER
    if wanted == "auto":
        if _is_tested():
            return "raise"
        return "log" if settings.DEBUG else ""
    return "log" if wanted == "log" else ""


def _is_tested() -> bool:
    """Whether a test runner has called ``setup_test_environment()``, as every one does."""
    # Not imported here, because that would add 50 ms to the start of every process.
    test_utils = sys.modules.get("django.test.utils")
    return test_utils is not None and hasattr(test_utils._TestState, "saved_data")


@contextmanager
def watching(serializer: Any, made: Any, model: type[models.Model], pk: Any) -> Iterator[None]:
    """Inside, record reads by *made*, the instance of *serializer*, for the row *pk*.

    Raises ``UndeclaredRead`` in tests.
    """
    wanted = is_wanted()
    if not wanted or _thread.watch:
        yield
        return
    _notice_translations()
    if type(getattr(made, "_context", None)) is dict:
        made._context = _Context(made._context)
    watch = _thread.watch = _Watch(serializer, model, pk, wanted)
    try:
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(watch.query))
            yield
    finally:
        _thread.watch = None
        if watch.found:
            raise watch.found  # The serializer may have caught it, or orjson replaced it.


class _Watch:
    """Watches the rendering of one row."""

    def __init__(self, serializer: Any, model: type[models.Model], pk: Any, wanted: str) -> None:
        self._serializer, self._model, self._pk = serializer, model, pk
        self._raises = wanted == "raise"
        self.is_zone, self.is_language = neutral.is_zone(), neutral.is_language()
        self.found: UndeclaredRead | None = None

    def query(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        row = declared_reads.row(self._model, self._serializer)
        if not row.is_read(str(sql), params, self._pk):
            field, shown, place = _where()
            if not row.is_shown(shown):
                tables = ", ".join(sorted(declared_reads.tables(str(sql))))
                what = f"queries {tables} for more than this row"
                self.report(field, place, what, _DECLARE)
        return execute(sql, params, many, context)

    def report(self, field: str, place: str, what: str, first: str = "") -> None:
        name = getattr(self._serializer, "__qualname__", repr(self._serializer))
        model = self._model._meta.label
        found = UndeclaredRead(
            f"{model} is cached as {name} shows it, and {name}{field and '.'}{field} {what}"
            f"{place and f', at {place}'}. The cached row would not follow changes there. "
            f"{first}{_NEXT.format(model=model)}"
        )
        if self._raises:
            self.found = self.found or found
            raise found
        if (name, field) not in _logged:
            _logged.add((name, field))
            logger.error("%s", found)


class _Context(dict[str, Any]):
    """A serializer's ``context`` that reports accesses by the project's code."""

    def __getitem__(self, key: str) -> Any:
        _asked_context(key, sys._getframe(1))
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        _asked_context(key, sys._getframe(1))
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        _asked_context(key, sys._getframe(1))
        return super().__contains__(key)


def _asked_context(key: object, asker: FrameType) -> None:
    if _thread.watch and _root(asker) != "rest_framework":
        field, _, place = _where()
        _thread.watch.report(field, place, f"reads {key!r} from its context, which the cache lacks")


@cache
def _notice_translations() -> None:
    """From now on, report uses of the current language and time zone in this process."""
    if settings.USE_I18N:
        # Django sets its translation functions as attributes of this object at the first use.
        functions: Any = translation._trans  # type: ignore[attr-defined]
        for name in _TRANSLATES:
            setattr(functions, name, _noticed(getattr(functions, name), _asked_language))
    timezone.get_current_timezone = _noticed(timezone.get_current_timezone, _asked_zone)


def _noticed(function: Callable[..., Any], notice: Callable[[FrameType], None]) -> Any:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _thread.watch:
            notice(sys._getframe(1))
        return function(*args, **kwargs)

    return call


def _asked_language(asker: FrameType) -> None:
    watch = _thread.watch
    by_request = any(path.endswith("LocaleMiddleware") for path in settings.MIDDLEWARE)
    if watch and (by_request or not watch.is_language):
        field, _, place = _where()
        watch.report(field, place, "translates, but each request may have another language")


def _asked_zone(asker: FrameType) -> None:
    watch = _thread.watch
    if watch and not watch.is_zone:
        frame: FrameType | None = asker
        while frame and _root(frame) == "django":
            frame = frame.f_back
        # REST framework's own fields get the project's time zone.
        if frame and _root(frame) not in ("rest_framework", "cachelayer"):
            field, _, place = _where()
            watch.report(field, place, "uses the time zone, but each request may have another")


def _where() -> tuple[str, Any, str]:
    """The path of the serializer's current field, its first field, and a line of code."""
    names: list[str] = []
    place, shown = "", None
    frame: FrameType | None = sys._getframe(2)
    while frame and frame.f_globals.get("__name__") != _RENDERING:
        is_serializer = frame.f_globals.get("__name__") == "rest_framework.serializers"
        if is_serializer and frame.f_code.co_name == "to_representation":
            shown = frame.f_locals.get("field", shown)
            names += [shown.field_name] if shown and "field" in frame.f_locals else []
        elif not place and _root(frame) not in _LIBRARIES:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ".".join(reversed(names)), shown, place


def _root(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    if name.startswith("cachelayer.tests."):
        return "tests"  # The package's tests count as a project's code.
    root = name.partition(".")[0]
    return "python" if root in sys.stdlib_module_names else root
