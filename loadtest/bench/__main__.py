"""``python -m loadtest.bench``; see the package."""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import loadtest.bench
from loadtest.bench import (
    bulk,
    changed,
    documents,
    memory,
    orm,
    peer_servers,
    report,
    scaling,
    servers,
    stampede,
    stamps,
    wrk,
)
from loadtest.bench.comparisons import compare, comparisons
from loadtest.bench.outcome import Outcome
from loadtest.bench.say import say
from loadtest.bench.testbed import Testbed

_OTHERS: Final = (
    *("page_changed", "stampede", "scaling", "memory", "bulk", "orm", "stamps", "documents"),
)
#: What needs no load generator.
_WITHOUT_WRK: Final = {"orm", "stamps", "documents", "mixed"}
_NAMES: Final = (*(each.row for each in comparisons(100_000)), *_OTHERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when every goal is met, 1 when one is missed, 2 when it could not be measured."""
    options = _parse(arguments)
    rows = list(options.row or _NAMES)
    if set(rows) - _WITHOUT_WRK and not wrk.is_installed():
        say(
            "The load generator wrk is not installed. Install it (Debian and Ubuntu: "
            "apt install wrk; macOS: brew install wrk), then run this again."
        )
        return 2
    rows = [row for row in rows if _can_be_measured(row)]
    if not rows:
        return 2
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    # Started by root, Postgres runs as somebody else, who must get through to its data.
    directory.chmod(0o711)
    # A signal that ends it also ends the servers that it has started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    testbed = Testbed(directory, rows=30_000 if options.quick else 120_000)
    outcomes: list[Outcome] = []
    sweeps: dict[str, Any] = {}
    settings: list[dict[str, Any]] = []
    unmeasured: list[str] = []
    try:
        say("Starting a lab for the benchmark")
        testbed.start()
        for name in rows:
            say(name)
            try:
                outcomes += _measure(testbed, name, options)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                unmeasured.append(name)
                say(f"{name} could not be measured: {error}")
                continue
            finally:
                testbed.stop_peers()
            report.show([outcome for outcome in outcomes if outcome.row == name])
        if options.sweep:
            say("sweep")
            sweeps = scaling.sweep(testbed, options.seconds)
            say("servers")
            settings = servers.measure(testbed, options.repeats, options.seconds)
    except KeyboardInterrupt:
        say("Stopped; what follows was measured until then.")
    finally:
        testbed.stop()
        shutil.rmtree(directory, ignore_errors=True)
    report.show(outcomes)
    report.show_cpu(outcomes)
    report.show_documents(outcomes)
    if settings:
        report.show_servers(settings)
    earlier = report.earlier(options.out, rows) if options.add else []
    report.write(options.out, earlier + outcomes, sweeps, settings, _plain(options))
    say(f"Written to {options.out}.")
    if unmeasured:
        return 2
    return 0 if all(outcome.met for outcome in outcomes) else 1


def _can_be_measured(row: str) -> bool:
    """Whether the peer of *row* is installed; if not, it says how to."""
    for comparison in comparisons(100_000):
        if comparison.row == row and (advice := peer_servers.missing(comparison.base)):
            say(f"{row} needs packages for its peer, so it is left out. Run: {advice}")
            return False
    return True


def _measure(testbed: Testbed, name: str, options: argparse.Namespace) -> list[Outcome]:
    if name == "page_changed":
        return changed.measure(testbed, options.repeats, options.seconds)
    if name == "stampede":
        return stampede.measure(testbed, options.repeats)
    if name == "scaling":
        return scaling.measure(testbed, options.repeats, options.seconds)
    if name == "memory":
        return memory.measure(testbed, 100_000 if options.quick else 1_000_000)
    if name == "bulk":
        many, repeats = (100_000, 1) if options.quick else (1_000_000, 2)
        return bulk.measure(testbed, options.rows or many, repeats)
    if name == "orm":
        return orm.measure(testbed, options.repeats, quick=options.quick)
    if name == "stamps":
        return stamps.measure(testbed, options.repeats)
    if name == "documents":
        return documents.measure(testbed, options.repeats, options.seconds, quick=options.quick)
    for comparison in comparisons(testbed.rows):
        if comparison.row == name:
            return [compare(testbed, comparison, options.repeats, options.seconds)]
    raise AssertionError(name)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench",
        description=loadtest.bench.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--row", action="append", choices=_NAMES, help="only this one; repeatable")
    parser.add_argument("--repeats", type=int, help="pairs of runs for each row (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a run (5; quick: 2)")
    parser.add_argument("--rows", type=int, help="of the row bulk (1000000; quick: 100000)")
    parser.add_argument("--quick", action="store_true", help="short runs, fewer rows")
    parser.add_argument(
        "--sweep", action="store_true", help="also curves of growth, gunicorn's settings"
    )
    parser.add_argument("--out", type=Path, default=Path("var/bench"), help="folder of the results")
    parser.add_argument("--add", action="store_true", help="keep the other rows that are there")
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (3 if options.quick else 7)
    options.seconds = options.seconds or (2.0 if options.quick else 5.0)
    return options


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name != "out"}


if __name__ == "__main__":
    sys.exit(main())
