"""Two releases that show a row differently, side by side: neither sees the other's bytes."""

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings

import cachelayer
from cachelayer.operations import clear, inspect_key, row_count, verify
from cachelayer.protocol import key_states, key_values, scan, watchdog
from cachelayer.redis import incarnation, transport, variants
from cachelayer.redis.gate import Mode, gate
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here
from cachelayer.tests.outages import write_unseen
from cachelayer.tests.polling import until
from cachelayer.tests.releases import B, keys, read, release_b
from cachelayer.tests.truth import outside, repaired

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def note():
    return Note.objects.create(stars=1)


@pytest.fixture
def both(note):
    """A row that both releases have cached."""
    assert read()[0] == "hit"
    with release_b():
        assert [read()[0] for _ in range(2)] == ["miss", "hit"]
    return note


@pytest.mark.parametrize(
    "changed",
    [
        {"USE_TZ": False},
        {"TIME_ZONE": "Asia/Tokyo"},
        {"REST_FRAMEWORK": {"DATETIME_FORMAT": "%Y", "COERCE_DECIMAL_TO_STRING": False}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_setting_that_a_test_overrides_is_another_release(changed):
    """A row cached before, or in the meantime, was rendered otherwise (linkding's importer)."""
    note = Note.objects.create(printed=NOON)

    def reads():
        for _ in range(2):
            found = cachelayer.read(Note, note.pk)
            assert found.row == cachelayer.render(Note.objects.get(pk=note.pk))
        assert found.outcome == "hit"
        return found.row

    before = reads()
    with override_settings(**changed):
        assert reads() != before
        Note.objects.filter(pk=note.pk).update(stars=2)
        during = reads()
    assert b'"stars":2' in reads()
    assert reads() != during


def test_neither_is_given_the_bytes_of_the_other(both, value):
    assert read() == ("hit", {**read()[1], "stars": 1})
    assert "release" not in read()[1]
    with release_b():
        assert read() == ("hit", {"stars": 1, "release": "B"})
    assert [orjson.loads(value(key))["stars"] for key in keys(both)] == [1, 1]


def test_a_write_by_either_is_seen_by_both(both):
    Note.objects.update(stars=2)
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})
        Note.objects.update(stars=3)
        assert read() == ("hit", {"stars": 3, "release": "B"}), "it pushes its own"
    assert read()[1]["stars"] == 3
    both.delete()
    with release_b():
        assert cachelayer.read(Note, both.pk).row is None
    assert cachelayer.read(Note, both.pk).row is None


def test_a_write_of_many_rows_is_seen_by_both(both, settings):
    settings.CACHELAYER = {"PUSH_LIMIT": 0}
    Note.objects.update(stars=2)
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})


def test_hooks_that_a_test_runs_itself_delete_both(both, value):
    """As ``captureOnCommitCallbacks(execute=True)``: there is no COMMIT, and nothing is marked."""
    with transaction.atomic():
        Note.objects.update(stars=2)
        for _, hook, _ in list(connection.run_on_commit):
            hook()
        assert [value(key) for key in keys(both)] == [None, None]
        transaction.set_rollback(True)


def test_sql_of_another_program_is_repaired_for_both(both):
    with outside() as other:
        other.execute("UPDATE bookshop_note SET stars = 2")
    repaired(f"note:{both.pk}")
    assert read()[1]["stars"] == 2
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})


@pytest.mark.parametrize("ends", ["commits", "is killed before its push", "rolls back"])
def test_a_variant_that_is_entered_while_a_writer_is_at_work(note, ends):
    """1. A marks the plain key. 2. B is entered. 3. B reads the old row: it must not fill it."""
    _, theirs = keys(note)
    with outside() as writer:
        writer.autocommit = False
        cursor = writer.execute("UPDATE bookshop_note SET stars = 2 RETURNING pg_current_xact_id()")
        mark = key_values.new_mark(int(cursor.fetchone()[0]))
        key_states.mark([f"note:{note.pk}"], mark)
        with release_b():
            assert read() == ("bypass", {"stars": 1, "release": "B"})
            assert transport.client().hgetall(variants.KEY) == {f"note~{B}".encode(): b"live"}
            assert transport.client().get(theirs) is None
        if ends == "rolls back":
            writer.rollback()
        else:
            writer.commit()
        if ends == "commits":
            key_states.release([f"note:{note.pk}"], mark)
    expected = 1 if ends == "rolls back" else 2
    with release_b():
        assert read() == ("miss", {"stars": expected, "release": "B"})
        assert read()[0] == "hit"
    assert read()[1]["stars"] == expected


def test_marks_that_are_not_those_found_are_not_taken_over(note):
    plain, _ = keys(note)
    ended = key_values.new_mark(1)
    key_states.mark([plain], ended)
    with release_b():
        token = key_values.new_lease()
        assert key_states.lease({plain: None}, token) == [key_states.Leased.MARKED]
        key_states.mark([plain], key_values.new_mark(2**40))
        assert key_states.lease({plain: None}, token, {plain: ended}) == [key_states.Leased.MARKED]
    assert key_values.transactions(transport.client().get(plain)) == {1, 2**40}


