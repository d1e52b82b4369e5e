"""A project's own tests, by every runner: with nothing configured they are as green as without.

The suite is the one that the project of the how-to guides would write: it reads and writes cached
models, in transactions that never commit and in those that do.
"""

from importlib.metadata import packages_distributions

import pytest
from redis import Redis

from itemsite.tests.test_adoption import project

pytestmark = pytest.mark.timeout(300)
__all__ = ["project"]

SUITE = """
import json
import time
import cachelayer
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from shop.models import Author, Book


class Shown:
    def show(self, book):
        answer = self.client.get(f"/books/{book.pk}")
        self.outcome = answer.headers.get("X-Cache")
        return json.loads(answer.content)["title"] if answer.status_code == 200 else None


class InATransaction(Shown, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.book = Book.objects.create(title="Emma", author=Author.objects.create(name="Jane"))

    def test_a_read_sees_what_the_test_has_written(self):
        self.assertEqual(self.show(self.book), "Emma")
        self.book.title = "Persuasion"
        self.book.save()
        self.assertEqual(self.show(self.book), "Persuasion")
        Book.objects.filter(pk=self.book.pk).update(title="Sanditon")
        self.assertEqual(self.show(self.book), "Sanditon")
        self.assertEqual(json.loads(cachelayer.read(Book, self.book.pk).row)["title"], "Sanditon")

    def test_each_test_begins_with_what_was_set_up(self):
        self.assertEqual(self.show(self.book), "Emma")

    def test_a_savepoint_that_is_rolled_back_leaves_nothing(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Book.objects.filter(pk=self.book.pk).update(title="Sanditon")
            1 / 0
        self.assertEqual(self.show(self.book), "Emma")

    def test_hooks_run_when_they_are_captured(self):
        ran = []
        with self.captureOnCommitCallbacks(execute=True):
            self.book.title = "Persuasion"
            self.book.save()
            transaction.on_commit(lambda: ran.append(self.show(self.book)))
        self.assertEqual(ran, ["Persuasion"])
        self.assertEqual(self.show(self.book), "Persuasion")

    def test_a_row_that_is_deleted_is_gone(self):
        self.book.delete()
        self.assertIsNone(self.show(self.book))


class AnotherInATransaction(InATransaction):
    pass


class WithCommits(Shown, TransactionTestCase):
    reset_sequences = True  # So each test, and each process, has the same keys.

    def setUp(self):
        self.book = Book.objects.create(title="Emma", author=Author.objects.create(name="Jane"))

    def test_a_read_is_a_hit_and_follows_each_write(self):
        deadline = time.monotonic() + 20
        self.assertEqual(self.show(self.book), "Emma")
        while self.outcome != "HIT" and time.monotonic() < deadline:
            time.sleep(0.05)
            self.assertEqual(self.show(self.book), "Emma")
        self.assertEqual(self.outcome, "HIT")
        for title in ("Persuasion", "Sanditon"):
            self.book.title = title
            self.book.save()
            self.assertEqual(self.show(self.book), title)

    def test_after_the_flush_another_row_has_the_key(self):
        self.assertEqual(self.show(self.book), "Emma")
        self.book.title = "Evelina"
        self.book.save()
        self.assertEqual(self.show(self.book), "Evelina")

    def test_a_row_of_the_test_before_is_not_there(self):
        Book.objects.all().delete()
        self.assertIsNone(self.show(self.book))


class AnotherWithCommits(WithCommits):
    pass
"""
RUNNERS = {
    "manage.py test": ["manage.py", "test"],
    "in parallel": ["manage.py", "test", "--parallel", "2"],
    "pytest-django": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "shop/tests.py"],
    "pytest-xdist": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "shop/tests.py"],
}


def keys(redis):
    return {key: redis.get(key) for key in redis.scan_iter("book:*")}


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_suite_is_green_and_leaves_development_alone(project, runner):
    if runner == "pytest-xdist" and "pytest-xdist" not in packages_distributions().get("xdist", []):
        pytest.skip("pytest-xdist is not installed")
    (project.folder / "shop" / "tests.py").write_text(SUITE)
    pk = project.script("""
book = Book.objects.create(title="of development", author=Author.objects.create(name="Jane"))
print(json.dumps(book.pk))
""")
    with Redis(port=project.redis.port) as redis:
        before = keys(redis)
        assert b"of development" in before[f"book:{pk}".encode()]
        project.run(*RUNNERS[runner])
        assert keys(redis) == before
    assert project.script(f"print(cachelayer.read(Book, {pk}).row.decode())")["id"] == pk
