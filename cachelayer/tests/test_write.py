"""Transactions: what reaches the cache when they commit, and what never does."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import orjson
import pytest
from django.db import (
    DataError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError

import cachelayer
from cachelayer.protocol import commit, key_states, key_values
from cachelayer.redis import transport
from cachelayer.representation import side_cursor
from cachelayer.tests.bookshop.models import Book, Note
from cachelayer.tests.interleaving import start

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


def key(instance):
    return f"{instance._meta.model_name}:{instance.pk}"


def test_a_new_row_is_a_hit_on_its_first_read():
    note = Note.objects.create(text="new")
    assert cachelayer.read(Note, note.pk) == cachelayer.Read("hit", cachelayer.render(note))


def test_the_token_is_one_for_the_whole_transaction(monkeypatch):
    tokens = []
    mark = key_states.mark
    monkeypatch.setattr(
        key_states, "mark", lambda keys, token: tokens.append(token) or mark(keys, token)
    )
    with transaction.atomic():
        Note.objects.create()
        Note.objects.bulk_create([Note(), Note()])
        Book.objects.create(title="a")
    assert len(tokens) == 1


def test_rollback_never_reaches_the_cache(note, value, round_trips):
    before = value(key(note))
    round_trips.clear()
    with transaction.atomic():
        note.stars = 2
        note.save()
        transaction.set_rollback(True)
    assert round_trips == []
    assert value(key(note)) == before


def test_a_savepoint_that_rolled_back_takes_only_its_own_writes(note, value):
    kept, dropped = Note.objects.create(), Note.objects.create()
    before = value(key(dropped))
    with transaction.atomic():
        kept.stars = 5
        kept.save()
        with transaction.atomic():
            Note.objects.filter(pk__in=[kept.pk, dropped.pk]).update(stars=6)
            fresh = Note.objects.create(text="never")
            transaction.set_rollback(True)
        with transaction.atomic():
            note.stars = 7
            note.save()
    assert orjson.loads(value(key(kept)))["stars"] == 5
    assert value(key(dropped)) == before
    assert value(key(fresh)) is None
    assert orjson.loads(value(key(note)))["stars"] == 7


def test_the_last_write_of_a_row_is_the_one_that_is_pushed(note, value):
    with transaction.atomic():
        for stars in (2, 3):
            note.stars = stars
            note.save()
        Note.objects.filter(pk=note.pk).update(stars=4)
        Note.objects.filter(pk=note.pk).update(stars=5)
        note.stars = 6
        note.save()
    assert orjson.loads(value(key(note)))["stars"] == 6


def test_a_row_deleted_in_its_own_transaction_is_known_absent(value):
    with transaction.atomic():
        note = Note.objects.create()
        name = key(note)
        note.delete()
    assert value(name) == key_values.NULL


def test_an_instance_changed_after_its_save_is_not_what_is_pushed(note, value):
    with transaction.atomic():
        note.stars = 2
        note.save()
        note.stars = 99
    assert orjson.loads(value(key(note)))["stars"] == 2


def test_an_sql_error_that_was_caught_does_not_pass_for_a_commit(note, value):
    """Postgres answers COMMIT with ROLLBACK then, and no error."""
    before = value(key(note))

    def catch_an_sql_error():
        with transaction.atomic():
            note.stars = 2
            note.save()
            with connection.cursor() as cursor, suppress(DataError):
                cursor.execute("SELECT 1/0")

    with pytest.raises(TransactionManagementError, match=r"separate `transaction\.atomic"):
        catch_an_sql_error()
    assert value(key(note)) == before
    assert Note.objects.get().stars == 1


def test_a_commit_that_postgres_refuses_takes_its_marks_back(value):
    with pytest.raises(IntegrityError):
        # Django's foreign keys are checked at COMMIT.
        Book.objects.create(pk=1, title="a", author_id=12345)
    assert value("book:1") is None


@pytest.mark.usefixtures("past_pgbouncer")
def test_a_commit_without_an_answer_leaves_its_marks(note, value, monkeypatch):
    """It may have happened, or may yet: nobody may fill the row before the marks expire."""
    mark = key_states.mark

    def mark_then_lose_the_connection(keys, token):
        epoch = mark(keys, token)
        pid = connection.connection.info.backend_pid
        start(terminate, pid).result()
        return epoch

    def terminate(pid):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    monkeypatch.setattr(key_states, "mark", mark_then_lose_the_connection)
    with pytest.raises(OperationalError):
        note.save()
    connections.close_all()
    assert key_values.is_mark(value(key(note)))


def lose_the_connection():
    def terminate(pid):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.close()

    start(terminate, connection.connection.info.backend_pid).result()


@pytest.mark.usefixtures("past_pgbouncer")
@pytest.mark.parametrize("is_caught", [True, False])
@pytest.mark.parametrize("step", ["prepare", "mark"])
def test_a_connection_that_is_lost_before_the_commit_is_replaced(
    note, monkeypatch, step, is_caught
):
    """Within the commit, a side cursor's SAVEPOINT is the first to find out."""
    owner = {"prepare": commit, "mark": commit.Commit}[step]
    original = getattr(owner, step)

    def lost(*arguments):
        made = original(*arguments)
        lose_the_connection()
        caught = suppress(OperationalError) if is_caught else nullcontext()
        with caught, side_cursor.cursor("default") as cursor:
            cursor.execute("SELECT 1")
        return made

    with monkeypatch.context() as during:
        during.setattr(owner, step, lost)
        note.stars = 2
        with pytest.raises(OperationalError):
            note.save()
    assert Note.objects.get(pk=note.pk).stars == 1
    note.save()
    assert orjson.loads(cachelayer.read(Note, note.pk).row)["stars"] == 2


