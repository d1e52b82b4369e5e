"""The commands of ``./lab``.

Only the standard library at the top: help and "no lab is running" work before
anything is installed.
"""

import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError
from itemsite.lab.folder import NOT_RUNNING, LabFolder
from itemsite.lab.interrupts import Interrupted, raise_on_interrupts
from itemsite.lab.process import Server, stop_recorded, wait_until
from itemsite.lab.progress import say

HELP: Final = """\
Usage: ./lab [command]

  ./lab                        start the lab; Ctrl-C stops it
  ./lab stop                   stop it from another terminal
  ./lab env                    print the running lab's settings: eval "$(./lab env)"
  ./lab manage COMMAND ...     run manage.py against the running lab
  ./lab trace [N] [--watch]    show what the last N requests (5) did, as a waterfall
  ./lab redis start|stop       start or stop its embedded Redis, to see the lab without it
  ./lab redis pause [SECONDS]  freeze it for so long (5 s): connections stay, nothing answers
  ./lab postgres ...           the same for its embedded Postgres
  ./lab load [ARGUMENTS]       run Locust on the running lab: in the browser on port 8089, or
                               here with --headless --users 20 --run-time 60s
  ./lab test [--all]           run ruff, mypy, lint-imports and pytest on separate servers,
                               also while the lab runs; --all with the slow tests
  ./lab test ARGUMENTS         run only pytest ARGUMENTS
  ./lab versions [ARGUMENTS]   run the tests of cachelayer by tox, under each supported Python
                               that is here with each Django; ARGUMENTS such as -e py312-django60
  ./lab servers [ARGUMENTS]    run the tests of cachelayer on the servers of DATABASE_URL and
                               REDIS_URL, where Redis holds nothing yet; or pytest ARGUMENTS
  ./lab docs                   build the documentation into var/docs; any warning is an error
  ./lab imports [FILE]         draw who imports whom in cachelayer (var/imports.svg); fails if an
                               import points against the layers
  ./lab help                   print this

The first start makes .venv and installs requirements.txt into it. Data, logs and the
admin's password stay in var/lab; delete that folder for a fresh lab.

Environment:
  PORT=8001                    serve there instead of on 8000 (always on 127.0.0.1)
  DATABASE_URL, REDIS_URL      use these servers instead of the embedded ones
  REDIS_CLUSTER=host:port,...  other nodes of the Redis Cluster that has the node of REDIS_URL
  REDIS_SENTINELS=host:port,.. Sentinels; REDIS_URL is then redis://, and the name of the service
  WEB_WORKER=gthread           serve with threads alone; asgi answers hits on an event loop
  WEB_WORKERS, WEB_THREADS     gunicorn's processes (2) and threads in each (4)
  TRACES_PER_SECOND=10         requests that each process traces in a second at most
  OTEL_EXPORTER_OTLP_ENDPOINT  send traces there, not to the lab's own collector
  TRACES_URL                   where Jaeger answers queries for those, for ./lab trace
  OTEL_SDK_DISABLED=true       make no traces, so that requests cost less: for benchmarks
  BACKGROUND_RATE=5            light traffic of so many requests a second (0: none)
"""


class UsageError(Exception):
    """The command line makes no sense; the message says what would."""


