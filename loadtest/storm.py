"""A storm: many clients read and write while faults happen; then every answer is checked.

    python -m loadtest.storm --seconds 60 --clients 12 --seed 1
    python -m loadtest.storm --control

It starts a separate lab from a copy of this checkout, and stops it. The same seed
gives the same faults at the same times. Exit 1 when the promise is broken: a read
of an item or of a page that no linearizable register could have answered, a lost
write, a difference between cache and Postgres at rest, a request that failed for no
fault. With --control the cache is a naive one (commit, then SET); then exit 1 unless
something was found both in items and in pages.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from loadtest import cut_off, fault_injection
from loadtest.clients import MOST, Api, Client, Keys, all_keys, clear, make_keys
from loadtest.cut_off import CutOff
from loadtest.fault_injection import Fault, Faults, Outcome, in_pairs, schedule
from loadtest.history import ABSENT, initially
from loadtest.isolated_lab import IsolatedLab, health, wait_until
from loadtest.record import Record, now
from loadtest.redis_servers import KINDS, Servers, Single
from loadtest.verdict import AtRest, Bounds, Verdict, judge, table
from loadtest.writers import BulkWriter, SqlWriter

_NAIVE: Final = (
    *("loadtest.control_app:application", "--bind", "127.0.0.1:PORT", "--no-control-socket"),
    *("--worker-class", "gthread", "--workers", "2", "--threads", "4", "--keep-alive", "30"),
)
#: Nothing that the naive cache could know of.
CONTROL_FAULTS: Final = tuple(name for name in fault_injection.NAMES if name not in cut_off.FAULTS)


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    clients: int
    seed: int
    faults: Sequence[str]
    sql: bool
    control: bool
    bounds: Bounds
    servers: type[Servers] = Single
    #: Whether two faults happen at a time.
    pairs: bool = False
    #: Whether the ORM writes several rows at a time in a separate process. The control knows
    #: nothing of that: it is told only to see that the checker finds it.
    bulk: bool = True


class Storm:
    """One storm over *lab*, which runs."""

    def __init__(self, lab: IsolatedLab, options: Options, servers: Servers | None = None) -> None:
        """*servers* are the Redis that *lab* uses, if it has none of its own."""
        self._lab, self._options = lab, options
        self._servers = servers or Single(lab.root)
        self._record = Record()
        self._outcomes: list[Outcome] = []
        self._stop = threading.Event()
        self._hosts: dict[str, CutOff] = {}
        self._web = lab.web
        self.zero = now()

    def run(self) -> Verdict:
        """Run it, end it, wait until all is well, judge."""
        options = self._options
        if options.control:
            self._web = self._lab.serve("naive", _NAIVE, {})
            # Another control may have left pages behind.
            clear(self._web.url)
        else:
            self._start_hosts()
        self._note_what_is_there()
        keys = self._make_keys()
        threads = self._threads(keys)
        maker = Faults(self._lab, self._web, self._hosts, self._servers)
        self.zero = now()
        for thread in threads:
            thread.start()
        try:
            self._make_faults(maker)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)
        self._say("waiting until all is well")
        recovered = self._recover()
        rest = self._rest(recovered)
        self._say("checking")
        verdict = judge(self._record, keys, self._outcomes, rest, options.bounds)
        self._say("")
        return verdict

    def _start_hosts(self) -> None:
        for name in cut_off.FAULTS:
            if name in self._options.faults:
                self._hosts[name] = cut_off.start(self._lab, name, self._servers.told)

    def _note_what_is_there(self) -> None:
        for key, name, created_at in self._select("SELECT id::text, name, created_at FROM items"):
            self._record.operations.append(initially(key, name))
            self._record.created(key, created_at.isoformat())

    def _make_keys(self) -> Keys:
        choice = random.Random(f"items {self._options.seed}")
        api = Api(self._web.url, self._record, "setup")
        sql = self._options.sql and not self._options.control
        return make_keys(api, choice, by_sql=sql, island="cut" in self._hosts)

    def _threads(self, keys: Keys) -> list[threading.Thread]:
        options, record, stop = self._options, self._record, self._stop
        threads: list[threading.Thread] = []
        for n in range(options.clients):
            api = Api(self._web.url, record, f"c{n}")
            threads.append(Client(api, keys, f"{options.seed} {n}", stop))
        for name, host in self._hosts.items():
            # Without Redis, a host's writes are seen late; without Postgres there are none.
            island = name == "cut"
            for n in range(2):
                api = Api(host.served.url, record, f"{name}-{n}", cut_off=island)
                seed = f"{options.seed} {name} {n}"
                only = Keys(hot=keys.island) if island else keys
                threads.append(Client(api, only, seed, stop, pause=0.02, creates=False))
        if keys.by_sql:
            url = self._lab.settings["DATABASE_URL"]
            threads.append(SqlWriter(url, keys, record, f"{options.seed} sql", stop))
        if options.bulk:
            threads.append(BulkWriter(self._lab, keys, record, f"{options.seed} bulk", stop))
        return threads

    def _make_faults(self, maker: Faults) -> None:
        options = self._options
        planned = schedule(options.seed, options.seconds, options.faults)
        together: list[tuple[Fault, ...]] = [(fault,) for fault in planned]
        if options.pairs:
            together = in_pairs(options.seed, planned, options.servers, options.faults)
        for faults in together:
            made = {outcome.fault.name for outcome in self._outcomes}
            if made >= {*options.faults} and (now() - self.zero) / 1e9 > options.seconds:
                break  # They have taken longer than was planned.
            names = " and ".join(fault.name for fault in faults)
            self._wait_until(faults[0].at, f"next {names}")
            self._show(names)
            with ThreadPoolExecutor(len(faults)) as executor:
                self._outcomes += executor.map(maker.make, faults)
        self._wait_until(self._options.seconds, "")

    def _wait_until(self, at: float, what: str) -> None:
        while (left := at - (now() - self.zero) / 1e9) > 0:
            self._show(what)
            time.sleep(min(left, 0.25))

    def _recover(self) -> bool:
        """Wait until every server has said for two seconds that it is well."""
        servers = [self._web, *(host.served for host in self._hosts.values())]
        ports = [urlsplit(server.url).port or 80 for server in servers]
        well_since = time.monotonic()

        def well() -> bool:
            nonlocal well_since
            if not all(health(port) == "ok" for port in ports):
                well_since = time.monotonic()
            return time.monotonic() - well_since > 2

        return wait_until(well, 60)

    def _rest(self, recovered: bool) -> AtRest:
        keys = all_keys(self._record)
        answered: dict[str, str] = {}
        # Several connections, so that every worker is asked.
        apis = [Api(self._web.url, self._record, f"last {n}") for n in range(4)]
        apis += [Api(host.served.url, self._record, "last") for host in self._hosts.values()]
        for key in keys:
            values = {api.read(key) or "(no answer)" for api in apis}
            answered[key] = " and ".join(sorted(values))
        found = self._select(
            "SELECT id::text, name FROM items WHERE id = ANY(%s::uuid[])", list(keys)
        )
        postgres = dict.fromkeys(keys, ABSENT) | dict(found)
        pages = [api.read_list(MOST) for api in apis]
        newest = self._select(
            f"SELECT id::text, name FROM items ORDER BY created_at DESC, id DESC LIMIT {MOST}"
        )
        wrong = sum(page != newest for page in pages)
        return AtRest(answered, postgres, self._verify(), recovered, wrong)

    def _select(self, statement: str, *values: list[str]) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._lab.settings["DATABASE_URL"]) as connection:
            return connection.execute(statement, values).fetchall()

    def _verify(self) -> int | None:
        if self._options.control:
            return None
        try:
            report = self._lab.lab("manage", "cache_verify", "--json")
        except CalledProcessError as error:
            report = error.stdout
        return len(json.loads(report)["differences"])

    def _show(self, what: str) -> None:
        record, seconds = self._record, (now() - self.zero) / 1e9
        refused = sum(failure.refused for failure in record.failures)
        self._say(
            f"{seconds:5.1f} of {self._options.seconds:.0f} s  "
            f"{len(record.operations)} operations  {refused} refused  "
            f"{len(record.failures) - refused} failed  {len(self._outcomes)} faults  {what}"
        )

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    kind = KINDS[given.redis]
    known = CONTROL_FAULTS if given.control else fault_injection.names(kind)
    if given.control and kind is not Single:
        parser.error("the control uses one Redis: leave out --redis")
    names = [name for name in (given.faults or ",".join(known)).split(",") if name != "none"]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no fault {', '.join(unknown)}; use {', '.join(known)}")
    options = Options(
        seconds=given.seconds,
        clients=given.clients,
        seed=given.seed,
        faults=names,
        sql=not given.no_sql,
        control=given.control,
        bulk=not given.control,
        bounds=Bounds(
            partition=given.bound,
            sql=given.sql_bound,
            strict=given.strict,
            bounded=kind.BOUNDED,
        ),
        servers=kind,
        pairs=given.pairs,
    )
    directory = Path(given.directory or tempfile.mkdtemp(prefix="storm-"))
    directory.mkdir(parents=True, exist_ok=True)
    # Started by root, Postgres runs as somebody else, who must get through to its data.
    directory.chmod(0o711)
    servers, is_kept = kind(directory / "redis"), bool(given.directory)
    lab: IsolatedLab | None = None
    # What was started is stopped then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = servers.start()
        lab = IsolatedLab(directory, "strict" if given.strict else "bounded", **settings)
        lab.start()
        storm = Storm(lab, options, servers)
        verdict = storm.run()
        if not verdict.kept and not options.control:
            is_kept = True
            sys.stderr.write(f"The logs of its servers are in {directory}.\n")
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; stopping the lab.\n")
        return 130
    finally:
        if lab:
            lab.stop()
        servers.stop()
        if not is_kept:
            shutil.rmtree(directory, ignore_errors=True)
    if given.json:
        shown = {"numbers": verdict.numbers, "kept": verdict.kept}
        shown["faults"] = [f"{o.fault.name} at {o.fault.at}: {o.text}" for o in verdict.outcomes]
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    if not given.json or not verdict.kept:
        out = sys.stderr if given.json else sys.stdout
        out.write(table(verdict, storm.zero) + "\n")
    found = verdict.violations and verdict.of_pages
    return int(not found if options.control else not verdict.kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--seconds", type=float, default=60, help="how long it lasts (60)")
    parser.add_argument("--clients", type=int, default=12, help="how many at a time (12)")
    parser.add_argument("--seed", type=int, default=1, help="repeats the same faults (1)")
    parser.add_argument("--faults", help=f"only these, or none: {','.join(fault_injection.NAMES)}")
    parser.add_argument("--pairs", action="store_true", help="two faults at a time")
    parser.add_argument(
        "--redis",
        choices=[*KINDS],
        default="single",
        help="one Redis, two behind Sentinels, or a cluster of six (single)",
    )
    parser.add_argument("--no-sql", action="store_true", help="no writes by plain SQL")
    parser.add_argument(
        "--bound", type=float, default=1.5, help="seconds that a pause or cut may show (1.5)"
    )
    parser.add_argument(
        "--sql-bound", type=float, default=1.0, help="seconds until SQL must be seen (1)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="with PARTITION=strict: a cut may show nothing stale"
    )
    parser.add_argument("--control", action="store_true", help="run against a naive cache")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--directory", help="keep the lab's files there")
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the text above."""


if __name__ == "__main__":
    sys.exit(main())
