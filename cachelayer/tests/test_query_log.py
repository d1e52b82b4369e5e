"""A project's tests see the queries that they see without the layer (linkding, healthchecks)."""

import logging
import re

import django
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.test.utils import CaptureQueriesContext

import cachelayer
from cachelayer.tests.bookshop.models import Film, Note, Tag
from cachelayer.tests.fresh import empty_redis
from cachelayer.tests.sent import heads, sent


def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def save_twice():
    note = Note.objects.create(stars=1)
    note.save()


def in_bulk():
    Note.objects.bulk_create([Note() for _ in range(5)])
    Note.objects.update(stars=2)


def link():
    Film.objects.create(title="F").tags.add(Tag.objects.create(name="T"))


def several():
    with transaction.atomic():
        for _ in range(3):
            save_twice()


def refused():
    note = Note.objects.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        Note.objects.create(pk=note.pk)


def by_sql():
    run("INSERT INTO bookshop_note SELECT * FROM bookshop_note")
    with transaction.atomic():
        run("UPDATE bookshop_note SET stars = 3 /* the project's own */")


WAYS = [save_twice, in_bulk, link, several, refused, by_sql]


def queries_of(way):
    with CaptureQueriesContext(connection) as queries:
        way()
    return [_without_values(query["sql"]) for query in queries]


def _without_values(sql):
    # Keys, moments and the names of savepoints are others each time.
    return re.split(r' VALUES | SELECT \* FROM UNNEST| SET | WHERE |(?<=SAVEPOINT )"', sql)[0]


def without_the_layer(way):
    with override_settings(CACHELAYER={"ENABLED": False}):
        return queries_of(way)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
def test_committed_writes_are_noted_as_without_the_layer(way):
    assert queries_of(way) == without_the_layer(way)


@pytest.mark.django_db
@pytest.mark.parametrize("way", WAYS)
def test_writes_in_a_test_that_is_rolled_back_are_noted_as_without_the_layer(way):
    assert queries_of(way) == without_the_layer(way)


@pytest.mark.django_db(transaction=True)
def test_the_text_is_the_projects_own():
    note = Note.objects.create()
    with CaptureQueriesContext(connection) as queries:
        Note.objects.filter(pk=note.pk).update(stars=2)
    [query] = queries
    assert query["sql"].startswith('UPDATE "bookshop_note" SET "stars" = 2 WHERE ')
    assert query["sql"].endswith(f"'{note.pk.hex}'::uuid")


@pytest.mark.django_db(transaction=True)
def test_what_is_sent_all_the_same_is_in_the_logger(caplog):
    note = Note.objects.create()
    with (
        caplog.at_level(logging.DEBUG, "django.db.backends"),
        CaptureQueriesContext(connection) as queries,
        sent() as texts,
    ):
        note.save()
    assert len(queries) == 1
    assert heads(texts, 2) == ["BEGIN; UPDATE", "COMMIT"]
    assert "COMMIT" in [record.getMessage().split()[1].rstrip(";") for record in caplog.records]


@pytest.mark.django_db(transaction=True)
def test_a_read_is_the_projects_own():
    note = Note.objects.create()
    empty_redis()
    with CaptureQueriesContext(connection) as queries:
        assert cachelayer.read(Note, note.pk).outcome == "miss"
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
def test_a_log_that_is_full_goes_on(settings):
    settings.DEBUG = True
    for _ in range(connection.queries_limit + 10):
        connection.queries_log.append({"sql": "", "time": "0"})
    Note.objects.create()
    assert len(connection.queries_log) == connection.queries_limit
    assert connection.queries_log[-1]["sql"].startswith('INSERT INTO "bookshop_note"')
    connection.queries_log.clear()
    assert connection.queries_log.maxlen == connection.queries_limit


class Rolled(TestCase):
    def test_num_queries(self):
        with self.assertNumQueries(1):
            Note.objects.create()


class Committed(TransactionTestCase):
    def test_num_queries(self):
        with self.assertNumQueries(1):
            Note.objects.create()
        # With Django's own BEGIN and COMMIT; from 6.0 on it sends none for one statement.
        with self.assertNumQueries(3 if django.VERSION < (6, 0) else 1):
            Note.objects.bulk_create([Note() for _ in range(5)])
