"""A schema for each tenant: nobody reads another's rows, and every write is followed."""

import os
import subprocess
import sys
from contextlib import contextmanager

import orjson
import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction

import cachelayer
from cachelayer.checks import configuration
from cachelayer.exceptions import CacheUnavailable
from cachelayer.models import Repair
from cachelayer.operations import clear
from cachelayer.protocol import reconcile, signs_of_life, statement_listener, watchdog
from cachelayer.redis import epoch, transport
from cachelayer.representation import registry, tenancy
from cachelayer.tests.bookshop.models import Author, Note
from cachelayer.tests.commands import environment_here
from cachelayer.tests.interleaving import start
from cachelayer.tests.postgres_version import needs
from cachelayer.tests.truth import hit, logged, outside, repaired, told
from cachelayer.tracking import triggers

#: A tenant is a session's search_path.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("quick", "past_pgbouncer"),
]

ID = "550e8400-e29b-41d4-a716-446655440001"


def schema_of(using):
    """The callable that a project names."""
    return using.__dict__.get("bookshop_schema", "")


@contextmanager
def at(name):
    """This thread's connection at a tenant, as a middleware would set it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {name}, public" if name else "RESET search_path")
    connection.bookshop_schema = name
    try:
        yield
    finally:
        connection.bookshop_schema = ""
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")


@pytest.fixture
def schemas():
    """Two schemas with a table of notes, as ``migrate`` has made it."""
    names = ("tenant_a", "tenant_b")
    with outside() as other:
        for name in names:
            other.execute(f"CREATE SCHEMA {name}")
            other.execute(
                f"CREATE TABLE {name}.bookshop_note (LIKE public.bookshop_note INCLUDING ALL)"
            )
    yield names
    with outside() as other:
        for name in names:
            other.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def tenants(schemas, settings):
    settings.CACHELAYER = {"TENANT": "cachelayer.tests.test_tenancy.schema_of"}
    for name in schemas:
        with at(name):
            triggers.install("default")
    Repair.objects.all().delete()  # Of rows that were written before there were triggers.
    tenancy.forget()
    for stars, name in enumerate(schemas):
        with at(name):
            Note.objects.create(pk=ID, text=name, stars=stars)
    return schemas


def text():
    return orjson.loads(cachelayer.read(Note, ID).row)["text"]


def test_a_search_path_that_was_set_by_hand_is_read_past_the_cache(schemas, caplog):
    needs(18, "The report of the search_path")
    Note.objects.create(pk=ID, text="public")
    assert text() == "public"
    with outside() as other:
        other.execute("INSERT INTO tenant_b.bookshop_note SELECT * FROM public.bookshop_note")
        other.execute("UPDATE tenant_b.bookshop_note SET text = 'tenant_b'")
    with connection.cursor() as cursor:
        cursor.execute("SET search_path TO tenant_b, public")
        try:
            for _ in range(2):
                assert cachelayer.read(Note, ID).outcome == "bypass"
                assert text() == "tenant_b"
            [found] = cachelayer.rows(Note, [ID])
            assert orjson.loads(found)["text"] == "tenant_b"
        finally:
            cursor.execute("RESET search_path")
    [line] = [each for each in caplog.messages if "search_path" in each]
    assert "tenant_b, public" in line
    assert "TENANT" in line
    assert cachelayer.read(Note, ID).outcome == "hit"
    assert text() == "public"


def test_each_tenant_has_rows_of_its_own(tenants):
    for name in tenants:
        with at(name):
            hit(Note, ID)
            assert text() == name
            assert transport.client().exists(f"{name}/note:{ID}")
    assert cachelayer.read(Note, ID).row is None


def test_a_write_in_one_is_seen_there_and_nowhere_else(tenants):
    with at("tenant_b"):
        Note.objects.update(text="changed")
        assert cachelayer.read(Note, ID).outcome == "hit"
        assert text() == "changed"
    with at("tenant_a"):
        assert cachelayer.read(Note, ID).outcome == "hit"
        assert text() == "tenant_a"


@pytest.mark.parametrize(
    "sql", ["UPDATE tenant_b.bookshop_note SET text = 'psql'", "TRUNCATE tenant_b.bookshop_note"]
)
def test_sql_of_another_program_names_the_tenant(tenants, sql):
    with outside() as other:
        other.execute(sql)
    [key] = logged()
    assert key.startswith("tenant_b/note:")
    repaired(key)
    with at("tenant_b"):
        told(Note, ID)
    with at("tenant_a"):
        assert cachelayer.read(Note, ID).outcome == "hit"


def test_a_transaction_that_goes_from_one_to_another(tenants):
    with transaction.atomic():
        with at("tenant_a"):
            Note.objects.filter(pk=ID).update(text="a, changed")
            Note.objects.filter(pk=ID).update(stars=5)
        with at("tenant_b"):
            Note.objects.filter(pk=ID).update(text="b, changed")
            assert text() == "b, changed"
    for name, expected in [("tenant_a", "a, changed"), ("tenant_b", "b, changed")]:
        with at(name):
            assert told(Note, ID)["text"] == expected


def test_tables_that_they_share_have_plain_keys(tenants):
    author = Author.objects.create(name="shared")
    cached = registry.make(Author, lambda instance: {"name": instance.name})
    registry.add(cached)
    statement_listener._cached_tables.cache_clear()
    try:
        triggers.install("default")
        with at("tenant_a"):
            triggers.install("default")
            assert cached.key(author.pk) == f"author:{author.pk}"
            Author.objects.update(name="by a")
        with at("tenant_b"):
            assert told(Author, author.pk) == {"name": "by a"}
    finally:
        del registry._registered[Author]
        statement_listener._cached_tables.cache_clear()
        triggers.install("default")


def test_a_tenant_whose_tables_have_no_triggers_is_read_past_the_cache(tenants):
    with outside() as other:
        other.execute("CREATE SCHEMA tenant_c")
        other.execute("CREATE TABLE tenant_c.bookshop_note (LIKE public.bookshop_note)")
        try:
            with at("tenant_c"):
                Note.objects.create(pk=ID, text="c")
                for _ in range(2):
                    assert cachelayer.read(Note, ID).outcome == "bypass"
                assert [orjson.loads(row)["text"] for row in cachelayer.rows(Note, [ID])] == ["c"]
                assert cachelayer.read_many(Note, [ID])[registry.get(Note).to_python(ID)].row
                triggers.install("default")
                assert [cachelayer.read(Note, ID).outcome for _ in range(2)] == ["miss", "hit"]
        finally:
            other.execute("DROP SCHEMA tenant_c CASCADE")


@pytest.fixture
def tenant_c():
    """A tenant whose ``migrate`` is still to come."""
    with outside() as other:
        other.execute("CREATE SCHEMA tenant_c")
        yield other
        other.execute("DROP SCHEMA tenant_c CASCADE")


def test_a_table_that_no_schema_has_yet_has_no_key(tenants, tenant_c):
    """Under a plain key tenants would share what ``migrate`` makes."""
    with outside() as other:
        other.execute("ALTER TABLE public.bookshop_note RENAME TO not_there")
    try:
        tenancy.forget()
        with at("tenant_c"):
            with pytest.raises(CacheUnavailable, match="does not exist"):
                registry.get(Note).key(ID)
            tenant_c.execute(
                "CREATE TABLE tenant_c.bookshop_note (LIKE public.not_there INCLUDING ALL)"
            )
            triggers.install("default")
            Note.objects.create(pk=ID, text="c")
            assert cachelayer.read(Note, ID).outcome == "hit"
            assert text() == "c"
    finally:
        with outside() as other:
            other.execute("ALTER TABLE public.not_there RENAME TO bookshop_note")


def test_triggers_that_a_tenant_loses_are_missed_within_a_second(tenants):
    with at("tenant_a"):
        hit(Note, ID)
        with outside() as other:
            other.execute(
                "DROP TRIGGER cachelayer_update ON tenant_a.bookshop_note;"
                "UPDATE tenant_a.bookshop_note SET text = 'unseen'"
            )
        start(watchdog.check).result()
        assert cachelayer.read(Note, ID).outcome == "bypass"
        assert text() == "unseen"
    with at("tenant_b"):
        assert cachelayer.read(Note, ID).outcome == "hit"


def test_an_install_for_one_leaves_the_others_triggers(tenants):
    with at("tenant_a"):
        triggers.install("default")
    assert triggers.problems(connection) == [], "a table of the same name that it hides"
    triggers.install("default")
    with at("tenant_b"):
        assert triggers.problems(connection) == []


def test_a_sweep_and_a_clear_take_all_tenants(tenants):
    assert sum(clear.clear_all()) == 2
    for name in tenants:
        with at(name):
            hit(Note, ID)
    trusted = f"trusted {epoch.known()}"
    reconcile._sweep(trusted, signs_of_life.Signs({None: trusted}))
    assert transport.client().keys("*note:*") == []


def test_e015_a_log_for_each_tenant_is_refused(settings):
    assert configuration.check_tenants() == []
    settings.TENANT_APPS = ["cachelayer"]
    assert [problem.id for problem in configuration.check_tenants()] == ["cachelayer.E015"]


@pytest.mark.parametrize("path", ["nowhere.at_all", "cachelayer.tests.test_tenancy.nothing", "x"])
def test_e016_a_function_that_is_not_there(settings, path):
    settings.CACHELAYER = {"TENANT": path}
    assert [problem.id for problem in configuration.check_tenants()] == ["cachelayer.E016"]


DJANGO_TENANTS = """
import django
from django.conf import settings
{configure}
django.setup()
from django.core.management import call_command
from django.db import connection, models, transaction
from django_tenants.utils import schema_context, get_tenant_model, get_tenant_domain_model
import cachelayer
from cachelayer.redis.gate import Mode, gate
import time, uuid
from project.shop.models import Thing

