"""``./lab``: starts everything, watches it, stops everything."""

import subprocess
import sys
import time
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from itemsite.environment import LabEnvironment, for_child
from itemsite.lab import postgres as postgres_module
from itemsite.lab import redis_binary
from itemsite.lab.background import Background
from itemsite.lab.banner import banner
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError
from itemsite.lab.folder import LabFolder, Secrets, State
from itemsite.lab.interrupts import Interrupted, ignore_interrupts, raise_on_interrupts
from itemsite.lab.keeper import Keeper
from itemsite.lab.ports import is_free
from itemsite.lab.postgres import Postgres
from itemsite.lab.process import Server, stop_recorded
from itemsite.lab.progress import Progress, say
from itemsite.lab.redis_server import Redis
from itemsite.lab.repair import Repair
from itemsite.lab.tracing import tracing
from itemsite.lab.web import Web

_POSTGRES_PORT = 5432
_REDIS_PORT = 6379
_REVIVE_INTERVAL = 5.0


def start() -> int:
    """Run the lab until somebody stops it."""
    try:
        environment = LabEnvironment.read()
    except ImproperlyConfigured as error:
        raise LabError(str(error)) from None
    folder = LabFolder()
    raise_on_interrupts()
    # Held until this process and its keeper have ended.
    lock = folder.lock()
    lab = Lab(folder, environment)
    try:
        lab.clean_up()
        keeper = Keeper(folder.path, pass_fds=[lock.fileno()])
        try:
            lab.start()
            lab.watch()
        finally:
            ignore_interrupts()
            lab.stop()
            keeper.release()
    except Interrupted:
        say("lab: stopped; the data stays in var/lab.")
    finally:
        folder.retire()
    return 0


def embedded_servers(folder: LabFolder) -> dict[str, Server]:
    """The embedded servers of *folder* as they were last started."""
    return {
        "postgres": Postgres(
            folder.path / "postgres", folder.remembered_port("postgres", _POSTGRES_PORT)
        ),
        "redis": Redis(folder.path / "redis", folder.remembered_port("redis", _REDIS_PORT)),
    }


class Lab:
    """The servers of one run."""

    def __init__(self, folder: LabFolder, environment: LabEnvironment) -> None:
        self._folder = folder
        self._environment = environment
        self._progress = Progress(environment.began)
        self._embedded: dict[str, Server] = {}
        self._web: Web | None = None
        # What stands beside the web server, and is started again when it ends.
        self._beside: list[Server] = []
        self._revived: dict[str, float] = {}
        self._was_running: dict[str, bool] = {}

    def clean_up(self) -> None:
        if left := stop_recorded(self._folder.path):
            say(f"lab: stopped {left} servers that an earlier lab had left behind.")
        port = self._environment.port
        if not is_free(port):
            raise LabError(
                f"Port {port} is taken by another program; choose another one: "
                f"PORT={port + 1 if port < 65535 else 8000} ./lab"
            )

    def start(self) -> None:
        with self._progress as progress:
            database_url = self._start_postgres()
            redis_url = self._start_redis()
            secrets = self._folder.secrets()
            traces = tracing(self._folder, self._environment)
            if traces.collector:
                self._begin_beside(traces.collector)
            state = State(
                url=f"http://127.0.0.1:{self._environment.port}",
                database_url=database_url,
                redis_url=redis_url,
                secret_key=secrets.secret_key,
                embedded=list(self._embedded),
                tracing=dict(traces.environment),
                application=dict(self._environment.application),
            )
            progress.step("Migrating and loading the sample rows")
            admin = self._prepare(state, secrets)
            self._folder.publish(state)
            self._begin_beside(Repair(self._folder.path / "repair", state.environment))
            progress.step("Starting gunicorn")
            self._web = Web(
                self._folder.path / "web", self._environment.port, environment=state.environment
            )
            self._web.start()
            if rate := self._environment.background_rate:
                self._begin_beside(Background(self._folder.path / "background", state.url, rate))
            seconds = progress.seconds
        say(banner(state, secrets.admin_password if admin == "ready" else None, seconds))

    def watch(self) -> None:
        """Say what happens to the servers; returns never, raises when gunicorn is gone."""
        assert self._web is not None
        self._was_running = dict.fromkeys(self._embedded, True)
        while True:
            time.sleep(0.3)
            for name, server in self._embedded.items():
                self._report(name, server)
            for server in self._beside:
                self._revive(server)
            if not self._web.running:
                raise LabError(
                    f"Gunicorn ended by itself ({self._web.log} says why), so the lab has "
                    "stopped; start ./lab again."
                )

    def stop(self) -> None:
        """Stop what runs, users before what they use."""
        web = [self._web] if self._web else []
        servers: list[Server] = [*self._embedded.values(), *self._beside, *web]
        for server in sorted(servers, key=lambda server: server.order):
            self._progress.step(f"Stopping {server.name}")
            server.stop()
        self._progress.clear()

    def _begin_beside(self, server: Server) -> None:
        self._beside.append(server)
        server.start()

    def _revive(self, server: Server) -> None:
        """Start it again if it has ended; what cannot live is tried every few seconds."""
        now = time.monotonic()
        if server.running or now < self._revived.get(server.name, 0.0) + _REVIVE_INTERVAL:
            return
        self._revived[server.name] = now
        say(f"lab: {server.name} has ended ({server.log}); starting it again.")
        server.start()

    def _report(self, name: str, server: Server) -> None:
        running = server.running
        if running == self._was_running[name]:
            return
        self._was_running[name] = running
        if running:
            say(f"lab: {server.name} is running again.")
        elif server.died:
            say(
                f"lab: {server.name} has died ({server.log} may say why); the lab goes on "
                f"without it, and ./lab {name} start starts it again."
            )
        else:
            say(f"lab: {server.name} is stopped; ./lab {name} start starts it again.")

    def _start_postgres(self) -> str:
        directory = self._folder.path / "postgres"
        last = embedded_servers(self._folder)["postgres"]
        assert isinstance(last, Postgres)
        given = self._environment.database_url
        # A shell that has read ./lab env still means the embedded one.
        if given and not postgres_module.is_ours(given, last):
            return given
        self._progress.step("Starting Postgres")
        postgres = Postgres(directory, self._folder.port_for("postgres", _POSTGRES_PORT))
        self._embedded["postgres"] = postgres
        postgres.start()
        postgres_module.link_client(Path(sys.executable).parent)
        return postgres.url

    def _start_redis(self) -> str:
        last = embedded_servers(self._folder)["redis"]
        assert isinstance(last, Redis)
        given = self._environment.redis_url
        if given and not (given == last.url and last.directory.exists()):
            return given
        redis_binary.ensure_server(self._progress)
        self._progress.step("Starting Redis")
        redis = Redis(last.directory, self._folder.port_for("redis", _REDIS_PORT))
        self._embedded["redis"] = redis
        redis.start()
        redis_binary.link_client(Path(sys.executable).parent)
        return redis.url

    def _prepare(self, state: State, secrets: Secrets) -> str:
        ours = ["--ours"] if "postgres" in state.embedded else []
        done = subprocess.run(
            [sys.executable, "-m", "itemsite.lab.prepare", *ours],
            cwd=ROOT,
            env=for_child(state.environment),
            input=secrets.admin_password,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            log = self._folder.path / "prepare.log"
            log.write_text(done.stdout + done.stderr)
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
            raise LabError(
                f"The database could not be prepared: {last} ({log} has the rest); mend that, "
                "or check DATABASE_URL if you set it, and start ./lab again."
            )
        return done.stdout.strip().splitlines()[-1]