def test_after_a_flush_a_variant_is_entered_anew(both):
    transport.client().flushall()
    until(lambda: _settled() and gate.mode is Mode.CLOSED)
    with release_b():
        assert read()[0] == "miss"
        Note.objects.update(stars=5)
        assert read() == ("hit", {"stars": 5, "release": "B"})


def _settled():
    watchdog.check()
    return True


def test_a_reconcile_sweeps_variants_too(both):
    """Redis has come back with data from before a write."""
    write_unseen("UPDATE bookshop_note SET stars = 2")
    transport.client().set(incarnation.KEY, "another-run:0 trusted 1")
    gate.settle("for this test")
    until(lambda: gate.mode is Mode.CLOSED)
    with release_b():
        assert read() == ("miss", {"stars": 2, "release": "B"})


def test_a_clear_takes_both_and_counts_are_of_ones_own(both):
    assert row_count.count().rows == 1
    with release_b():
        assert row_count.count().rows == 1
        assert inspect_key.inspect(Note, both.pk).verdict == "same"
        assert [report.compared for report in verify.verify()][-1] == 1
    assert sum(clear.clear_all()) == 2
    assert list(scan.keys(["note"])) == []


def test_a_row_that_differs_is_found_in_a_variant_too(both):
    with release_b():
        transport.client().set(keys(both)[1], b'{"stars":9,"release":"B"}')
        *_, report = verify.verify()
        assert [found.key for found in report.differences] == [keys(both)[0]]
    *_, report = verify.verify()
    assert report.differing == 0


class TestOwner:
    """Who has the plain keys: whoever came first, for as long as the database remembers."""

    @pytest.fixture(autouse=True)
    def _unclaimed(self):
        self._delete()
        yield
        self._delete()
        variants._own = {}

    def _delete(self):
        with outside() as other:
            other.execute("DELETE FROM cachelayer_shape")
        variants.forget()

    def test_the_first_release_has_them_and_the_same_code_again(self):
        assert variants.own() == {}
        variants.forget()
        assert variants.own() == {}

    def test_a_release_that_differs_has_variants(self, note):
        variants.own()
        mine = registry.get(Note)
        registry._registered[Note] = replace(mine, version="2")
        try:
            variants.forget()
            assert variants.own() == {"note": variants.print_of(registry.get(Note))}
            assert read()[0] == "miss"
            assert transport.client().exists(f"{variants.variant('note:')}:{note.pk}")
        finally:
            registry._registered[Note] = mine

    def test_a_claim_in_a_transaction_that_is_rolled_back_stays(self):
        with transaction.atomic():
            Note.objects.create()
            variants.own()
            transaction.set_rollback(True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM cachelayer_shape WHERE prefix = 'note'")
            assert cursor.fetchone() == (1,)

    def test_a_process_that_has_met_redis_serves_hits_without_postgres(self, note, monkeypatch):
        """A worker that was asked for its health only, before Postgres went away."""
        assert read()[0] == "hit"
        variants.forget()
        transport.forget_connections()
        assert transport.ping()

        def away(using):
            raise OperationalError("gone")

        monkeypatch.setattr(variants, "_owners", away)
        assert read()[0] == "hit"

    def test_a_database_that_does_not_say_it_leaves_the_cache_unused(self, note, monkeypatch):
        def away(using):
            raise OperationalError("gone")

        monkeypatch.setattr(variants, "_owners", away)
        variants.forget()
        assert read()[0] == "bypass"


OTHER_RELEASE = """
import sys
import django; django.setup()
import cachelayer
from cachelayer.redis import variants
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Note
from dataclasses import replace
from datetime import UTC, datetime
mine = registry.get(Note)
def show_stars(note):
    return {"stars": note.stars, "release": "B"}
registry._registered[Note] = replace(mine, serializer=show_stars)
assert variants.own()["note"]
print("ready", flush=True)
for line in sys.stdin:
    what, pk, *stars = line.split()
    if what == "write":
        Note.objects.filter(pk=pk).update(stars=int(stars[0]))
        print("written", flush=True)
    else:
        found = cachelayer.read(Note, pk)
        print(found.outcome, found.row.decode(), flush=True)
"""


@pytest.fixture
def other_release(note):
    """A process of a later release; ``ask`` answers what it says to a line."""
    variants.claim("default")
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_RELEASE],
        env=environment_here(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(line):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    assert process.stdout.readline() == "ready\n"
    yield ask
    process.kill()
    process.communicate()


def test_a_rolling_deploy_under_load(note, other_release):
    """Writes by both in turns, while this release's readers never rest."""
    stop = threading.Event()
    shown = set()

    def go_on_reading():
        while not stop.is_set():
            shown.add(tuple(orjson.loads(cachelayer.read(Note, note.pk).row)))
        connection.close()

    readers = [threading.Thread(target=go_on_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for n in range(10, 60, 2):
            Note.objects.update(stars=n)
            for _ in range(2):
                _, _, row = other_release(f"read {note.pk}").partition(" ")
                assert orjson.loads(row) == {"stars": n, "release": "B"}
            assert other_release(f"write {note.pk} {n + 1}") == "written"
            assert read()[1]["stars"] == n + 1
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert len(shown) == 1
    assert "release" not in shown.pop()
    other_release(f"read {note.pk}")  # A reader may have taken its mark over before the push.
    assert other_release(f"read {note.pk}").startswith("hit"), "both have it cached"
