"""Models and serializers that a project may have: none fails a write, none is cached wrongly."""

import datetime
import json
import logging
from contextlib import nullcontext
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models.expressions import RawSQL
from django.test.utils import isolate_apps
from rest_framework import serializers

import cachelayer
from cachelayer.redis import transport
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import (
    AReplyWhoseModelHasALongNameIndeed,
    Author,
    Book,
    Note,
    Publisher,
)
from cachelayer.tests.bookshop.serializers import LongNameSerializer
from cachelayer.tests.truth import hit, logged, registered, told

pytestmark = pytest.mark.django_db(transaction=True)


class LinkedPublisher(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Publisher
        fields = ["url", "name"]


class AskingPublisher(serializers.ModelSerializer):
    mine = serializers.SerializerMethodField()

    class Meta:
        model = Publisher
        fields = ["id", "name", "mine"]

    def get_mine(self, publisher):
        return self.context["request"].user.pk == publisher.pk


def raises(instance):
    raise RuntimeError(f"no {instance.name}")


def gives_a_list(instance):
    return [instance.name]


def gives_what_is_no_json(instance):
    return {"id": instance.pk, "name": object()}


def sends_wrong_sql(instance):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1/0")


def sends_wrong_sql_and_catches(instance):
    try:
        sends_wrong_sql(instance)
    except Exception:
        return {"id": instance.pk, "name": Publisher.objects.get(pk=instance.pk).name}


UNFIT = [
    LinkedPublisher,
    AskingPublisher,
    raises,
    gives_a_list,
    gives_what_is_no_json,
    sends_wrong_sql,
    sends_wrong_sql_and_catches,
]


@pytest.mark.parametrize("serializer", UNFIT)
@pytest.mark.parametrize("within", ["autocommit", "atomic"])
def test_a_serializer_that_cannot_render_a_row_never_fails_its_write(
    serializer, within, caplog, settings
):
    """The row is committed and not cached; an error in the log names the model and serializer."""
    settings.CACHELAYER = {**settings.CACHELAYER, "RECORDER": "off"}  # As in production.

    def write():
        publisher.name = "new"
        publisher.save()
        Publisher.objects.bulk_create([Publisher(name="another"), Publisher(name="more")])
        Publisher.objects.filter(name="more").update(name="most")

    with registered(Publisher, serializer), caplog.at_level(logging.ERROR, "cachelayer"):
        publisher = Publisher.objects.create(name="old")
        if within == "atomic":
            with transaction.atomic():
                write()
        else:
            write()
        assert sorted(Publisher.objects.values_list("name", flat=True)) == [
            "another", "most", "new",
        ]  # fmt: skip
        held = transport.client().mget(
            f"publisher:{pk}" for pk in Publisher.objects.values_list("pk", flat=True)
        )
        assert held == [None] * 3
    assert any(
        serializer.__name__ in record.getMessage() and "Publisher" in record.getMessage()
        for record in caplog.records
    )
    assert logged() == set()


class Unreadable(models.Manager):
    """Whoever asks for a row of its is refused by the database, as by a policy or a time limit."""

    def get_queryset(self):
        return super().get_queryset().annotate(no=RawSQL("1 / (length(name) - 3)", []))


@pytest.mark.parametrize("in_one_text", [True, False])
@pytest.mark.parametrize("within", ["autocommit", "atomic"])
def test_a_row_that_cannot_be_read_again_never_fails_its_write(
    within, in_one_text, caplog, monkeypatch
):
    """It is committed and not cached; an error in the log names the model."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", not in_one_text)
    connection.close()
    manager = Unreadable()
    manager.model, manager.name = Publisher, "unreadable"
    with registered(Publisher, lambda found: {"name": found.name}):
        publisher, author = Publisher.objects.create(name="old!"), Author.objects.create(name="a")
        Publisher.objects.create(name="another")
        hit(Publisher, publisher.pk)
        monkeypatch.setitem(Publisher._meta.__dict__, "base_manager", manager)
        with transaction.atomic() if within == "atomic" else nullcontext():
            Author.objects.update(name="b")
            with caplog.at_level(logging.ERROR, "cachelayer"):
                Publisher.objects.update(name="new")
        held = transport.client().get(f"publisher:{publisher.pk}")
        author.refresh_from_db()
        monkeypatch.undo()
        connection.close()
        assert (held, author.name) == (None, "b")
        assert [record for record in caplog.records if "bookshop.Publisher" in record.getMessage()]
        assert told(Publisher, publisher.pk) == {"name": "new"}
    assert logged() == set()


def test_json_with_a_number_that_is_larger_than_64_bits():
    """The write does not fail, nor does the read: the bytes are those of any JSON."""
    book = Book.objects.create(title="b")
    hit(Book, book.pk)
    for number in (2**63, -(2**63) - 1, 2**64, 10**40):
        extra = {"n": number, "list": [number, [], None, {"x": -number}], "s": "é"}
        Book.objects.filter(pk=book.pk).update(extra=extra)
        told(Book, book.pk)
        read = cachelayer.read(Book, book.pk)
        assert read.outcome == "hit"
        assert json.loads(read.row)["extra"] == extra
    book.extra = {"n": 1}
    book.save()
    assert told(Book, book.pk)["extra"] == {"n": 1}
    assert logged() == set()


def test_values_at_the_edges_of_their_columns():
    note = Note.objects.create()
    for values in (
        {"price": Decimal("999999.99"), "weight": 1e308, "stars": 2**31 - 1},
        {"price": Decimal("-0.01"), "weight": 5e-324, "stars": -(2**31)},
        {"price": Decimal("0E-2"), "weight": -0.0, "text": "\x01\x7f\u2028\U0001f600\\\"'/*"},
        {"weight": float("inf")},
        {"weight": float("nan")},
        {"printed": datetime.datetime(1, 1, 2, tzinfo=datetime.UTC)},
        {"printed": datetime.datetime(9999, 12, 30, 23, 59, 59, 999999, datetime.UTC)},
        {"text": "x" * 100_000},
        {"text": ""},
    ):
        Note.objects.filter(pk=note.pk).update(**values)
        told(Note, note.pk)
        for name, value in values.items():
            setattr(note, name, value)
        note.save()
        told(Note, note.pk)


@isolate_apps("cachelayer.tests.bookshop")
def test_a_composite_primary_key_is_refused_in_a_sentence():
    class Line(models.Model):  # noqa: DJ008
        pk = models.CompositePrimaryKey("order", "number")
        order = models.IntegerField()
        number = models.IntegerField()

        class Meta:
            app_label = "bookshop"

    with pytest.raises(ImproperlyConfigured, match="composite primary key"):
        cachelayer.register(Line, dict)
    assert registry.find(Line) is None


def test_a_model_with_a_long_name():
    reply = AReplyWhoseModelHasALongNameIndeed.objects.create(text="a")
    hit(type(reply), reply.pk)
    type(reply).objects.update(text="b")
    assert told(type(reply), reply.pk)["text"] == "b"


def test_a_model_that_is_registered_twice_alike_is_registered_once():
    cachelayer.register(AReplyWhoseModelHasALongNameIndeed, LongNameSerializer)
    with pytest.raises(ImproperlyConfigured, match="too late"):
        cachelayer.register(AReplyWhoseModelHasALongNameIndeed, dict)


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username", "email", "groups"]


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ["id", "name", "permissions"]


def test_models_of_a_third_party_with_managers_of_their_own():
    """auth.User and its UserManager: nothing is patched, refused, or to be migrated."""
    with registered(User, UserSerializer), registered(Group, GroupSerializer):
        found = run_checks(databases=["default"])
        assert [each for each in found if "cachelayer.E" in (each.id or "")] == []
        call_command("makemigrations", "--check", "--dry-run", "auth", verbosity=0)
        user = User.objects.create_user("ann", "ann@example.org", "x")
        group = Group.objects.create(name="g")
        hit(User, user.pk)
        hit(Group, group.pk)
        user.groups.add(group)
        assert told(User, user.pk)["groups"] == [group.pk]
        User.objects.filter(pk=user.pk).update(email="new@example.org")
        assert told(User, user.pk)["email"] == "new@example.org"
        group.permissions.set(Permission.objects.all()[:2])
        assert len(told(Group, group.pk)["permissions"]) == 2
        group.delete()
        assert told(User, user.pk)["groups"] == []
        user.set_password("y")
        user.save()
        user.delete()
        assert told(User, user.pk) is None
        assert logged() == set()


def test_a_manager_of_the_projects_own_that_hides_rows(monkeypatch):
    """What its get_queryset() leaves out is written and read all the same."""

    class Hiding(models.Manager):
        def get_queryset(self):
            return super().get_queryset().filter(name="shown")

    with registered(Author, lambda author: {"id": author.pk, "name": author.name}):
        manager = Hiding()
        manager.model = Author
        hidden = Author.objects.create(name="hidden")
        hit(Author, hidden.pk)
        manager.update(name="never")
        Author.objects.filter(pk=hidden.pk).update(name="shown")
        assert told(Author, hidden.pk)["name"] == "shown"
        manager.update(name="hidden")
        assert told(Author, hidden.pk)["name"] == "hidden"


def test_a_write_that_fails_says_what_failed():
    """The cache never hides the database's own error."""
    Book.objects.create(isbn="1")
    with pytest.raises(IntegrityError, match="isbn"):
        Book.objects.create(isbn="1")
    assert logged() == set()