def main(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code."""
    name, rest = (arguments[0], arguments[1:]) if arguments else ("start", [])
    # manage.py has its own help.
    if name in {"help", "-h", "--help"} or (name != "manage" and {"-h", "--help"} & {*rest[:1]}):
        say(HELP.rstrip())
        return 0
    try:
        if name not in _COMMANDS:
            raise UsageError(f"There is no command {name!r}; ./lab help lists them.")
        return _COMMANDS[name](rest)
    except UsageError as error:
        say(f"lab: {error}", sys.stderr)
        return 2
    except LabError as error:
        say(f"lab: {error}", sys.stderr)
        return 1
    except Interrupted as interrupt:
        return 128 + interrupt.number
    except PermissionError as error:
        say(
            f"lab: {error.filename or ROOT} belongs to another user; run ./lab as that user, "
            "or work in a clone of your own.",
            sys.stderr,
        )
        return 1


def _start(arguments: Sequence[str]) -> int:
    _no_more(arguments, "start")
    from itemsite.lab.launcher import start

    return start()


def _stop(arguments: Sequence[str]) -> int:
    _no_more(arguments, "stop")
    folder = LabFolder()
    launcher = folder.launcher()
    if launcher is None:
        if not folder.path.exists() or not stop_recorded(folder.path):
            say(f"lab: {NOT_RUNNING}")
            return 0
    else:
        launcher.send(signal.SIGTERM)
        # Three servers, each of which may take its time.
        if not wait_until(lambda: not launcher.alive, 60):
            raise LabError(
                f"The lab (process {launcher.pid}) does not stop; kill -9 {launcher.pid} ends "
                "it, and its servers stop with it."
            )
    say("lab: stopped.")
    return 0


def _test(arguments: Sequence[str]) -> int:
    from itemsite.lab.suite import run

    return run(arguments)


def _versions(arguments: Sequence[str]) -> int:
    from itemsite.lab.suite import run_versions

    return run_versions(arguments)


def _servers(arguments: Sequence[str]) -> int:
    from itemsite.lab.suite import run_on_given_servers

    return run_on_given_servers(arguments)


def _docs(arguments: Sequence[str]) -> int:
    _no_more(arguments, "docs")
    from itemsite.lab import docs

    out = ROOT / "var" / "docs"
    docs.build(ROOT / "docs", out)
    say(f"lab: Built the documentation. Open {out / 'index.html'} in a browser.")
    return 0


def _imports(arguments: Sequence[str]) -> int:
    from itemsite.lab.imports import run

    _no_more(arguments[1:], "imports")
    return run(Path(arguments[0]) if arguments else None)


def _env(arguments: Sequence[str]) -> int:
    _no_more(arguments, "env")
    state = LabFolder().running()
    values = " ".join(f"{name}={shlex.quote(v)}" for name, v in state.environment.items())
    say(f"export {values}")
    if not (shutil.which("psql") and shutil.which("redis-cli")):
        # The embedded servers' own are there.
        say(f'export PATH="$PATH":{shlex.quote(str(Path(sys.executable).parent))}')
    return 0


def _manage(arguments: Sequence[str]) -> int:
    state = LabFolder().running()
    from itemsite.environment import for_child

    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    os.execve(sys.executable, command, for_child(state.environment))


def _trace(arguments: Sequence[str]) -> int:
    # Before anything is installed, too.
    LabFolder().running()
    from itemsite.lab import trace

    try:
        number, watch = trace.parse(arguments)
    except trace.BadArgumentsError as error:
        raise UsageError(str(error)) from None
    with contextlib.suppress(KeyboardInterrupt):
        trace.show(number, watch)
    return 0


def _load(arguments: Sequence[str]) -> int:
    state = LabFolder().running()
    from itemsite.lab.load import run

    return run(arguments, state)


def _redis(arguments: Sequence[str]) -> int:
    return _switch("redis", arguments)


def _postgres(arguments: Sequence[str]) -> int:
    return _switch("postgres", arguments)


def _switch(name: str, arguments: Sequence[str]) -> int:
    action, seconds = _action(name, arguments)
    folder = LabFolder()
    state = folder.running()
    if name not in state.embedded:
        raise LabError(
            f"This lab uses the server of {name.upper()}_URL; start and stop that one yourself."
            if name == "redis"
            else "This lab uses the server of DATABASE_URL; start and stop that one yourself."
        )
    from itemsite.lab.launcher import embedded_servers

    server = embedded_servers(folder)[name]
    if action == "start":
        server.start()
        say(f"lab: {server.name} is running.")
    elif action == "stop":
        server.stop()
        say(f"lab: {server.name} is stopped; ./lab {name} start starts it again.")
    else:
        _pause(server, name, seconds)
    return 0


def _action(name: str, arguments: Sequence[str]) -> tuple[str, float]:
    """What to do, and for how many seconds if it is a pause."""
    action, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if action in ("start", "stop") and not rest:
        return action, 0
    if action == "pause" and len(rest) <= 1:
        seconds = rest[0] if rest else "5"
        if seconds.isascii() and seconds.isdigit() and 1 <= int(seconds) <= 600:
            return action, int(seconds)
        raise UsageError(f"Say for how many seconds, from 1 to 600: ./lab {name} pause 5.")
    raise UsageError(f"Say ./lab {name} start, ./lab {name} stop or ./lab {name} pause 5.")


def _pause(server: Server, name: str, seconds: float) -> None:
    if not server.running:
        raise LabError(f"{server.name} is stopped; ./lab {name} start starts it.")
    raise_on_interrupts()
    server.pause()
    try:
        say(f"lab: {server.name} is paused for {seconds:g} s.")
        time.sleep(seconds)
    finally:
        # On Ctrl-C, too: nobody else would wake it.
        server.resume()


def _no_more(arguments: Sequence[str], name: str) -> None:
    if arguments:
        raise UsageError(f"./lab {name} takes no {arguments[0]!r}; ./lab help shows how.")


_COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "start": _start,
    "stop": _stop,
    "test": _test,
    "versions": _versions,
    "servers": _servers,
    "docs": _docs,
    "imports": _imports,
    "env": _env,
    "manage": _manage,
    "trace": _trace,
    "load": _load,
    "redis": _redis,
    "postgres": _postgres,
}


def run() -> None:
    """The entry point."""
    code = 1
    with contextlib.suppress(KeyboardInterrupt):
        code = main(sys.argv[1:])
    sys.exit(code)
