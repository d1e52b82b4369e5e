"""How each peer is started, what its keys in Redis begin with, and what it needs."""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: The lab's application once more.
LAB: Final = ("-c", "python:itemsite.gunicorn")
#: As the lab's gunicorn, without its application.
_GUNICORN: Final = (
    *("-c", "python:loadtest.bench.peers.gunicorn"),
    *("--worker-class", "gthread", "--workers", "2", "--threads", "4", "--keep-alive", "30"),
    *("--bind", "127.0.0.1:PORT", "--no-control-socket"),
)
_ON_LOOP: Final = (
    *("asgi" if word == "gthread" else word for word in _GUNICORN),
    # As the lab, also where the FastAPI peer has brought uvloop.
    *("--asgi-loop", "asyncio"),
)
_UVICORN: Final = (
    *("loadtest.bench.peers.fast_api:application", "--port", "PORT"),
    *("--workers", "2", "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
)
_RUNBOLT: Final = (
    *("runbolt", "--settings", "loadtest.bench.peers.bolt.settings", "--no-admin"),
    *("--host", "127.0.0.1", "--port", "PORT", "--processes", "2", "--keep-alive", "30"),
)
_UNTRACED: Final = {"OTEL_SDK_DISABLED": "true"}
_ALL_TRACED: Final = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": ""}


@dataclass(frozen=True, slots=True)
class Peer:
    """A web server: ``python -m <module> <command>``; PORT is filled in."""

    command: tuple[str, ...]
    module: str = "gunicorn"
    #: In its environment, beside what the lab's processes have.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: What keys of its rows begin with, before the id; empty: it writes none.
    keys: str = ""
    #: Whether its metrics need a folder, as those of Django's processes do.
    has_metrics: bool = False
    #: Modules without which its row cannot be measured, and where they come from.
    needs: tuple[str, ...] = ()
    requirements: str = "loadtest/requirements.txt"


def _lab(settings: Mapping[str, str], needs: tuple[str, ...] = ()) -> Peer:
    return Peer(LAB, "gunicorn", settings, "item:", True, needs, "requirements-load.txt")


def _plain(keys: str = "", needs: tuple[str, ...] = (), **settings: str) -> Peer:
    command = ("loadtest.bench.peers.plain:application", *_GUNICORN)
    return Peer(command, "gunicorn", settings, keys, True, needs, "requirements-load.txt")


def _fast_api(settings: Mapping[str, str]) -> Peer:
    needs = ("fastapi", "uvicorn", "uvloop", "opentelemetry.instrumentation.fastapi")
    return Peer(_UVICORN, "uvicorn", settings, "async:", needs=needs)


PEERS: Final[Mapping[str, Peer]] = {
    # As `./lab` starts it, as it did when every request had a thread and a trace, without traces,
    # and with threads alone.
    "lab_started": _lab({"OTEL_TRACES_SAMPLER": "", "OTEL_TRACES_SAMPLER_ARG": ""}),
    "lab_before": _lab({"WEB_WORKER": "gthread", **_ALL_TRACED}, needs=("locust",)),
    "lab_untraced": _lab(_UNTRACED),
    "lab_gthread": _lab({"WEB_WORKER": "gthread"}),
    "plain": _plain(),
    "cacheops": _plain("conj:bench_items:id=", ("cacheops",), BENCH_CACHE="cacheops"),
    "fast_api_traced": _fast_api(_ALL_TRACED),
    "fast_api_untraced": _fast_api(_UNTRACED),
    "bolt": Peer(_RUNBOLT, "django", needs=("django_bolt",)),
    "redis_get": Peer(("loadtest.bench.peers.bare:redis_get", *_GUNICORN)),
    "constant_on_loop": Peer(("loadtest.bench.peers.bare:constant_on_loop", *_ON_LOOP)),
    "naive": Peer(("loadtest.control_app:application", *_GUNICORN), keys="naive:"),
}
#: The lab that is there anyway, too.
KEYS: Final = {"lab": "item:", **{name: peer.keys for name, peer in PEERS.items() if peer.keys}}


def missing(name: str) -> str:
    """What to do before anything can be measured beside *name*; empty when nothing."""
    peer = PEERS.get(name)
    if peer is None or all(map(_is_installed, peer.needs)):
        return ""
    return f"{sys.executable} -m pip install -r {peer.requirements}"


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
