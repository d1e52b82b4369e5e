"""From the first release to this one, and back: its triggers were pgtrigger's."""

import pytest
from django.core.management import call_command
from django.db import connection

from cachelayer.models import Repair
from cachelayer.tests.bookshop.models import Note
from cachelayer.tracking import triggers

pytestmark = pytest.mark.django_db(transaction=True)

#: As pgtrigger made them of the first release's migrations, for Note.
FORMER = {
    "insert": (
        "REFERENCING NEW TABLE AS new_rows",
        "SELECT 'note:' || \"id\" FROM new_rows",
    ),
    "update": (
        "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "SELECT 'note:' || \"id\" FROM old_rows UNION SELECT 'note:' || \"id\" FROM new_rows",
    ),
    "delete": (
        "REFERENCING OLD TABLE AS old_rows",
        "SELECT 'note:' || \"id\" FROM old_rows",
    ),
    "truncate": ("", "SELECT 'note:*'"),
}
NAMES = sorted(f"pgtrigger_cachelayer_note_{operation}_33d3f" for operation in FORMER)


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def install_former():
    for name in NAMES:
        operation = name.split("_")[3]
        referencing, keys = FORMER[operation]
        execute(
            f"CREATE FUNCTION {name}() RETURNS TRIGGER AS $$ BEGIN "
            f"INSERT INTO cachelayer_repair (key) {keys}; "
            "IF FOUND THEN PERFORM pg_notify('cachelayer_repair', ''); END IF; RETURN NULL; "
            "END; $$ LANGUAGE plpgsql"
        )
        execute(
            f"CREATE TRIGGER {name} AFTER {operation} ON bookshop_note {referencing} "
            "FOR EACH STATEMENT "
            "WHEN (current_setting('cachelayer.own', true) IS DISTINCT FROM 'on') "
            f"EXECUTE FUNCTION {name}()"
        )


def triggers_of_note():
    found = execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'bookshop_note'::regclass "
        "AND NOT tgisinternal ORDER BY 1"
    )
    return [name for (name,) in found]


def functions():
    found = execute(
        r"SELECT proname FROM pg_proc WHERE proname LIKE 'pgtrigger\_%' "
        "OR proname = 'cachelayer_witness' ORDER BY 1"
    )
    return [name for (name,) in found]


def logged(psql, sql):
    """The keys that *sql*, sent by another program, puts into the log."""
    psql.execute("DELETE FROM cachelayer_repair")
    psql.execute(sql)
    return [key for (key,) in psql.execute("SELECT key FROM cachelayer_repair ORDER BY key")]


@pytest.fixture
def first_release():
    """A database that the first release has made."""
    call_command("migrate", "cachelayer", "0002", verbosity=0)
    install_former()
    yield
    call_command("migrate", "cachelayer", "0002", verbosity=0)
    for name in NAMES:
        execute(f"DROP FUNCTION IF EXISTS {name} CASCADE")
    call_command("migrate", "cachelayer", verbosity=0)
    assert triggers.problems(connection) == []


def test_the_first_releases_triggers_give_way_to_the_witness(first_release, psql):
    assert triggers.problems(connection) != []
    call_command("migrate", "cachelayer", verbosity=0)
    assert "note:*" in Repair.objects.values_list("key", flat=True), "what was unseen before"
    assert functions() == ["cachelayer_witness"]
    assert triggers_of_note() == [f"cachelayer_{name}" for name in sorted(FORMER)]
    note = Note.objects.create()
    assert logged(psql, "UPDATE bookshop_note SET stars = 2") == [f"note:{note.pk}"], "once"


def test_the_way_back_puts_them_in_place_again(first_release, psql):
    call_command("migrate", "cachelayer", verbosity=0)
    call_command("migrate", "cachelayer", "0002", verbosity=0)
    assert functions() == NAMES
    assert triggers_of_note() == NAMES
    assert execute("SELECT to_regclass('cachelayer_epoch'), to_regclass('cachelayer_repair')") == [
        (None, "cachelayer_repair")
    ]
    psql.execute("INSERT INTO bookshop_note (id, text, stars, updated) VALUES "
                 "('550e8400-e29b-41d4-a716-446655440009', '', 0, now())")  # fmt: skip
    key = "note:550e8400-e29b-41d4-a716-446655440009"
    assert logged(psql, "UPDATE bookshop_note SET stars = 2") == [key]
    psql.execute("SET cachelayer.own = 'on'")
    assert logged(psql, "UPDATE bookshop_note SET stars = 3") == []
    psql.execute("RESET cachelayer.own")
    assert logged(psql, "TRUNCATE bookshop_note CASCADE") == ["note:*"]


def test_there_and_back_without_former_triggers():
    """A database that this release has made."""
    try:
        call_command("migrate", "cachelayer", "zero", verbosity=0)
        assert functions() == []
        assert triggers_of_note() == []
        assert execute("SELECT to_regclass('cachelayer_repair')") == [(None,)]
    finally:
        call_command("migrate", "cachelayer", verbosity=0)
    assert triggers.problems(connection) == []


def test_each_database_has_an_epoch_of_its_own():
    """A Redis that was used with another one must not be taken for this one's."""
    epochs = set()
    for _ in range(2):
        call_command("migrate", "cachelayer", "0002", verbosity=0)
        call_command("migrate", "cachelayer", verbosity=0)
        [[epoch]] = execute("SELECT last_value FROM cachelayer_epoch")
        epochs.add(epoch)
    assert len(epochs) == 2
