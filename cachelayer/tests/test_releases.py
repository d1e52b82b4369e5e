"""Triggers that are another release's, that are missing, or stand on a partition."""

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, models, transaction
from django.test.utils import isolate_apps

from cachelayer.models import Repair
from cachelayer.protocol import drain, reconcile, statement_listener, watchdog
from cachelayer.redis import incarnation, transport
from cachelayer.redis.gate import gate
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Author, Book, Note, Publisher, Stamp, Tag
from cachelayer.tests.outages import closed, until
from cachelayer.tests.postgres_version import needs
from cachelayer.tests.truth import hit, logged, outside, registered, repaired, told
from cachelayer.tracking import triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture(autouse=True)
def _whole_again():
    yield
    statement_listener._cached_tables.cache_clear()
    triggers.install("default")
    until(closed)


@pytest.fixture
def note():
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    return note


def show_name(instance):
    return {"id": instance.pk, "name": instance.name}


@pytest.fixture
def author():
    """A row of a model that this process does not cache, and the next release does."""
    return Author.objects.create(name="old")


@pytest.fixture
def newer_release():
    """Triggers of a release that caches authors as well, beside a process that does not."""
    cached = registry.make(Author, show_name)
    with registered(Author, show_name):
        yield lambda: registry.add(cached)


def forget(model):
    del registry._registered[model]
    statement_listener._cached_tables.cache_clear()


@pytest.mark.parametrize("what", ["update", "delete", "create"])
@pytest.mark.parametrize("within", ["atomic", "autocommit"])
def test_an_old_process_writes_what_only_a_new_one_caches(author, newer_release, within, what):
    """The triggers name a prefix that this process' registry does not know."""
    new = author.pk + 1
    hit(Author, author.pk, new)
    forget(Author)
    try:
        if within == "atomic":
            with transaction.atomic():
                _write_author(author, new, what)
            assert logged() == set(), "it is marked"
        else:
            _write_author(author, new, what)  # Nobody follows it: it is logged.
    finally:
        newer_release()
    drain.drain()
    left = told(Author, author.pk)
    assert (left and left["name"]) == {"update": "new", "delete": None, "create": "old"}[what]
    assert (told(Author, new) is None) == (what != "create")


def _write_author(author, new, what):
    if what == "update":
        Author.objects.update(name="new")
    elif what == "delete":
        Author.objects.filter(pk=author.pk).delete()
    else:
        Author.objects.create(pk=new, name="n")


def test_an_old_process_empties_what_only_a_new_one_caches(author, newer_release):
    hit(Author, author.pk)
    forget(Author)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE bookshop_author CASCADE")
    newer_release()
    drain.drain()
    assert told(Author, author.pk) is None


def test_an_old_process_drains_what_only_a_new_one_caches(author, newer_release):
    hit(Author, author.pk)
    forget(Author)
    with outside() as psql:
        psql.execute("UPDATE bookshop_author SET name = 'new'")
    drain.drain()
    assert not Repair.objects.exists()
    newer_release()
    assert told(Author, author.pk)["name"] == "new"


def test_a_reconcile_sweeps_what_only_another_program_caches(author, newer_release, value):
    """Redis has come back with old data, and the process that finds it does not know the model."""
    key = f"author:{author.pk}"
    forget(Author)
    transport.client().set(key, b'{"id":1,"name":"before the restart"}')
    transport.client().set(incarnation.KEY, "another-run:0 trusted 1")
    gate.settle("for this test")
    until(closed)
    newer_release()
    assert value(key) is None


def test_an_old_process_is_not_without_triggers_when_there_are_more(newer_release):
    forget(Author)
    assert triggers.problems(connection) == []
    newer_release()


TAKEN_AWAY = [
    "DROP TRIGGER cachelayer_update ON bookshop_note",
    "DROP TRIGGER cachelayer_truncate ON bookshop_note",
    # Not ALL: that takes away the foreign keys' own as well, and no migrate brings them back.
    "ALTER TABLE bookshop_note DISABLE TRIGGER USER",
    "ALTER TABLE bookshop_note ENABLE TRIGGER cachelayer_update",
    "ALTER TABLE bookshop_note ENABLE REPLICA TRIGGER cachelayer_delete",
    "DROP TRIGGER cachelayer_insert ON bookshop_film_alike",
    "DROP TRIGGER cachelayer_delete ON bookshop_role",
    "DROP TRIGGER cachelayer_update ON bookshop_audiobook",
    "DROP FUNCTION cachelayer_witness CASCADE",
]


@pytest.mark.parametrize("sql", TAKEN_AWAY)
def test_a_trigger_that_was_taken_away_is_said_and_nothing_is_believed(note, sql):
    """The check says so, every process stops serving, and migrate mends and drops what it must."""
    with outside() as psql:
        psql.execute(sql)
    assert said(), "check --database default says so"
    watchdog.check()
    assert not closed()
    assert "migrate" in gate.state.reason
    with outside() as psql:
        psql.execute("UPDATE bookshop_note SET stars = 2")  # Seen or not.
    assert told(Note, note.pk)["stars"] == 2, "it comes past the cache"
    call_command("migrate", verbosity=0)
    until(closed)
    assert said() == []
    assert told(Note, note.pk)["stars"] == 2


