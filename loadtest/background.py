"""Light traffic without end, so that graphs are not empty when they are first opened.

    python -m loadtest.background --url http://127.0.0.1:8000 --rate 5

Mostly reads of a few hot rows, some lists, some writes to a handful of rows of its
own, which it deletes when it is stopped (and takes over when it was killed): the
table does not grow. An API that is away is waited for. It says what it did once a
minute, and stops at once on SIGTERM and Ctrl-C.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from types import FrameType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from loadtest.api import SAMPLES, Api, NoAnswer

#: What its own rows are called: by it, they are found again after a kill.
NAME: Final = "Background traffic"
#: How many rows it has at most.
_OWN: Final = 5
#: When it is stopped: for the answer that is on its way, and for the deletes.
_MOMENT: Final = 1.0
_REPORT_INTERVAL: Final = 60.0
#: How long it waits for an API that is away: twice as long each time.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0


class Traffic:
    """What is asked, and what came of it since the last report."""

    def __init__(self, api: Api, choice: random.Random) -> None:
        self._api = api
        self._choice = choice
        self._own: list[str] = []
        self._adopted = False
        self.seen: Counter[str] = Counter()

    def step(self) -> None:
        """One request; raises ``NoAnswer``."""
        if not self._adopted:
            self._adopt()
        [action] = self._choice.choices(
            [self._read, self._list, self._update, self._create, self._delete],
            weights=[78, 10, 6, 3, 3],
        )
        try:
            action()
        except NoAnswer:
            # What was not answered may have made a row: look again which are its own.
            self._adopted = False
            raise

    def clean_up(self) -> None:
        """Delete its own rows; raises ``NoAnswer``."""
        if not self._adopted:
            self._adopt()
        while self._own:
            self._api.request("DELETE", f"/items/{self._own[-1]}")
            self._own.pop()

    def _adopt(self) -> None:
        """Find its rows, also those that an earlier one, which was killed, has left."""
        self._own.clear()
        path = "/items?limit=100"
        for _ in range(5):
            _, page, _ = self._api.request("GET", path)
            self._own += [item["id"] for item in page["items"] if item["name"] == NAME]
            if page["next"] is None:
                break
            parts = urlsplit(page["next"])
            path = f"{parts.path}?{parts.query}"
        self._adopted = True

    def _read(self) -> None:
        hot = [*SAMPLES, *self._own]
        # The first is read twice as often as the second, and so on.
        [key] = self._choice.choices(hot, weights=[1 / n for n in range(1, len(hot) + 1)])
        status, _, outcome = self._api.request("GET", f"/items/{key}")
        self.seen[outcome.lower() if status == 200 else "refused"] += 1
        if status == 404 and key in self._own:
            self._own.remove(key)

    def _list(self) -> None:
        self._count(self._api.request("GET", f"/items?limit={self._choice.choice([5, 10, 20])}"))

    def _create(self) -> None:
        if len(self._own) >= _OWN:
            return self._delete()
        answer = self._api.request("POST", "/items", {"name": NAME, "price": self._price()})
        self._count(answer)
        if answer[0] == 201:
            self._own.append(answer[1]["id"])
        return None

    def _update(self) -> None:
        if not self._own:
            return self._create()
        key = self._choice.choice(self._own)
        answer = self._api.request("PATCH", f"/items/{key}", {"price": self._price()})
        self._count(answer)
        if answer[0] == 404:
            self._own.remove(key)
        return None

    def _delete(self) -> None:
        if not self._own:
            return self._create()
        answer = self._api.request("DELETE", f"/items/{self._own[0]}")
        self._count(answer)
        if answer[0] in (204, 404):
            del self._own[0]
        return None

    def _count(self, answer: tuple[int, Any, str]) -> None:
        kind = "written" if answer[0] in (201, 204) else "answered"
        self.seen[kind if answer[0] < 400 else "refused"] += 1

    def _price(self) -> float:
        return self._choice.randrange(100, 10_000) / 100


class Report:
    """A line a minute, never more."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _REPORT_INTERVAL
        self._reason = ""

    def no_answer(self, reason: NoAnswer) -> None:
        self._reason = f"; the last that was not: {reason}"

    def say(self, seen: "Counter[str]") -> None:
        """The counts since the last line, if it is time; they begin anew then."""
        if time.monotonic() < self._next:
            return
        self._next += _REPORT_INTERVAL
        told = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
        _say(f"the last minute: {told}{self._reason}")
        self._reason = ""
        seen.clear()


class Stopped(Exception):  # noqa: N818
    """SIGTERM or Ctrl-C."""


class Stopper:
    """Ends a sleep at once, and a request when its answer is there or a moment has passed.

    A POST that is given up may still make a row, which nobody would know of.
    """

    def __init__(self) -> None:
        self._asked = self._sleeping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        signal.signal(signal.SIGALRM, _no_time_left)

    def sleep(self, seconds: float) -> None:
        """Raises ``Stopped`` as soon as a signal comes, or if one has come."""
        self._sleeping = True
        try:
            if self._asked:
                raise Stopped
            time.sleep(max(seconds, 0))
        finally:
            self._sleeping = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        # A second one does not wait for anything.
        signal.signal(number, signal.SIG_DFL)
        self._asked = True
        if self._sleeping:
            raise Stopped
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)


def _no_time_left(number: int, frame: FrameType | None) -> NoReturn:
    raise NoAnswer("no time left")


def run(traffic: Traffic, rate: float, choice: random.Random, stopper: Stopper) -> None:
    """*rate* requests a second, at moments as chance has them, until a signal ends it."""
    report = Report()
    wait = _FIRST_WAIT
    due = time.monotonic()
    while True:
        due += choice.expovariate(rate)
        try:
            traffic.step()
            wait = _FIRST_WAIT
        except NoAnswer as reason:
            traffic.seen["not answered"] += 1
            report.no_answer(reason)
            due = max(due, time.monotonic() + wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        report.say(traffic.seen)
        # What a slow API has held up for longer than a second is not made up for.
        due = max(due, time.monotonic() - 1)
        stopper.sleep(due - time.monotonic())


def main() -> int:
    options = _parser().parse_args()
    choice = random.Random(options.seed)
    traffic = Traffic(Api(options.url.rstrip("/"), options.token), choice)
    stopper = Stopper()
    _say(f"{options.rate:g} requests a second to {options.url}")
    try:
        run(traffic, options.rate, choice, stopper)
    except (Stopped, NoAnswer):
        signal.setitimer(signal.ITIMER_REAL, _MOMENT)
    try:
        traffic.clean_up()
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say("stopped; its rows are deleted")
    except NoAnswer:
        _say("stopped; the next one takes over its rows")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"background: {text}\n")
    sys.stdout.flush()


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError("it must be above 0 and at most 1000")
    return rate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the API answers")
    parser.add_argument("--rate", type=_rate, default=5.0, help="requests a second (5)")
    parser.add_argument("--token", default="", help="an API token, where writing needs one")
    parser.add_argument("--seed", type=int, help="makes the same choices again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
