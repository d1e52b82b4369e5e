"""The seam of telemetry: what the protocol announces reaches every listener, and needs none."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

import cachelayer
from cachelayer import events
from cachelayer.events import Event
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here


@pytest.fixture
def surrounds(monkeypatch):
    """Those that a test adds; whatever was connected stands again after it."""
    monkeypatch.setattr(events, "_surrounds", [])
    return events._surrounds


def test_each_listener_hears_it_in_the_order_of_their_coming():
    event, heard = Event[int](), []
    event.listen(lambda what: heard.append(("first", what)))
    event.listen(lambda what: heard.append(("second", what)))
    event(5)
    assert heard == [("first", 5), ("second", 5)]


def test_a_listener_that_is_connected_twice_hears_it_once():
    event, heard = Event[int](), []
    event.listen(heard.append)
    event.listen(heard.append)
    event(5)
    assert heard == [5]


def test_an_operation_happens_inside_all_that_surround_it(surrounds):
    seen = []

    def surround(name, keys):
        @contextmanager
        def entered():
            seen.append(("begins", name, keys))
            yield lambda attributes: seen.append(attributes)
            seen.append("ends")

        return entered()

    events.surround_operations(surround)
    events.surround_operations(lambda name, keys: None)
    double = events.operation("double", lambda result: {"size": result})(lambda keys: 2 * len(keys))
    assert double(["a"]) == 2
    assert seen == [("begins", "double", ["a"]), {"size": 2}, "ends"]


@pytest.mark.django_db(transaction=True)
def test_a_read_is_announced_once_with_its_kind_outcome_and_time(monkeypatch):
    note, heard = Note.objects.create(), []
    monkeypatch.setattr(events.read_ended, "_listeners", (lambda *said: heard.append(said),))
    cachelayer.read(Note, note.pk)
    cachelayer.read_many(Note, [note.pk])
    [(*one, seconds), (*of_many, none)] = heard
    assert one == of_many == ["row", "hit"]
    assert (0 < seconds < 60, none) == (True, None)


PROGRAM = """
import django; django.setup()
from cachelayer import events
wanted = [each for each in vars(events).values() if isinstance(each, events.Event)]
for each in wanted:
    each._listeners = ()
events._surrounds.clear(); events._background.clear()
import cachelayer
from cachelayer.tests.bookshop.models import Note
note = Note.objects.create()
print(len(wanted), cachelayer.read(Note, note.pk).outcome)
note.delete()
"""


@pytest.mark.django_db(transaction=True)
def test_the_protocol_does_without_a_listener():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment_here(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["8", "hit"], done.stderr