call_command("migrate_schemas", verbosity=0)
Tenant = get_tenant_model()
for name in ("red", "blue"):
    Tenant(schema_name=name, name=name).save(verbosity=0)
read = lambda: cachelayer.read(Thing, 1)
for name in ("red", "blue"):
    with schema_context(name):
        Thing.objects.create(pk=1, name=name)
gate.settle("until it is reconciled")
while gate.mode is not Mode.CLOSED:
    time.sleep(0.05)
for name in ("red", "blue", "red", "blue"):
    with schema_context(name):
        read()
        found = read()
        print(name, found.outcome, found.row.decode())
with schema_context("red"):
    Thing.objects.update(name="red, changed")
    print("red", read().outcome, read().row.decode())
with schema_context("blue"):
    print("blue", read().outcome, read().row.decode())
"""

CONFIGURE = """
settings.configure(
    SECRET_KEY="x", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django_tenants", "cachelayer", "project.customers",
                    "django.contrib.contenttypes", "project.shop"],
    SHARED_APPS=["django_tenants", "cachelayer", "project.customers",
                 "django.contrib.contenttypes"],
    TENANT_APPS=["project.shop"],
    TENANT_MODEL="customers.Tenant", TENANT_DOMAIN_MODEL="customers.Domain",
    DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
    DATABASES={"default": {**PARAMETERS, "ENGINE": "django_tenants.postgresql_backend"}},
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS,
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5}}},
    CACHELAYER={"REQUEST_BUDGET": 20.0, "NAMESPACE": "tenants"},
)
"""

FILES = {
    "customers/models.py": """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

