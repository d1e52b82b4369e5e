"""``python -m loadtest.bench.plan``; see the package."""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
import psutil

import loadtest.bench.plan
from loadtest.bench import wrk
from loadtest.bench.plan import memory, on_cluster, rates, repairs, tables, writes
from loadtest.bench.say import say
from loadtest.bench.testbed import Testbed, versions

PARTS: Final = ("memory", "rates", "cluster", "writes", "repairs")
_NEED_WRK: Final = ("rates", "cluster")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when all was measured, 2 when a part could not be."""
    options = _parse(arguments)
    parts = list(options.part or PARTS)
    if not wrk.is_installed() and (without := [part for part in parts if part in _NEED_WRK]):
        say(
            f"The load generator wrk is not installed, and without it there is no "
            f"{' and no '.join(without)}. Install it (Debian and Ubuntu: apt install wrk; macOS: "
            "brew install wrk), or choose other parts with --part."
        )
        return 2
    directory = Path(tempfile.mkdtemp(prefix="plan-"))
    # Started by root, Postgres runs as somebody else, who must get through to its data.
    directory.chmod(0o711)
    # A signal that ends it also ends the servers that it has started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    testbed = Testbed(directory, rows=_rows(options))
    measured: dict[str, Any] = {}
    try:
        say("Starting a lab for the plan")
        testbed.start()
        for part in parts:
            try:
                measured[part] = _measure(testbed, directory, part, options)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                say(f"{part} could not be measured: {error}")
    except KeyboardInterrupt:
        say("Stopped; what was measured until then follows.")
    finally:
        testbed.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if not measured:
        return 2
    file = options.out / "plan.json"
    earlier = orjson.loads(file.read_bytes())["parts"] if options.add and file.exists() else {}
    body = _body(options, {**earlier, **measured})
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
    sys.stdout.write(tables.measured(body) + "\n")
    say(f"Written to {file}.")
    return 0 if set(parts) <= set(measured) else 2


def _rows(options: argparse.Namespace) -> int:
    return 12_000 if options.quick else 60_000


def _measure(testbed: Testbed, directory: Path, part: str, options: argparse.Namespace) -> Any:
    quick = options.quick
    if part == "memory":
        # The lab's own program, wherever it has found one.
        executable = psutil.Process(testbed.lab.redis_pid).exe()
        return memory.measure(executable, directory, 10_000 if quick else 1_000_000)
    seconds = 1.0 if quick else 4.0
    if part == "rates":
        return rates.measure(testbed, options.repeats, seconds)
    if part == "cluster":
        folder = directory / "cluster"
        return on_cluster.measure(folder, _rows(options), options.repeats, seconds)
    if part == "writes":
        return writes.measure(testbed, options.repeats)
    most = options.keys or (5000 if quick else 1_000_000)
    return repairs.measure(testbed, (0, most // 10, most), options.repeats)


def _body(options: argparse.Namespace, parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30),
            "python": platform.python_version(),
            "system": platform.platform(),
            "load_average": os.getloadavg(),
        },
        "versions": versions(),
        "options": {"quick": options.quick, "repeats": options.repeats},
        "parts": {name: parts[name] for name in PARTS if name in parts},
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.bench.plan",
        description=loadtest.bench.plan.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; repeatable")
    parser.add_argument("--repeats", type=int, help="of each figure (3; quick: 1)")
    parser.add_argument("--keys", type=int, help="most keys of a repair (1000000; quick: 5000)")
    parser.add_argument("--quick", action="store_true", help="fewer keys, short runs")
    parser.add_argument("--out", type=Path, default=Path("var/plan"), help="folder of plan.json")
    parser.add_argument("--add", action="store_true", help="keep the other parts that are there")
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (1 if options.quick else 3)
    return options


if __name__ == "__main__":
    sys.exit(main())
