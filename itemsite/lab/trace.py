"""``./lab trace``: the spans of the last requests, as a waterfall."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from itemsite import traces
from itemsite.environment import SERVICE_NAME, TracingEnvironment
from itemsite.lab.errors import LabError
from itemsite.lab.folder import LabFolder
from itemsite.waterfall import waterfall

USAGE = (
    "Say ./lab trace [NUMBER] [--watch]; NUMBER is how many of the last requests, from 1 to 100."
)
_NUMBER = 5
#: Columns in a pipe, and seconds between looks.
_WIDTH = 120
_PAUSE = 1.0
_NONE_YET = "No traces yet. Ask for something, such as {url}/items, and look again."


class BadArgumentsError(ValueError):
    """They make no sense; the message says what would."""


def parse(arguments: Sequence[str]) -> tuple[int, bool]:
    """How many requests, and whether to go on looking. Raises ``BadArgumentsError``."""
    rest = [argument for argument in arguments if argument != "--watch"]
    if len(rest) > 1 or not all(
        number.isascii() and number.isdigit() and 1 <= int(number) <= 100 for number in rest
    ):
        raise BadArgumentsError(USAGE)
    return int(rest[0]) if rest else _NUMBER, len(rest) < len(arguments)


def show(number: int, watch: bool) -> None:
    """Print the last *number* requests, the newest last; raises ``LabError``."""
    state = LabFolder().running()
    where = state.tracing.get("TRACES_URL", "")
    if not where:
        raise LabError(
            "This lab keeps no traces, because OTEL_EXPORTER_OTLP_ENDPOINT or "
            "OTEL_SDK_DISABLED was "
            "set when it started; set TRACES_URL to where yours can be asked for, or unset them, "
            "and start ./lab again."
        )
    service = state.tracing.get("OTEL_SERVICE_NAME", SERVICE_NAME)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    words = traces.sampled(TracingEnvironment.read(state.environment))

    def look() -> list[dict[str, Any]]:
        try:
            return traces.ask(where, service, number)[::-1]
        except traces.TracesUnavailable as error:
            raise LabError(str(error)) from None

    if not watch:
        console.print(_page(look(), state.url, console.width, words), soft_wrap=True)
    elif console.is_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_page(look(), state.url, console.width, words), refresh=True)
                time.sleep(_PAUSE)
    else:
        if words:
            console.print(words, "", sep="\n", soft_wrap=True)
        _follow(look, console)


def _follow(look: Callable[[], list[dict[str, Any]]], console: Console) -> None:
    """In a pipe: each trace once, when it is a pause old and so complete."""
    before: set[str] = set()
    shown: set[str] = set()
    while True:
        found = {trace["traceID"]: trace for trace in look()}
        ready = [trace for name, trace in found.items() if name in before - shown]
        if ready:
            console.print(waterfall(ready, console.width), "", sep="\n", soft_wrap=True)
        shown |= {trace["traceID"] for trace in ready}
        shown &= found.keys()
        before = set(found)
        time.sleep(_PAUSE)


def _page(found: list[dict[str, Any]], url: str, width: int, words: str) -> Text:
    """The waterfalls, and below them which requests are not among them."""
    page = waterfall(found, width) if found else Text(_NONE_YET.format(url=url))
    return page.append(f"\n\n{words}", style="dim") if words else page