class Tenant(TenantMixin):
    name = models.CharField(max_length=9)
    auto_create_schema = True

class Domain(DomainMixin):
    pass
""",
    "shop/models.py": """
from django.db import models

class Thing(models.Model):
    name = models.CharField(max_length=30)
""",
    "shop/apps.py": """
from django.apps import AppConfig

class ShopConfig(AppConfig):
    name = "project.shop"

    def ready(self):
        import cachelayer
        from project.shop.models import Thing
        cachelayer.register(Thing, lambda thing: {"name": thing.name})
""",
}


@pytest.fixture
def project(tmp_path):
    """A project on django-tenants, in a database of its own."""
    pytest.importorskip("django_tenants", reason="not under every Django of ./lab versions")
    for path, text in FILES.items():
        file = tmp_path / "project" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for folder in ("project", "project/customers", "project/shop"):
        (tmp_path / folder / "__init__.py").touch()
    parameters = {
        key: connection.settings_dict[key] for key in ("USER", "PASSWORD", "HOST", "PORT")
    }
    with outside() as other:
        other.execute("CREATE DATABASE of_tenants")
    location = django_settings.CACHES["default"]["LOCATION"]
    configure = CONFIGURE.replace("PARAMETERS", repr({**parameters, "NAME": "of_tenants"}))
    configure = configure.replace("REDIS", repr(location))
    environment = {
        **environment_here(),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(django_settings.BASE_DIR)]),
    }
    del environment["DJANGO_SETTINGS_MODULE"]

    def run(program):
        return subprocess.run(
            [sys.executable, "-c", program.replace("{configure}", configure)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )

    made = run(
        "import django\nfrom django.conf import settings\n{configure}\ndjango.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('makemigrations', 'customers', 'shop', verbosity=0)"
    )
    assert made.returncode == 0, made.stderr
    yield run
    with outside() as other:
        other.execute("DROP DATABASE of_tenants WITH (FORCE)")


def test_with_django_tenants_there_is_nothing_to_configure(project):
    done = project(DJANGO_TENANTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'red hit {"name":"red"}',
        'blue hit {"name":"blue"}',
        'red hit {"name":"red"}',
        'blue hit {"name":"blue"}',
        'red hit {"name":"red, changed"}',
        'blue hit {"name":"blue"}',
    ]
