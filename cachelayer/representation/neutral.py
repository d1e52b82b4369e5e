"""Renders a row for everybody: in the project's time zone and language, from the primary database.

What a request activates in its thread (``timezone.activate``, ``translation.activate``) must not
apply, and a replica may lag behind the write whose row is rendered. Code that names a database
itself, by ``using()`` or a cursor, still reads from that database.
"""

import builtins
import dis
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any, Final

from django.conf import settings
from django.db import models, router
from django.utils import timezone, translation


class _Thread(threading.local):
    depth = 0


_thread = _Thread()
_inserting: Final = threading.Lock()


@contextmanager
def context() -> Iterator[None]:
    """Inside, this thread renders as any other thread would. Costs some microseconds."""
    _route()
    with ExitStack() as stack:
        if not is_zone():
            stack.enter_context(timezone.override(None))
        if not is_language():
            stack.enter_context(translation.override(settings.LANGUAGE_CODE))
        _thread.depth += 1
        try:
            yield
        finally:
            _thread.depth -= 1


def is_zone() -> bool:
    """Whether this thread's current time zone is the project's."""
    return timezone.get_current_timezone() is timezone.get_default_timezone()


def is_language() -> bool:
    """Whether this thread's current language is the project's."""
    return translation.get_language() == settings.LANGUAGE_CODE


class _Primary:
    """A database router that sends reads to the database of writes while a row is rendered."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return router.db_for_write(model, **hints) if _thread.depth else None


_primary: Final = _Primary()


def _route() -> None:
    """Put our router before the project's routers; a test may have replaced them."""
    routers = router.routers
    if routers and routers[0] is not _primary:
        with _inserting:
            if routers[0] is not _primary:
                routers.insert(0, _primary)


#: The methods of a serializer's field that turn a column's value into JSON.
_CONVERTING: Final = ("to_representation", "enforce_timezone", "default_timezone", "quantize")


def is_neutral(field: Any) -> bool:
    """Whether a serializer's *field* gives every thread the same; sets its time zone if needed."""
    from rest_framework import fields

    if not all(_asks_nothing(getattr(type(field), name, None)) for name in _CONVERTING):
        return False
    if isinstance(field, fields.DateTimeField) and settings.USE_TZ:
        # Otherwise it would look up the thread's time zone for each row, which takes most time.
        field.timezone = getattr(field, "timezone", timezone.get_default_timezone())
    parts = (getattr(field, name, None) for name in ("child", "pk_field"))
    return not getattr(field, "localize", False) and all(map(is_neutral, filter(None, parts)))


def _asks_nothing(method: Any) -> bool:
    """Whether *method* is REST framework's, or only uses its argument and builtins."""
    if method is None or method.__module__.startswith("rest_framework."):
        return True
    if not isinstance(method, FunctionType) or method.__code__.co_freevars:
        return False
    itself = method.__code__.co_varnames[:1]
    return not any(
        step.opname.startswith(("IMPORT", "LOAD_CLOSURE", "MAKE_FUNCTION"))
        or (step.opname.startswith("LOAD_FAST") and _names(step) & {*itself})
        or (step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not _is_builtin(step.argval, method))
        for step in dis.get_instructions(method)
    )


def _names(step: dis.Instruction) -> set[str]:
    # For an instruction with two names (Python 3.13), it is a tuple.
    return {*step.argval} if isinstance(step.argval, tuple) else {step.argval}


def _is_builtin(name: str, method: FunctionType) -> bool:
    return name not in method.__globals__ and hasattr(builtins, name)


def reads_alike(model: type[models.Model]) -> bool:
    """Whether all fields are Django's own. Others may depend on the current language."""
    own = (getattr(field, "from_db_value", None) for field in model._meta.concrete_fields)
    return all(each is None or each.__module__.startswith("django.") for each in own)
