"""Hits on the event loop: an ASGI application that answers them, and hands Django the rest.

    application = front(get_wsgi_application())

A ``GET`` or ``HEAD`` that ``hits.py`` knows how to answer is answered by the loop, from what Redis
holds; reads of one turn of the loop go to Redis together (``loop_transport.py``). Every other
request goes to Django's WSGI handler in one of a few threads (``threads.py``), with what Redis
said. So a hit takes no thread, and Django runs as it does under a threaded server.
"""

from collections.abc import Iterable
from functools import partial

from cachelayer import conf, timing
from cachelayer.contrib.hits import Answer, Application, Environ, Hits, StartResponse, Wanted
from cachelayer.contrib.rest.list_mixin import FETCHED
from cachelayer.contrib.threads import InThreads, Receive, Scope, Send, Threads, environ_of
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import reads


def front(application: Application, threads: Threads | None = None) -> InThreads:
    """*application*, Django's WSGI handler, as an ASGI application with its hits on the loop.

    Whatever else is asked goes to *threads* (default: four). So do hits without ``FAST_HITS``,
    and in a process where the cache is switched off.
    """
    settings = conf.get()
    is_fast = settings.FAST_HITS and settings.ENABLED
    return (Front if is_fast else InThreads)(application, threads or Threads())


class Front(InThreads):
    """The application. One per process; it may be made before a fork."""

    def __init__(self, application: Application, threads: Threads) -> None:
        super().__init__(application, threads)
        self._hits = Hits(application)

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hit here, everything else in a thread."""
        environ = environ_of(scope)
        wanted = self._hits.wanted(environ)
        if wanted is not None and wanted.templates is not None:
            try:
                value, seconds = await reads.afetch(wanted.target.key)
            except CacheUnavailable:
                wanted = None
            else:
                answer = self._hits.answer(wanted, environ, value)
                if answer is not None and value is not None:
                    _, pk, key = wanted.target
                    reads.note_hit(wanted.target.route.cached, pk, key, value, seconds)
                    await _send(answer, seconds, environ["REQUEST_METHOD"], send)
                    return
                environ[FETCHED] = reads.Fetched(wanted.target.key, value)
        await self._threads.answer(partial(self._by_django, wanted), environ, receive, send)

    def _by_django(
        self, wanted: Wanted | None, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self._hits.by_django(wanted, environ, start_response)


async def _send(answer: Answer, seconds: float, method: str, send: Send) -> None:
    template, tag, body, length = answer
    headers = template.headers(tag, length, timing.Timing(redis=seconds * 1000))
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await send(
        {"type": "http.response.start", "status": int(template.status[:3]), "headers": encoded}
    )
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
