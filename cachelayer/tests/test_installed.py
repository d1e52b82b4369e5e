"""The triggers as they are in the database: what is missing is said, and ``migrate`` mends it."""

import pytest
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import isolate_apps

from cachelayer.checks import configuration
from cachelayer.models import Repair
from cachelayer.representation import registry, relations
from cachelayer.tests.bookshop.models import Audiobook, Note
from cachelayer.tracking import triggers

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]


@pytest.fixture(autouse=True)
def _mended():
    """Every test begins and ends with all triggers."""
    assert problems() == []
    yield
    triggers.install("default")
    assert problems() == []


@pytest.fixture
def register(monkeypatch):
    """Register models for this test, besides those that are."""

    def register(model):
        cached = registry.make(model, dict)
        added = {**registry._registered, model: cached}
        monkeypatch.setattr(registry, "_registered", added)

    yield register
    monkeypatch.undo()


@pytest.fixture
def unregister(monkeypatch):
    """For this test, do not cache the rows of a model."""

    def unregister(model):
        left = {k: v for k, v in registry._registered.items() if k is not model}
        monkeypatch.setattr(registry, "_registered", left)

    yield unregister
    monkeypatch.undo()


@pytest.fixture
def tables():
    """Make tables and views, for this test."""
    made = []

    def make(*statements):
        for statement in statements:
            execute(statement)
            made.append(" ".join(statement.split()[1:3]))

    yield make
    for what in reversed(made):
        execute(f"DROP {what} CASCADE")


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def problems():
    return triggers.problems(connection)