def said():
    """What check --database default says of triggers."""
    found = run_checks(databases=["default"])
    return [each.msg for each in found if each.hint == triggers.MEND]


def test_a_table_that_is_made_anew_without_its_triggers(note):
    """CREATE TABLE … LIKE and a swap, as tools that rewrite a table do."""
    stamp = Stamp.objects.create(text="old")
    hit(Stamp, stamp.pk)
    with outside() as psql:
        psql.execute(
            "CREATE TABLE another (LIKE bookshop_stamp INCLUDING DEFAULTS INCLUDING INDEXES); "
            "INSERT INTO another SELECT * FROM bookshop_stamp; "
            "ALTER TABLE bookshop_stamp RENAME TO was; "
            "ALTER TABLE another RENAME TO bookshop_stamp; "
            "UPDATE bookshop_stamp SET text = 'new'"
        )
        try:
            watchdog.check()
            assert not closed()
            call_command("migrate", verbosity=0)
            until(closed)
            assert told(Stamp, stamp.pk)["text"] == "new"
        finally:
            psql.execute("DROP TABLE bookshop_stamp; ALTER TABLE was RENAME TO bookshop_stamp")


@pytest.fixture
def measures():
    """A model whose table has partitions, one of them with a partition of its own."""
    with isolate_apps("cachelayer.tests.bookshop"):

        class Measure(models.Model):  # noqa: DJ008
            value = models.IntegerField(default=0)

            class Meta:
                app_label = "bookshop"
                managed = False

    with outside() as psql:
        psql.execute(
            "CREATE TABLE bookshop_measure "
            "(id bigint PRIMARY KEY, value int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); "
            "CREATE TABLE measure_low PARTITION OF bookshop_measure FOR VALUES FROM (0) TO (10); "
            "CREATE TABLE measure_high PARTITION OF bookshop_measure FOR VALUES FROM (10) TO (99) "
            "PARTITION BY RANGE (id); "
            "CREATE TABLE measure_top PARTITION OF measure_high FOR VALUES FROM (50) TO (99)"
        )
    try:
        with registered(Measure, lambda measure: {"id": measure.pk, "value": measure.value}):
            Measure.objects.bulk_create([Measure(pk=1), Measure(pk=60)])
            hit(Measure, 1, 2, 60)
            yield Measure
    finally:
        with outside() as psql:
            psql.execute("DROP TABLE bookshop_measure")


def test_a_write_of_the_whole_table_names_the_rows_of_its_partitions(measures):
    measures.objects.update(value=5)
    assert (told(measures, 1)["value"], told(measures, 60)["value"]) == (5, 5)
    measures.objects.filter(pk=60).update(id=2)  # It moves to another partition.
    assert (told(measures, 60), told(measures, 2)["value"]) == (None, 5)
    assert logged() == set()
    measures.objects.all().delete()
    assert (told(measures, 1), told(measures, 2)) == (None, None)


@pytest.mark.parametrize(
    ("sql", "pk", "value"),
    [
        ("UPDATE measure_low SET value = 7", 1, 7),
        ("INSERT INTO measure_low VALUES (2, 7)", 2, 7),
        ("DELETE FROM measure_low", 1, None),
        ("TRUNCATE measure_low", 1, None),
        ("UPDATE measure_high SET value = 7", 60, 7),
        ("UPDATE measure_top SET value = 7", 60, 7),
        ("TRUNCATE measure_high", 60, None),
        ("TRUNCATE bookshop_measure", 1, None),
        ("MERGE INTO measure_top m USING (SELECT 60 AS id) s ON m.id = s.id "
         "WHEN MATCHED THEN DELETE", 60, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("who", ["psql", "ours"])
def test_a_statement_that_names_a_partition(measures, sql, pk, value, who):
    if sql.startswith("MERGE"):
        needs(15, "MERGE")
    if who == "ours":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
        found = told(measures, pk) if "TRUNCATE" not in sql else None
    else:
        with outside() as psql:
            psql.execute(sql)
    drain.drain()
    found = told(measures, pk)
    assert (found and found["value"]) == value


def test_a_partition_that_comes_later_is_said_to_lack_its_triggers(measures):
    with outside() as psql:
        psql.execute(
            "CREATE TABLE measure_late PARTITION OF measure_high FOR VALUES FROM (20) TO (30)"
        )
    assert any("measure_late" in problem for problem in triggers.problems(connection))
    assert reconcile.missing_triggers()
    triggers.install("default")
    assert triggers.problems(connection) == []
    hit(measures, 25)
    with outside() as psql:
        psql.execute("INSERT INTO measure_late VALUES (25, 3)")
        repaired("measure:25")
    assert told(measures, 25)["value"] == 3


def test_two_models_of_another_release_on_tables_that_ours_has_too(note):
    """A link table that belongs to a model which only the newer release caches."""
    with registered(Publisher, show_name), registered(Tag, show_name):
        tag, book = Tag.objects.create(name="t"), Book.objects.create()
        hit(Tag, tag.pk)
        forget(Tag)
        with transaction.atomic():
            Tag.objects.update(name="new")
            book.tags.add(tag)
        registry.add(registry.make(Tag, show_name))
        assert told(Tag, tag.pk)["name"] == "new"
        assert told(Book, book.pk)["tags"] == [tag.pk]
