"""The terminal page of ``cache_stats --watch``."""

import io
import time

import pytest
from django.core.management import call_command
from rich.console import Console

import cachelayer
from cachelayer.management import stats_screen
from cachelayer.management.commands import cache_stats
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note

pytestmark = pytest.mark.django_db(transaction=True)


def text(look, width=110, **options):
    """What a terminal of that *width* shows."""
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(stats_screen.draw(look, console))
    return console.file.getvalue()


def row(shown, name):
    [line] = [line for line in shown.splitlines() if line.lstrip("│ ").startswith(f"{name}  ")]
    return line


def test_it_shows_rates_lines_and_totals():
    note = Note.objects.create()
    before = stats_screen.Snapshot.take(None)
    for _ in range(20):
        cachelayer.read(Note, note.pk)
    look = stats_screen.Snapshot.take(before)
    shown = text(look)
    assert "In order" in shown
    hits = row(shown, "hits")
    assert float(hits.split("/s")[0].split()[-1]) == pytest.approx(
        look.rates["total_hits"], abs=0.1
    )
    assert look.rates["total_hits"] > 0
    assert "█" in hits
    assert hits.rstrip("│ ").endswith(" 20")
    assert "closed" in row(shown, "gate")
    assert row(shown, "cached rows").rstrip("│ ").endswith(" 1")


def test_on_a_narrow_terminal_no_line_is_longer_than_it(own_redis):
    counters.add("hit", 3)
    for width in (40, 80):
        assert max(map(len, text(stats_screen.Snapshot.take(None), width).splitlines())) <= width


def test_while_redis_is_away_it_says_so_and_keeps_the_lines(own_redis):
    counters.add("hit", 3)
    before = stats_screen.Snapshot.take(None)
    own_redis.stop()
    shown = text(stats_screen.Snapshot.take(before))
    assert "Trouble" in shown
    assert "does not answer" in row(shown, "Redis")
    assert "█" in row(shown, "hits")
    assert "unknown while Redis is away" in row(shown, "cached rows")


def test_totals_that_are_less_than_before_are_no_negative_rate():
    counters.add("hit", 30)
    before = stats_screen.Snapshot.take(None)
    counters.transport.client().delete(counters.KEY)
    assert stats_screen.Snapshot.take(before).rates["total_hits"] == 0


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 5, ""),
        ([0, 0], 5, "  "),
        ([1, 2, 4, 8], 4, "▂▃▅█"),
        ([9, 0, 1], 2, " █"),
    ],
)
def test_a_sparkline(values, width, line):
    assert stats_screen.sparkline(values, width) == line


def test_a_sparkline_for_a_terminal_that_knows_ascii_only():
    assert stats_screen.sparkline([1, 8], 2, plain=True).isascii()


def test_on_a_terminal_it_takes_the_screen_and_gives_it_back(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_stats.time, "sleep", interrupt)
    out = Terminal()
    with pytest.raises(SystemExit) as stopped:
        call_command("cache_stats", "--watch", stdout=out)
    assert stopped.value.code == 130
    written = out.getvalue()
    assert written.index("\x1b[?1049h") < written.index("In order") < written.index("\x1b[?1049l")


def test_the_time_is_that_of_the_look(monkeypatch):
    look = stats_screen.Snapshot.take(None)
    assert time.strftime("%H:%M:%S", time.localtime(look.facts.at)) in text(look)