@pytest.mark.usefixtures("past_pgbouncer")
def test_a_connection_that_is_lost_between_manual_commits_is_replaced(note):
    transaction.set_autocommit(False)
    try:
        assert Note.objects.get().stars == 1
        lose_the_connection()
        with pytest.raises(OperationalError), side_cursor.cursor("default") as cursor:
            cursor.execute("SELECT 1")
        with suppress(OperationalError):
            transaction.rollback()
        connection.close()
        assert Note.objects.get().stars == 1
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_a_connection_that_is_closed_during_the_commit_is_no_success(note, monkeypatch):
    """Django sends no COMMIT on it, and no error."""
    prepare = commit.prepare

    def prepare_and_close(*arguments):
        prepared = prepare(*arguments)
        connection.close()
        return prepared

    note.stars = 2
    with monkeypatch.context() as during:
        during.setattr(commit, "prepare", prepare_and_close)
        with pytest.raises(OperationalError, match="was closed before the COMMIT"):
            note.save()
    assert Note.objects.get().stars == 1
    note.save()
    assert Note.objects.get().stars == 2


def test_a_commit_within_an_atomic_block_is_refused_and_marks_nothing(note, value):
    before = value(key(note))

    def commit_within():
        with transaction.atomic():
            note.stars = 2
            note.save()
            connection.commit()

    with pytest.raises(TransactionManagementError):
        commit_within()
    assert value(key(note)) == before


def test_a_failure_of_the_cache_layer_itself_rolls_back(note, monkeypatch):
    monkeypatch.setattr(key_states, "mark", lambda keys, token: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        note.delete()
    assert Note.objects.filter(pk=note.pk).exists()
    assert not connection.in_atomic_block


def test_a_push_that_fails_is_no_failure_of_the_committed_write(note, monkeypatch, caplog):
    monkeypatch.setattr(commit.Commit, "push", lambda self: 1 / 0)
    others = []
    with transaction.atomic():
        note.stars = 2
        note.save()
        transaction.on_commit(lambda: others.append(1))
    assert others == [1]
    assert "Write" in caplog.text
    note.refresh_from_db()
    assert note.stars == 2


def test_hooks_run_without_a_commit_only_delete(note, value, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        note.stars = 2
        note.save()
        transaction.on_commit(lambda: None)
    assert value(key(note)) is not None


def test_a_transaction_above_the_limit_invalidates(settings, value):
    settings.CACHELAYER = {"PUSH_LIMIT": 2}
    notes = Note.objects.bulk_create([Note() for _ in range(3)])
    assert [value(key(note)) for note in notes] == [None] * 3


def test_raw_sql_is_followed(note, value):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE bookshop_note SET stars = 8")
    assert orjson.loads(value(key(note)))["stars"] == 8


def test_what_is_past_the_database_is_invalidated_by_hand(note, value):
    cachelayer.invalidate(Note, note.pk)
    assert value(key(note)) is None
    with transaction.atomic():
        cachelayer.invalidate(Note, note.pk)
        assert cachelayer.read(Note, note.pk).outcome == "bypass", "not at once"
    assert cachelayer.read(Note, note.pk).outcome == "miss"


def test_a_process_killed_between_commit_and_push_leaves_no_stale_row(note):
    """A real process, a real SIGKILL, and both servers left as it left them."""
    script = f"""
import os, signal, django
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = {connection.settings_dict["NAME"]!r}
from cachelayer.protocol import key_states
from cachelayer.tests.bookshop.models import Note
key_states.push = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
note = Note.objects.get(pk={str(note.pk)!r})
note.stars = 2
note.save()
"""
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert key_values.is_mark(transport.client().get(key(note)))
    assert orjson.loads(cachelayer.read(Note, note.pk).row)["stars"] == 2
    assert cachelayer.read(Note, note.pk).outcome == "hit", "its mark is taken over"
