"""A row is rendered for everybody: in the project's own time zone and language, from the primary.

What a request has switched on in its thread (``timezone.activate``, ``translation.activate``)
is that request's; and a replica may lag behind the write whose row is rendered. Code that names
a database itself, by ``using()`` or a cursor, reads there all the same.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    """Inside it, this thread renders as any other would. Costs some microseconds."""
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
    """A database router: reads go where writes go, while a row is rendered."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return router.db_for_write(model, **hints) if _thread.depth else None


_primary: Final = _Primary()


def _route() -> None:
    """Put ours before the project's routers; a test may have put others in their place."""
    routers = router.routers
    if routers and routers[0] is not _primary:
        with _inserting:
            if routers[0] is not _primary:
                routers.insert(0, _primary)
