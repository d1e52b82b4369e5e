"""What a project without any extra has of the cache layer, by Django's own test runner."""

import json
import pkgutil
import re
from importlib import import_module
from importlib.metadata import distribution, requires
from importlib.util import find_spec
from io import StringIO

import psycopg
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import TransactionTestCase

import cachelayer

from .models import Book

SPEC = "cachelayer.spec"
OF_AN_EXTRA = {
    "cachelayer.checks.views",
    "cachelayer.contrib.asgi",
    "cachelayer.contrib.hits",
    "cachelayer.contrib.metrics_page",
    "cachelayer.contrib.openapi",
    "cachelayer.contrib.public_routes",
    "cachelayer.contrib.rest",
    "cachelayer.contrib.wsgi",
    "cachelayer.management.stats_screen",
    "cachelayer.representation.serializer_context",
    "cachelayer.rest",
    "cachelayer.telemetry.buffered_metrics",
    "cachelayer.telemetry.opentelemetry",
    "cachelayer.telemetry.prometheus",
    "cachelayer.urls",
    "cachelayer.wsgi",
}


def said_by(command, *arguments, **options):
    out = StringIO()
    call_command(command, *arguments, stdout=out, **options)
    return out.getvalue()


def title(pk):
    """How it was read, and the title."""
    found = cachelayer.read(Book, pk)
    return found.outcome, found.row and json.loads(found.row)["title"]


class Followed(TransactionTestCase):
    """Django empties the tables after each test: what that logs is repaired before the next."""

    def setUp(self):
        call_command("cache_repair", "--once", stdout=StringIO())


class WithoutExtras(Followed):
    def test_no_extra_is_installed(self):
        """Else nothing here would prove anything."""
        extras = [line for line in requires("cachelayer") if "extra ==" in line]
        names = {re.match(r"[\w-]+", line)[0] for line in extras} - {"cachelayer"}
        self.assertGreaterEqual(len(names), 5)
        self.assertEqual([name for name in names if is_installed(name)], [])
        for module in ("rest_framework", "prometheus_client", "opentelemetry", "rich"):
            self.assertIsNone(find_spec(module))

    def test_only_modules_of_an_extra_ask_for_it(self):
        found = pkgutil.walk_packages(cachelayer.__path__, "cachelayer.", onerror=lambda name: None)
        names = [each.name for each in found]
        names = [name for name in names if not name.startswith(("cachelayer.tests", SPEC))]
        self.assertGreater(len(names), 100)
        self.assertEqual({name for name in names if not can_be_imported(name)}, OF_AN_EXTRA)

    def test_a_part_of_an_extra_says_what_to_install(self):
        for module in ("cachelayer.contrib.rest", "cachelayer.contrib.wsgi", "cachelayer.urls"):
            with self.assertRaisesRegex(ImportError, r'pip install "cachelayer\[rest\]"'):
                import_module(module)
        with self.assertRaisesRegex(ImportError, r"cachelayer\[rest\]"):
            cachelayer.register(Book, lambda book: {}, depends_on=[], prefix="other", pages=True)


class Reads(Followed):
    def setUp(self):
        super().setUp()
        self.pk = Book.objects.create(title="one").pk

    def test_a_row_that_was_created_is_a_hit(self):
        self.assertEqual(title(self.pk), ("hit", "one"))

    def test_a_row_that_was_saved_is_a_hit(self):
        book = Book.objects.get(pk=self.pk)
        book.title = "two"
        book.save()
        self.assertEqual(title(self.pk), ("hit", "two"))

    def test_update_is_followed(self):
        Book.objects.filter(pk=self.pk).update(title="two")
        self.assertEqual(title(self.pk), ("hit", "two"))

    def test_raw_sql_is_followed(self):
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE core_project_book SET title = 'two' WHERE id = {self.pk}")
        self.assertEqual(title(self.pk), ("hit", "two"))

    def test_a_rollback_leaves_the_row_as_it_was(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Book.objects.filter(pk=self.pk).update(title="two")
            raise ZeroDivisionError
        self.assertEqual(title(self.pk)[1], "one")

    def test_a_row_that_was_deleted_is_gone(self):
        Book.objects.all().delete()
        self.assertIsNone(title(self.pk)[1])

    def test_sql_of_another_program_is_followed(self):
        parameters = connection.get_connection_params()
        names = ("dbname", "user", "password", "host", "port")
        with psycopg.connect(
            **{name: parameters[name] for name in names if name in parameters}, autocommit=True
        ) as other:
            other.execute("UPDATE core_project_book SET title = 'two'")
        call_command("cache_repair", "--once", stdout=StringIO())
        self.assertEqual(title(self.pk)[1], "two")


class Commands(Followed):
    def setUp(self):
        super().setUp()
        call_command("cache_clear", "--yes", stdout=StringIO())
        Book.objects.bulk_create(Book(title=name) for name in "abc")

    def test_check_finds_nothing(self):
        said_by("check", databases=["default"], fail_level="WARNING")

    def test_clear_warm_and_verify(self):
        said_by("cache_clear", "--yes")
        self.assertIn("book: 3 rows, 3 filled.", said_by("cache_warm"))
        pk = Book.objects.first().pk
        self.assertEqual(title(pk), ("hit", "a"))
        self.assertIn("Compared 3 cached rows: 0 differences.", said_by("cache_verify"))
        self.assertIn("3", said_by("cache_clear", "--yes"))
        self.assertEqual(title(pk), ("miss", "a"))

    def test_stats_as_lines_and_as_json(self):
        self.assertRegex(said_by("cache_stats"), r"(?m)^cached_items +3$")
        self.assertEqual(json.loads(said_by("cache_stats", "--json"))["cached_items"], 3)

    def test_settings_are_plain_lines(self):
        self.assertIn("REQUEST_BUDGET  10.0  0.06  how long", said_by("cache_settings"))


class Admin(Followed):
    def setUp(self):
        super().setUp()
        self.client.force_login(User.objects.create_superuser("admin"))
        self.book = Book.objects.create(title="Emma")

    def test_the_cache_page_opens_and_explains_a_key(self):
        answer = self.client.get("/admin/cachelayer/cache/", {"key": f"book:{self.book.pk}"})
        self.assertEqual(answer.status_code, 200)
        self.assertContains(answer, "The cached bytes match the database row.")

    def test_the_panel_of_a_row_opens(self):
        answer = self.client.get(f"/admin/core_project/book/{self.book.pk}/change/")
        self.assertContains(answer, "the same bytes as the database row")


def is_installed(name):
    try:
        distribution(name)
    except ImportError:
        return False
    return True


def can_be_imported(name):
    try:
        import_module(name)
    except ImportError:
        return False
    return True