def installed(table):
    """The triggers of *table* in the database, with whether they fire always."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid, tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass "
            "AND NOT tgisinternal ORDER BY tgname",
            [table],
        )
        return cursor.fetchall()


def lacks(operation, table="bookshop_note"):
    return f"The table {table} lacks the trigger for {operation}, or it is disabled or old."


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER {0} ON bookshop_note",
        "ALTER TABLE bookshop_note DISABLE TRIGGER {0}",
        "ALTER TABLE bookshop_note ENABLE TRIGGER {0}",
        "ALTER TABLE bookshop_note ENABLE REPLICA TRIGGER {0}",
    ],
)
def test_a_trigger_that_is_missing_or_does_not_always_fire(operation, damage):
    execute(damage.format(f"cachelayer_{operation.lower()}"))
    assert problems() == [lacks(operation)]
    [error] = configuration.check_triggers(databases=["default"])
    assert (error.id, error.msg) == ("cachelayer.W005", lacks(operation))
    assert "manage.py migrate" in error.hint
    assert triggers.install("default") == {"note"}, "its rows may have been written unseen"
    assert problems() == []


def test_triggers_that_were_all_switched_off():
    execute("ALTER TABLE bookshop_note DISABLE TRIGGER USER")
    assert problems() == [lacks(operation) for operation in OPERATIONS]


def test_a_trigger_of_before_a_model_was_added_is_old():
    """A child's rows are made of its parent's table too: that names both keys."""
    execute("DROP TRIGGER cachelayer_update ON bookshop_book")
    execute(
        "CREATE TRIGGER cachelayer_update AFTER UPDATE ON bookshop_book "
        "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT "
        "EXECUTE FUNCTION cachelayer_witness('keys', 'book', 'id')"
    )
    execute("ALTER TABLE bookshop_book ENABLE ALWAYS TRIGGER cachelayer_update")
    assert problems() == [lacks("UPDATE", "bookshop_book")]


def test_a_trigger_of_a_later_release_with_more_models_is_good(unregister):
    """Those name the keys of Audiobook as well, of which this process knows nothing."""
    unregister(Audiobook)
    [(_, book, _), *_] = installed("bookshop_book")
    assert book == "cachelayer_delete"
    assert problems() == []


def test_no_function():
    execute("DROP FUNCTION cachelayer_witness CASCADE")
    assert problems() == ["The database 'default' lacks the trigger function cachelayer_witness."]
    prefixes = {cached.prefix for cached in registry.all_cached()}
    unseen = triggers.install("default")
    assert {each for each in unseen if not relations.is_stamp(each)} == prefixes
    assert "@bookshop_review.novel_id" in unseen


def test_a_function_of_an_older_release(monkeypatch):
    monkeypatch.setattr(triggers, "VERSION", triggers.VERSION + 1)
    assert problems() == [
        f"The database 'default' has version {triggers.VERSION - 1} of the trigger function "
        "cachelayer_witness."
    ]
    monkeypatch.setattr(
        triggers, "_BODY", triggers._BODY.replace("-- cachelayer 3", "-- cachelayer 4")
    )
    triggers.install("default")
    assert problems() == []
    monkeypatch.undo()
    assert problems() == [], "the older process, which runs beside it, is content"
    triggers.install("default")
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'cachelayer_witness'")
        [[body]] = cursor.fetchall()
    try:
        assert body.startswith("-- cachelayer 4\n"), "and leaves it alone"
    finally:
        execute("DROP FUNCTION cachelayer_witness CASCADE")


def test_to_install_twice_changes_nothing():
    before = installed("bookshop_note")
    assert [(name, enabled) for _, name, enabled in before] == [
        (f"cachelayer_{operation.lower()}", "A") for operation in sorted(OPERATIONS)
    ]
    assert triggers.install("default") == set()
    assert installed("bookshop_note") == before


def test_a_table_that_is_no_longer_watched_loses_its_triggers(unregister):
    unregister(Note)
    assert triggers.install("default") == set()
    assert installed("bookshop_note") == []
    assert installed("bookshop_book") != []


def test_the_projects_own_triggers_stay():
    execute(
        "CREATE FUNCTION own_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    try:
        execute(
            "CREATE TRIGGER cachelayer_own AFTER INSERT ON bookshop_tag "
            "FOR EACH STATEMENT EXECUTE FUNCTION own_trigger()"
        )
        triggers.install("default")
        assert [name for _, name, _ in installed("bookshop_tag")] == ["cachelayer_own"]
    finally:
        execute("DROP FUNCTION own_trigger CASCADE")


def test_migrate_installs_what_is_missing_and_logs_what_was_unseen():
    execute("DROP TRIGGER cachelayer_delete ON bookshop_note")
    call_command("migrate", verbosity=0)
    assert problems() == []
    assert list(Repair.objects.values_list("key", flat=True)) == ["note:*"]
    Repair.objects.all().delete()
    call_command("migrate", verbosity=0)
    assert not Repair.objects.exists()


def test_a_migrate_that_is_killed_has_logged_what_it_installed_triggers_for(monkeypatch):
    """Else nothing would say, from then on, that rows were written without them."""

    def killed(using):
        raise SystemExit

    execute("DROP TRIGGER cachelayer_delete ON bookshop_note")
    monkeypatch.setattr(triggers.variants, "claim", killed)
    with pytest.raises(SystemExit):
        call_command("migrate", verbosity=0)
    assert list(Repair.objects.values_list("key", flat=True)) == ["note:*"]


PARTITIONED = (
    "CREATE TABLE bookshop_drawer (id int, day date, PRIMARY KEY (id, day)) "
    "PARTITION BY RANGE (day)",
    "CREATE TABLE bookshop_drawer_2025 PARTITION OF bookshop_drawer "
    "FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
)
NEW_PARTITION = (
    "CREATE TABLE bookshop_drawer_2026 PARTITION OF bookshop_drawer "
    "FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
)


def drawer():
    class Drawer(models.Model):  # noqa: DJ008
        day = models.DateField()

        class Meta:
            app_label = "bookshop"

    return Drawer


@isolate_apps()
def test_a_partition_has_triggers_of_its_own(register, tables, psql):
    """A statement that names a partition fires the partition's triggers only."""
    tables(*PARTITIONED)
    register(drawer())
    assert problems() == [
        lacks(operation, table)
        for table in ("bookshop_drawer", "bookshop_drawer_2025")
        for operation in OPERATIONS
    ]
    assert triggers.install("default") == {"drawer"}
    assert problems() == []
    tables(NEW_PARTITION)
    assert problems() == [lacks(operation, "bookshop_drawer_2026") for operation in OPERATIONS]
    triggers.install("default")
    psql.execute("DELETE FROM cachelayer_repair")
    for year, table in ((2025, "bookshop_drawer"), (2026, "bookshop_drawer_2026")):
        psql.execute(f"INSERT INTO {table} VALUES ({year}, '{year}-05-05')")
    psql.execute("UPDATE bookshop_drawer_2026 SET id = 1")
    logged = sorted(set(Repair.objects.values_list("key", flat=True)))
    assert logged == ["drawer:1", "drawer:2025", "drawer:2026"]
    psql.execute("DELETE FROM cachelayer_repair")
    psql.execute("TRUNCATE bookshop_drawer_2025")
    assert list(Repair.objects.values_list("key", flat=True)) == ["drawer:*"]


@isolate_apps()
def test_a_row_that_moves_to_another_partition_is_named(register, tables, psql):
    tables(*PARTITIONED, NEW_PARTITION)
    register(drawer())
    triggers.install("default")
    psql.execute("INSERT INTO bookshop_drawer VALUES (5, '2025-05-05')")
    psql.execute("DELETE FROM cachelayer_repair")
    psql.execute("UPDATE bookshop_drawer SET day = '2026-05-05'")
    assert set(Repair.objects.values_list("key", flat=True)) == {"drawer:5"}


@isolate_apps()
def test_a_view_can_have_none(register, tables):
    tables("CREATE VIEW bookshop_drawer AS SELECT 1 AS id, now()::date AS day")
    register(drawer())
    assert problems() == [
        "bookshop_drawer is not a table, so it cannot have triggers. Register the model of the "
        "table that it shows."
    ]
    assert triggers.install("default") == set()
    assert problems() != [], "migrate does not mend it"
