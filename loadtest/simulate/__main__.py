"""``python -m loadtest.simulate``; see the package."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

import loadtest.simulate
from loadtest.simulate import events, formula, sites
from loadtest.simulate.site import Site, WrongSite

PLAN: Final = Path(__file__).resolve().parents[1] / "bench" / "results" / "plan.json"
_UNITS: Final = {"": 0, "K": 3, "M": 6, "G": 9, "T": 12}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0; 1 when ``--check`` finds a difference; 2 when the arguments are wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return _check()
        if options.sites:
            return _sites(options.sites)
        if options.rows is None or options.reads is None:
            raise WrongSite(
                "Say what site: give --rows and --reads, such as --rows 1e6 --reads 2000."
            )
        return _forecast(_site(options), options)
    except (WrongSite, RuntimeError) as error:
        sys.stderr.write(f"simulate: {error}\n")
        return 2


def _forecast(site: Site, options: argparse.Namespace) -> int:
    found = formula.forecast(site)
    played = events.play(site, options.requests, options.seed) if options.events else None
    if options.json:
        answer = {"formula": asdict(found), "events": asdict(played) if played else None}
        _say(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return 0
    if found.refuses:
        _say(
            "Redis is full and must not evict: it refuses marks, and every read is of Postgres. "
            "Set maxmemory-policy to volatile-lru, give it more --memory, or a shorter --ttl."
        )
    _say(f"hit rate              {found.hit_rate:.2%}")
    _say(f"Postgres              {found.loads:,.0f} loads a second")
    _say(f"cached rows           {found.cached_rows:,.0f}")
    _say(f"memory of Redis       {found.memory / 1e6:,.1f} MB")
    _say(f"evictions             {found.evictions:,.1f} a second")
    if found.idle is not None:
        _say(f"evicted, unused for   {found.idle:,.1f} s")
    if played:
        _say(f"played, hit rate      {played.hit_rate:.2%}")
        _say(f"played, loads         {played.loads:,.0f} a second")
        _say(f"played, rows held     {played.held_rows:,.0f}")
        _say(f"played, evictions     {played.evictions:,.1f} a second")
    return 0


def _check() -> int:
    # It needs what the benchmark needs; the forecast needs nothing.
    from loadtest.simulate import check

    agree = True
    for run in check.check():
        _say(
            f"{run.what}: {run.site.reads:,.0f} reads and {run.site.writes:,.0f} writes a second, "
            f"hit rate of the lab {run.real:.1%} ({run.reads:,} reads), by the formula "
            f"{run.formula:.1%}, played {run.played:.1%}"
        )
        agree = agree and run.agrees
    return 0 if agree else 1


def _sites(file: Path) -> int:
    try:
        parts = orjson.loads(file.read_bytes())["parts"]
        _say(sites.table(parts))
    except (OSError, ValueError, KeyError) as error:
        raise WrongSite(
            f"{file} has no measurement that could be used ({error!r}). Make one with "
            f"python -m loadtest.bench.plan, then give --sites var/plan/plan.json."
        ) from error
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _site(options: argparse.Namespace) -> Site:
    return Site(
        rows=int(options.rows),
        reads=options.reads,
        writes=options.writes,
        skew=options.skew,
        write_skew=options.write_skew,
        ttl=options.ttl,
        jitter=options.jitter,
        memory=options.memory,
        row_bytes=options.row_bytes,
        policy=options.policy,
        pushes=not options.no_push,
    )


def _number(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number. Write 1000000 or 1e6.") from None


def _bytes(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size. Write 512MB, 4GB or bytes.")
    return _number(found[1]) * 10.0 ** _UNITS[found[2].upper()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.simulate",
        description=loadtest.simulate.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds: Sequence[tuple[str, Callable[[str], Any], Any, str]] = (
        ("--rows", _number, None, "rows that are read"),
        ("--reads", _number, None, "reads a second"),
        ("--writes", _number, 0.0, "writes a second, of one row each (0)"),
        ("--skew", _number, 1.0, "row n is read in proportion to n^-skew (1)"),
        ("--write-skew", _number, 0.0, "the same for writes (0: all rows alike)"),
        ("--ttl", _number, 300.0, "ROW_TTL, in seconds (300)"),
        ("--jitter", _number, 0.1, "ROW_TTL_JITTER (0.1)"),
        ("--memory", _bytes, None, "what Redis has for rows, such as 4GB (no limit)"),
        (
            "--row-bytes",
            _number,
            600.0,
            "bytes of a cached row in Redis (600); see the planning page",
        ),
        ("--requests", lambda text: int(_number(text)), 300_000, "to play with --events (300000)"),
        ("--seed", int, 1, "of --events (1)"),
    )
    for name, kind, default, meaning in kinds:
        parser.add_argument(name, type=kind, default=default, help=meaning)
    parser.add_argument("--policy", default="volatile-lru", help="volatile-lru, or noeviction")
    parser.add_argument("--no-push", action="store_true", help="writes delete the row")
    parser.add_argument("--events", action="store_true", help="also play each read and write")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--check", action="store_true", help="beside a real lab")
    parser.add_argument(
        "--sites", nargs="?", type=Path, const=PLAN, help="three sites, by a plan.json"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
