"""The live check finds stale hits, and nothing else."""

import logging

import orjson
import pytest
from django.db import connection

import cachelayer
from cachelayer.background_task import BackgroundTask
from cachelayer.operations import live_check, stats
from cachelayer.redis import transport
from cachelayer.telemetry import counters
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.interleaving import stopped
from cachelayer.tests.outages import write_unseen
from cachelayer.tests.polling import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def check_all(settings, monkeypatch):
    settings.CACHELAYER = {"CHECK_SHARE": 1.0}
    monkeypatch.setattr(live_check, "REST", 0.0)
    monkeypatch.setattr(live_check, "_rested", 0.0)
    live_check._waiting.clear()


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def found():
    report = stats.collect()["live_check"]
    return report["checked"], report["stale"]


def make_stale(note):
    """Put a row into the cache that the database never had."""
    key = f"note:{note.pk}"
    row = orjson.loads(transport.client().get(key)) | {"stars": 77}
    transport.client().set(key, orjson.dumps(row))


def test_hits_that_are_right_are_counted(note):
    cachelayer.read(Note, note.pk)
    cachelayer.read_many(Note, [note.pk])
    live_check.check_waiting()
    assert found() == (2, 0)


def test_a_hit_that_says_no_such_row_is_checked_too(note):
    pk = note.pk
    note.delete()
    assert cachelayer.read(Note, pk).outcome == "hit"
    live_check.check_waiting()
    assert found() == (1, 0)


def test_a_stale_hit_is_counted_and_said_once_each(note, caplog):
    make_stale(note)
    for _ in range(2):
        cachelayer.read(Note, note.pk)
    with caplog.at_level(logging.ERROR, "cachelayer.livecheck"):
        live_check.check_waiting()
    assert found() == (2, 2)
    [message, _] = [record.getMessage() for record in caplog.records]
    assert f"note:{note.pk}" in message
    assert "stars" not in message, "a log is no place for rows"


def test_a_row_written_after_the_hit_is_not_stale(note):
    cachelayer.read(Note, note.pk)
    note.stars = 2
    note.save()
    live_check.check_waiting()
    assert found() == (1, 0)


def test_a_row_that_is_being_written_is_not_stale(note):
    """Postgres shows the new row, the push has not come: there is a mark."""
    cachelayer.read(Note, note.pk)
    write_unseen("UPDATE bookshop_note SET stars = 2 WHERE id = %s", [note.pk])
    transport.client().set(f"note:{note.pk}", b"w:somebody")
    live_check.check_waiting()
    assert found() == (1, 0)


def test_a_row_that_changes_back_while_it_is_looked_at_is_not_stale(note, monkeypatch):
    """Rows without a timestamp can have the same bytes again."""
    cachelayer.read(Note, note.pk)
    *_, value = live_check._waiting[0]
    rows = iter([b'{"other": 1}', value])
    monkeypatch.setattr(live_check, "_load", lambda cached, pk: next(rows))
    live_check.check_waiting()
    assert found() == (1, 0)


def test_a_share_of_nothing_is_off(note, settings):
    settings.CACHELAYER = {"CHECK_SHARE": 0.0}
    for _ in range(20):
        cachelayer.read(Note, note.pk)
    assert not live_check._waiting


def test_no_more_hits_wait_than_the_queue_holds(note):
    for _ in range(live_check.QUEUE + 5):
        cachelayer.read(Note, note.pk)
    assert len(live_check._waiting) == live_check.QUEUE


def test_after_a_check_no_hit_is_sampled_for_a_while(note, monkeypatch):
    """However many hits there are, checks cost no more."""
    monkeypatch.setattr(live_check, "REST", 3600.0)
    cachelayer.read(Note, note.pk)
    live_check.check_waiting()
    cachelayer.read(Note, note.pk)
    assert not live_check._waiting
    monkeypatch.setattr(live_check, "_rested", 0.0)
    cachelayer.read(Note, note.pk)
    assert len(live_check._waiting) == 1
    assert found() == (1, 0)


def test_without_postgres_nothing_is_counted_and_nothing_fails(note, monkeypatch):
    cachelayer.read(Note, note.pk)
    connection.close()
    with monkeypatch.context() as outage:
        outage.setitem(connection.settings_dict, "PORT", 1)
        live_check.check_waiting()
    assert found() == (0, 0)
    assert not live_check._waiting


def test_without_redis_a_difference_is_not_counted(own_redis, monkeypatch):
    note = Note.objects.create()
    make_stale(note)
    cachelayer.read(Note, note.pk)
    own_redis.stop()
    live_check.check_waiting()
    counted = dict(counters._counts._pending)
    assert "checked" not in counted
    assert "stale" not in counted


def test_it_goes_on_after_a_bug(note, monkeypatch, caplog):
    cachelayer.read(Note, note.pk)
    with monkeypatch.context() as bug:
        bug.setattr(live_check, "_load", lambda cached, pk: 1 / 0)
        live_check.check_waiting()
    assert "The live check failed" in caplog.text
    cachelayer.read(Note, note.pk)
    live_check.check_waiting()
    assert found() == (1, 0)


def test_it_is_done_in_the_background_and_no_read_waits_for_it(note, monkeypatch):
    task = BackgroundTask("livecheck-test", lambda: 0.001, lambda: live_check.check_waiting())
    monkeypatch.setattr(live_check, "task", task)
    with stopped(live_check, "check_waiting") as check:
        cachelayer.read(Note, note.pk)
        check.reached()
        assert cachelayer.read(Note, note.pk).outcome == "hit"
        check.release()
    until(lambda: found() == (2, 0))


@pytest.mark.parametrize(
    ("stale", "checked", "bound"),
    [
        (0, 0, None),
        (0, 1, 1.0),
        (0, 3_000_000, 1e-6),
        (1, 1, 1.0),
        (1, 1000, 0.00564),
        (50, 100, 0.596),
    ],
)
def test_the_bound_is_that_of_the_books(stale, checked, bound):
    assert live_check.upper_bound(stale, checked) == (bound and pytest.approx(bound, rel=0.01))


def test_without_redis_nobody_knows_what_was_checked():
    assert live_check.report(None) == {"checked": None, "stale": None, "upper_bound": None}
