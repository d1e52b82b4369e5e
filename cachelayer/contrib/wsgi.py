"""Hits without Django: a WSGI layer that answers them from the bytes in Redis.

    application = fast_hits(get_wsgi_application())

The layer answers a ``GET`` or ``HEAD`` of a row or page that anybody may read
(``public_routes.py``) and that Redis holds, as Django would (``hits.py``). Every other request goes
to Django, with what Redis answered.
"""

import time
from collections.abc import Iterable

from cachelayer import conf, timing
from cachelayer.contrib.hits import Application, Environ, Hits, StartResponse, Wanted
from cachelayer.contrib.rest.list_mixin import FETCHED
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import reads
from cachelayer.redis.gate import Mode, gate


def fast_hits(application: Application) -> Application:
    """Django's *application*, with hits answered below it; unchanged without ``FAST_HITS``.

    A hit that is answered here has the span of its look-up below the current span, as through
    Django. The span of the request is the program's: it must begin before this layer.
    """
    settings = conf.get()
    return FastHits(application) if settings.FAST_HITS and settings.ENABLED else application


class FastHits:
    """The layer. One per process."""

    def __init__(self, application: Application) -> None:
        self._hits = Hits(application)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        wanted = self._hits.wanted(environ)
        # Django would be refused again, and say so a second time.
        if wanted is None or wanted.templates is None or gate.mode is not Mode.CLOSED:
            return self._hits.by_django(wanted, environ, start_response)
        spent, token = timing.begin()
        try:
            return self._answer(wanted, environ, start_response, spent)
        finally:
            timing.end(token)

    def _answer(
        self, wanted: Wanted, environ: Environ, start_response: StartResponse, spent: timing.Timing
    ) -> Iterable[bytes]:
        route, pk, key = wanted.target
        start = time.perf_counter()
        try:
            value = reads.fetch(key)
        except CacheUnavailable:
            return self._hits.by_django(None, environ, start_response)
        answer = self._hits.answer(wanted, environ, value)
        if answer is None or value is None:
            environ[FETCHED] = reads.Fetched(key, value)
            return self._hits.by_django(wanted, environ, start_response)
        reads.note_hit(route.cached, pk, key, value, time.perf_counter() - start)
        template, tag, body, length = answer
        start_response(template.status, template.headers(tag, length, spent))
        return [body]
