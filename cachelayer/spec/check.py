"""Check the protocol exhaustively: ``python -m cachelayer.spec.check [NAME...]``.

For every configuration and mutant, ``spin`` turns ``protocol.pml``, ``documents.pml``,
``pages.pml`` or ``cluster.pml`` into a program that visits every state, and gcc compiles it. Exit
code 1: the protocol has a stale read (or a gate that never closes), or a mutant has none; 2: the
check could not run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cachelayer.spec.configurations import CONFIGURATIONS, Configuration, Mutant
from cachelayer.spec.mutants import MUTANTS

Variant = Configuration | Mutant

#: Limits of a search, in megabytes and steps; all searches need far less.
_MEMORY: Final = 6000
_DEPTH: Final = 1_000_000
#: Matches steps of an interleaving that change or assert something, without loop counters.
_TELLING: Final = r"(?![ijv] = |used = |seen = 0|\w+\[j\])[\w\[\]]+ = |assert"
#: What the checker prints if the search was incomplete.
_INCOMPLETE: Final = ("max search depth too small", "Search not completed", "Bit statespace")


class CannotCheck(Exception):  # noqa: N818
    """The model could not be checked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of the search of one variant."""

    variant: Variant
    states: int
    seconds: float
    #: In a search for liveness: the gate never closes.
    stale: bool
    #: The lines of the protocol that no interleaving executes.
    unreached: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        if isinstance(self.variant, Mutant):
            return self.stale
        return not self.stale and not (self.variant.reaches_all and self.unreached)

    def __str__(self) -> str:
        wrong = "never closes" if asks_liveness(self.variant) else "stale read"
        if isinstance(self.variant, Mutant):
            found = f"{wrong}, as it must" if self.stale else f"NO {wrong.upper()}: needless part?"
        elif self.stale:
            found = wrong.upper()
        elif not self.as_expected:
            found = "NEVER EXECUTED: " + "; ".join(self.unreached)
        else:
            found = "holds"
        return f"{self.variant.name:26}{self.states:>12,} states {self.seconds:7.1f} s  {found}"


def missing_tools() -> str:
    """A message on what to install, or ""."""
    missing = " and ".join(tool for tool in ("spin", "gcc") if shutil.which(tool) is None)
    if not missing:
        return ""
    return (
        f"The model cannot be checked without {missing}. Please install spin and gcc "
        "(Debian, Ubuntu: apt-get install spin gcc; macOS: brew install spin gcc)."
    )


def may_skip() -> bool:
    """Whether tests may run without the tools: on a developer's machine, but not in CI."""
    return not os.environ.get("CI")


def named(names: Iterable[str], *, long: bool = False) -> list[Variant]:
    """The variants in *names*; without names all variants, with *long* also the long ones."""
    variants: dict[str, Variant] = {variant.name: variant for variant in CONFIGURATIONS}
    variants |= {mutant.name: mutant for mutant in MUTANTS}
    if not (names := list(names)):
        return [v for v in variants.values() if long or not getattr(v, "long", False)]
    if unknown := sorted(set(names) - set(variants)):
        raise CannotCheck(f"There is no {', '.join(unknown)}. --list shows the names.")
    return [variants[name] for name in names]


def text_of(variant: Variant) -> str:
    """The text of the protocol, with the mutant's edits."""
    name = configuration_of(variant).protocol
    text = Path(__file__).with_name(name).read_text()
    for old, new in variant.edits if isinstance(variant, Mutant) else ():
        if text.count(old) != 1:
            raise CannotCheck(f"{variant.name}: {name} must hold {old!r} exactly once.")
        text = text.replace(old, new)
    return text


def macros_of(variant: Variant) -> list[str]:
    """The compiler's ``-D`` arguments of *variant*'s configuration."""
    return [f"-D{macro}" for macro in configuration_of(variant).macros]


def configuration_of(variant: Variant) -> Configuration:
    """*variant* itself, or the configuration of a mutant."""
    if isinstance(variant, Mutant):
        (variant,) = (c for c in CONFIGURATIONS if c.name == variant.configuration)
    return variant


def asks_liveness(variant: Variant) -> bool:
    """Whether *variant* checks that the gate closes again, instead of stale reads."""
    return "-DLIVENESS" in macros_of(variant)


