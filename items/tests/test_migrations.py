"""The table: it can be made and unmade, and filled without the program."""

import pytest
from django.core.management import call_command
from django.db import DataError, IntegrityError, connection

import cachelayer
from items.models import Item

pytestmark = pytest.mark.django_db(transaction=True)


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_the_migrations_are_those_of_the_models():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_the_table_goes_with_the_first_migration_and_comes_back():
    call_command("migrate", "items", "zero", verbosity=0)
    try:
        assert "items" not in connection.introspection.table_names()
    finally:
        call_command("migrate", "items", verbosity=0)
    assert "items" in connection.introspection.table_names()
    assert Item.objects.count() == 0


def test_sql_needs_a_name_and_a_price_and_the_api_reads_the_row(api):
    connection.ensure_connection()
    # Past Django's cursor, as by psql.
    connection.connection.execute("INSERT INTO items (name, price) VALUES ('By hand', 4.5)")
    item = Item.objects.get()
    assert (item.name, item.description) == ("By hand", "")
    assert item.created_at == item.updated_at
    answer = api.get(f"/items/{item.pk}")
    assert answer["X-Cache"] == "MISS"
    assert answer.content == cachelayer.render(item)


@pytest.mark.parametrize("price", ["-0.01", "'NaN'", "'Infinity'", "100000000", "NULL"])
def test_the_database_too_refuses_a_price_that_is_none(price):
    with pytest.raises((IntegrityError, DataError)):
        execute(f"INSERT INTO items (name, price) VALUES ('Wrong', {price})")


def test_a_python_insert_leaves_the_defaults_to_the_database(api):
    item = Item(name="Short", price=1)
    item.save()
    assert item.description == ""
    assert api.get(f"/items/{item.pk}").json()["description"] == ""