def check(variant: Variant) -> Result:
    """Search every state of *variant*; for a mutant, until the first stale read."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        # A mutant is found soon, so its compilation takes longer than its search. The compiler's
        # -O2 takes longer than it saves, unless the search takes minutes.
        quick = "-O0" if isinstance(variant, Mutant) else "-O1"
        optimize = "-O2" if getattr(variant, "long", False) else quick
        started = time.perf_counter()
        output = _search(variant, Path(folder), optimize)
        seconds = time.perf_counter() - started
    stale = "assertion violated" in output or "acceptance cycle (" in output
    states = re.search(r"errors: (\d+)\s+(\d+) states, stored", output)
    # The search ends at the first stale read. Without one, it must be complete.
    if states is None or (not stale and any(sign in output for sign in _INCOMPLETE)):
        raise CannotCheck(f"{variant.name}: the search did not finish.\n{output}")
    if stale != (states[1] != "0"):
        raise CannotCheck(f"{variant.name}: the search found another error.\n{output}")
    unreached = re.findall(r'protocol\.pml:(\d+), state \d+, "(?!-end-)(.+)"', output)
    lines = tuple(f"line {line}: {code}" for line, code in unreached)
    return Result(variant, int(states[2]), seconds, stale, lines)


def interleaving(variant: Variant) -> Iterator[str]:
    """The shortest way to a stale read: which process executes which line of the protocol."""
    with tempfile.TemporaryDirectory(prefix="model-") as name:
        folder = Path(name)
        # Breadth-first search finds the shortest way, but no cycles.
        _search(variant, folder, "-O1", *([] if asks_liveness(variant) else ["-DBFS"]))
        if not (folder / "protocol.pml.trail").exists():
            return
        steps = _run(["spin", "-t", "-p", *macros_of(variant), "protocol.pml"], folder)
        source = (folder / "protocol.pml").read_text().splitlines()
    last = None
    for step in steps.splitlines():
        found = re.search(r"proc +(\d+) \((\w+):1\) \S+:(\d+) \(state \d+\)\s+\[(.*)\]", step)
        if not found or not re.match(_TELLING, found[4]):
            continue
        process, kind, number, _ = found.groups()
        if (process, number) != last:
            last = process, number
            line = " ".join(source[int(number) - 1].split()).removeprefix(":: ")
            yield f"    {kind + ' ' + process:15}{line}"


def _search(variant: Variant, folder: Path, *options: str) -> str:
    # One file name for every protocol.
    (folder / "protocol.pml").write_text(text_of(variant))
    _run(["spin", "-a", *macros_of(variant), "protocol.pml"], folder)
    # Fairness: a process that can move does. Otherwise nothing would ever close again.
    fair = asks_liveness(variant)
    if getattr(variant, "long", False):
        options = ("-DCOLLAPSE", *options)  # slower, but a third of the memory
    gcc = ["gcc", *(["-DNFAIR=3"] if fair else ["-DSAFETY", "-DNOFAIR"])]
    _run([*gcc, f"-DMEMLIM={_MEMORY}", *options, "-w", "-o", "pan", "pan.c"], folder)
    # -E: a process may stop forever at any point; that is not a deadlock.
    return _run(["./pan", "-E", f"-m{_DEPTH}", *(["-a", "-f"] if fair else [])], folder)


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCheck(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cachelayer.spec.check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="list the names, check nothing")
    parser.add_argument("--long", action="store_true", help="also run searches that take minutes")
    parser.add_argument("--show", action="store_true", help="print the way to each stale read")
    parser.add_argument("--jobs", type=int, default=2, help="searches at a time (default: 2)")
    options = parser.parse_args(arguments)
    try:
        variants = named(options.names, long=options.long or options.list)
        if options.list:
            _write(f"{v.name:26}{_describe(v)}" for v in variants)
            return 0
        if sentence := missing_tools():
            raise CannotCheck(sentence)
        with ThreadPoolExecutor(options.jobs) as pool:
            as_expected = True
            for result in pool.map(check, variants):
                _write([str(result)])
                as_expected &= result.as_expected
                if options.show and result.stale:
                    _write(interleaving(result.variant))
    except CannotCheck as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if as_expected else 1


def _describe(variant: Variant) -> str:
    long = " (long)" if variant.long else ""
    if isinstance(variant, Mutant):
        return f"{variant.configuration} without {variant.lacks}. {variant.story}{long}"
    return f"{' '.join(variant.macros)}: {variant.about}{long}"


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
