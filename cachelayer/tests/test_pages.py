"""Pages of lists: documents of their URL, never older than a write of any row."""

import json
import re
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import TextField
from django.db.models.functions import Cast, Now
from django.test import Client
from django.urls import path
from prometheus_client import REGISTRY
from rest_framework import generics, pagination, permissions, serializers, viewsets
from rest_framework.filters import BaseFilterBackend
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

import cachelayer
from cachelayer.checks import views as view_checks
from cachelayer.contrib.rest import CachedViewMixin, page_rules, pages
from cachelayer.exceptions import CacheUnavailable
from cachelayer.operations import clear, verify
from cachelayer.protocol import commit, drain, key_states, partition, reads, scan, stamps
from cachelayer.redis import transport
from cachelayer.redis.gate import gate
from cachelayer.representation import registry
from cachelayer.tests.bookshop.models import Novel, Person, Writer
from cachelayer.tests.bookshop.serializers import NovelCardSerializer, NovelSerializer
from cachelayer.tests.interleaving import start, stopped
from cachelayer.tests.truth import outside

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


class Cards(CachedViewMixin, viewsets.ModelViewSet):
    """Pages of plain rows."""

    queryset = Novel.objects.order_by("title")
    serializer_class: Any = NovelCardSerializer
    rows_are_public = True
    list_filters = ()
    permission_classes = [permissions.AllowAny]
    authentication_classes = []
    throttle_classes = []
    renderer_classes = [JSONRenderer]
    filter_backends = []

    class pagination_class(pagination.PageNumberPagination):  # noqa: N801
        page_size = 2


class Novels(Cards):
    """Pages of documents."""

    serializer_class = NovelSerializer


@pytest.fixture
def site(settings):
    """A site with views, by their names; what each GET answers."""

    # Where the machine is busy, six round trips take longer than a request may wait for them.
    settings.CACHELAYER = {**settings.CACHELAYER, "REQUEST_BUDGET": 10.0}

    def make(**views):
        patterns = [
            path(name, view.as_view({"get": "list", "post": "create"}))
            for name, view in views.items()
        ]
        settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": patterns})
        return Client()

    return make


@pytest.fixture
def novels():
    writer = Writer.objects.create(name="Ann")
    return [Novel.objects.create(title=title, writer=writer) for title in "ABC"]


@pytest.fixture(params=["cards", "novels"])
def get(request, site, novels):
    client = site(cards=Cards, novels=Novels)
    name = request.param

    def get(query="", **headers):
        answer = client.get(f"/{name}{query}", headers=headers)
        assert answer.status_code in (200, 304, 404), answer.content
        return answer

    get.name = name
    return get


def titles(answer):
    return [row["title"] for row in json.loads(answer.content)["results"]]


def outcome(answer):
    return answer["X-Cache"]


def test_a_page_is_a_miss_and_then_a_hit(get):
    answers = [get() for _ in range(2)]
    assert [outcome(answer) for answer in answers] == ["MISS", "HIT"]
    assert answers[0].content == answers[1].content
    assert titles(answers[0]) == ["A", "B"]
    assert outcome(get("?page=2")) == "MISS"
    assert titles(get("?page=2")) == ["C"]
    assert answers[1].data["count"] == 3


WRITES = {
    "a new row": (lambda novels: Novel.objects.create(title="AA"), ["A", "AA"]),
    "a change": (lambda novels: Novel.objects.filter(title="A").update(title="Z"), ["B", "C"]),
    "a change that moves nothing": (
        lambda novels: Novel.objects.filter(title="A").update(isbn="1"),
        ["A", "B"],
    ),
    "a row that goes": (lambda novels: novels[0].delete(), ["B", "C"]),
    "rows of elsewhere": (
        lambda novels: Novel.objects.bulk_create([Novel(title="0"), Novel(title="1")]),
        ["0", "1"],
    ),
    "all rows": (lambda novels: Novel.objects.all().delete(), []),
}


@pytest.mark.parametrize(("write", "there"), WRITES.values(), ids=WRITES)
def test_an_acknowledged_write_is_in_the_next_page(get, novels, write, there):
    get(), get()
    write(novels)
    answer = get()
    assert (titles(answer), outcome(answer)) == (there, "MISS")
    assert outcome(get()) == "HIT"
    [found] = [json.loads(row)["isbn"] for row in _rows() if json.loads(row)["title"] == "A"] or [0]
    shown = [row.get("isbn") for row in json.loads(answer.content)["results"]]
    assert found in shown or get.name == "novels" or "A" not in there


def _rows():
    return cachelayer.rows(
        Novel, Novel.objects.values_list("pk", flat=True), serializer=NovelCardSerializer
    )


def test_a_row_that_its_rows_show(get):
    get(), get()
    Person.objects.update(name="Bea")
    answer = get()
    assert outcome(answer) == "HIT", "the page has the same rows"
    if get.name == "novels":
        shown = json.loads(answer.content)["results"]
        assert {row["writer"]["name"] for row in shown} == {"Bea"}


def test_sql_from_elsewhere(get):
    get()
    with outside() as psql:
        psql.execute("INSERT INTO bookshop_novel (title) VALUES ('0')")
    drain.drain()
    assert titles(get()) == ["0", "A"]


def test_a_write_that_rolls_back(get, novels):
    get()
    with transaction.atomic():
        Novel.objects.create(title="0")
        transaction.set_rollback(True)
    assert (titles(get()), outcome(get())) == (["A", "B"], "HIT")


def test_inside_a_transaction_that_has_written(get):
    get()
    with transaction.atomic():
        Novel.objects.create(title="0")
        answer = get()
        assert (titles(answer), outcome(answer)) == (["0", "A"], "BYPASS")
        transaction.set_rollback(True)
    assert (titles(get()), outcome(get())) == (["A", "B"], "HIT")


def test_while_a_writer_is_about_to_commit(get):
    get()
    with stopped(key_states, "mark", after=True) as mark:
        writer = start(lambda: Novel.objects.create(title="0"))
        mark.reached()
        answer = get()
        assert (titles(answer), outcome(answer)) == (["A", "B"], "BYPASS")
        mark.release()
        writer.result()
    assert titles(get()) == ["0", "A"]


def test_a_write_between_the_stamp_and_the_rows(site, novels):
    """1. A filler notes the stamp. 2. A row is written, and pushed. 3. The filler takes that row
    from the cache, and fills under a stamp that is gone: the view answers in its stead."""
    client = site(cards=Cards)
    with stopped(reads, "rows_of") as rows:
        filler = start(lambda: client.get("/cards"))
        rows.reached()
        Novel.objects.filter(title="A").update(isbn="1")
        Novel.objects.create(title="0")
        rows.release()
        answer = filler.result()
        assert (titles(answer), outcome(answer)) == (["0", "A"], "BYPASS")
    answer = client.get("/cards")
    assert (titles(answer), outcome(answer)) == (["0", "A"], "MISS")


@pytest.mark.parametrize("base", [Cards, Novels])
def test_a_row_that_the_view_hides_is_never_on_its_page(site, novels, base):
    """1. A filler asks for the keys. 2. A row is taken out of what the view shows, and gets a
    secret. 3. The filler takes it from the cache, as it is now."""
    Novel.objects.update(isbn=None)
    view = type("Mine", (base,), {"queryset": Novel.objects.filter(isbn=None).order_by("title")})
    client = site(cards=view)
    for _ in range(2):  # As a miss, and where the page is there and its documents are not.
        with stopped(reads, "rows_of") as rows:
            filler = start(lambda: client.get("/cards"))
            rows.reached()
            Novel.objects.filter(title="A").update(isbn="secret", title="secret")
            rows.release()
            answer = filler.result()
        assert (titles(answer), outcome(answer)) == (["B", "C"], "BYPASS")
        Novel.objects.filter(title="secret").update(isbn=None, title="A")
        if base is Cards:
            break  # A hit has all of it.
        assert titles(client.get("/cards")) == ["A", "B"]


def each_alone(iterable):
    return ((each,) for each in iterable)


def test_rows_are_repaired_before_stamps(site, novels, monkeypatch):
    """1. psql writes a row; its keys are in the log. 2. The stamp is repaired. 3. A page is made,
    of the old row. 4. The row is repaired: the page would stay."""
    client = site(cards=Cards)
    client.get("/cards")
    with outside() as psql:
        psql.execute("UPDATE bookshop_novel SET isbn = '9' WHERE title = 'A'")
    monkeypatch.setattr(drain, "batched", each_alone)
    original, repaired = key_states.repair, []

    def repair_and_read(keys, reconciled):
        original(keys, reconciled)
        repaired.extend(keys)
        client.get("/cards")

    monkeypatch.setattr(key_states, "repair", repair_and_read)
    drain.drain()
    signs = [key[0] for key in repaired]
    assert len(signs) > 3
    assert signs == sorted(signs, reverse=True), "rows first"
    [isbn, _] = [row["isbn"] for row in json.loads(client.get("/cards").content)["results"]]
    assert isbn == "9"


def test_a_writer_whose_marks_took_in_part_logs_all_of_its_keys(site, novels, monkeypatch):
    """1. The stamp is marked, the row is not. 2. The row alone is logged; COMMIT. 3. The stamp is
    released, a page is made of the old row. 4. The row is repaired: the page would stay."""
    client = site(cards=Cards)
    client.get("/cards")
    original = key_states.mark

    def mark(keys, token):
        if keys[0].startswith("@"):
            return original(keys, token)
        raise CacheUnavailable("It does not answer.")

    monkeypatch.setattr(commit, "batched", each_alone)
    monkeypatch.setattr(key_states, "mark", mark)
    # Only the connection of the marks has failed.
    monkeypatch.setattr(gate, "open", lambda error: None)
    monkeypatch.setattr(commit, "Commit", _StampsFirst)
    with transaction.atomic():
        Novel.objects.filter(title="A").update(isbn="9")
    client.get("/cards")
    drain.drain()
    [isbn, _] = [row["isbn"] for row in json.loads(client.get("/cards").content)["results"]]
    assert isbn == "9"


class _StampsFirst(commit.Commit):
    def __init__(self, rows, *args):
        super().__init__(dict(sorted(rows.items())), *args)


def test_a_table_is_swept_before_its_stamps_are_released(site, novels):
    """1. A statement that names no row commits. 2. The stamp is released. 3. A page is made of rows
    that are not swept yet: it would stay."""
    client = site(cards=Cards)
    client.get("/cards")
    order = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("repair", "release"):
            original = getattr(key_states, name)

            def noted(keys, *args, name=name, original=original):
                order.append(name)
                return original(keys, *args)

            patch.setattr(key_states, name, noted)
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE bookshop_novel CASCADE")
    assert order[-1] == "release"
    assert "repair" in order
    assert titles(client.get("/cards")) == []


def test_the_rows_are_read_after_the_stamp_is_noted(site, novels, monkeypatch):
    order = []
    for owner, name in ((stamps, "note"), (reads, "rows_of")):
        original = getattr(owner, name)

        def noted(*args, name=name, original=original, **options):
            order.append(name)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, noted)
    site(cards=Cards).get("/cards")
    assert order == ["note", "rows_of"]


def test_a_row_of_another_server_is_on_no_page(site, novels, monkeypatch):
    """1. A filler has lease and stamp of the server that is believed. 2. Its connection is led to
    an old primary, which has the row of before. 3. It fills on the first one: that would stay."""
    client = site(cards=Cards)
    key = f"{registry.get(Novel, NovelCardSerializer).prefix}:{novels[0].pk}"
    transport.client().set(
        key, cachelayer.render(novels[0], NovelCardSerializer).replace(b"A", b"old")
    )
    original = key_states.get_verified
    monkeypatch.setattr(key_states, "get_verified", lambda keys: (original(keys)[0], "of before"))
    assert titles(client.get("/cards")) == ["A", "B"]
    assert (titles(client.get("/cards")), outcome(client.get("/cards"))) == (["A", "B"], "HIT")


def test_a_row_that_is_deleted_while_the_page_is_made(site, novels):
    client = site(cards=Cards)
    with stopped(reads, "rows_of") as rows:
        filler = start(lambda: client.get("/cards"))
        rows.reached()
        novels[0].delete()
        rows.release()
        assert titles(filler.result()) == ["B", "C"]
    assert titles(client.get("/cards")) == ["B", "C"]


def test_strict_pages_are_hits_and_right(site, novels, settings):
    settings.CACHELAYER = {**settings.CACHELAYER, "PARTITION": "strict"}
    client = site(cards=Cards)
    partition.trust.ask_again()
    client.get("/cards")
    Novel.objects.create(title="0")
    assert titles(client.get("/cards")) == ["0", "A"]


def test_without_redis(get, own_redis):
    own_redis.stop()
    answer = get()
    assert (titles(answer), outcome(answer)) == (["A", "B"], "BYPASS")


def test_a_hit_costs_one_round_trip_and_no_query(
    site, novels, round_trips, django_assert_num_queries
):
    client = site(cards=Cards)
    client.get("/cards")
    round_trips.clear()
    with django_assert_num_queries(0):
        assert outcome(client.get("/cards")) == "HIT"
    assert len(round_trips) == 1


def test_a_page_of_changed_rows_is_made_by_one_query_for_its_keys(
    site, novels, django_assert_num_queries
):
    client = site(cards=Cards)
    client.get("/cards")
    Novel.objects.filter(title="A").update(isbn="1")
    with django_assert_num_queries(2):  # And one for the count.
        client.get("/cards")


def test_conditional_requests(get):
    tag = get()["ETag"]
    answer = get("", **{"if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    Novel.objects.create(title="0")
    assert get("", **{"if-none-match": tag}).status_code == 200


def test_reads_of_pages_are_counted(get):
    def counted(outcome):
        labels = {"kind": "page", "outcome": outcome}
        return REGISTRY.get_sample_value("cachelayer_reads_total", labels)

    before = [counted(outcome) for outcome in ("miss", "hit", "bypass")]
    get(), get(), get()
    after = [counted(outcome) for outcome in ("miss", "hit", "bypass")]
    assert after == [before[0] + 1, before[1] + 2, before[2]]


def test_they_are_verified_and_cleared(get):
    get()
    *_, report = verify.verify()
    assert report.differing == 0
    prefix = pages.prefix_of(registry.get(Novel, Cards.serializer_class))
    if get.name == "novels":
        prefix = "novel.page"
    [key] = scan.keys([prefix])
    assert outcome(get()) == "HIT"
    stored = transport.client().get(key)
    transport.client().set(key, re.sub(rb'(count\\?":)3', rb"\g<1>4", stored))
    *_, report = verify.verify()
    assert [found.key for found in report.differences] == [key]
    sum(clear.clear_all())
    assert outcome(get()) == "MISS"


def test_a_page_of_another_release_of_the_view_is_another(get, monkeypatch):
    get()
    monkeypatch.setattr(pages, "_code_of", lambda view: "another")
    assert outcome(get()) == "MISS"
    monkeypatch.undo()
    assert outcome(get()) == "HIT"
    *_, report = verify.verify()
    assert report.differing == 0, "what is another's is not compared"


@pytest.mark.parametrize("query", ["?unknown=1", "?page=1&x=2", "?page=" + "0" * 600 + "1"])
def test_what_is_not_declared_is_not_cached(get, query):
    assert [outcome(get(query)) for _ in range(2)] == ["BYPASS", "BYPASS"]


class ByTitle(BaseFilterBackend):
    same_for_anonymous = True

    def filter_queryset(self, request, queryset, view):
        title = request.query_params.get("title")
        return queryset.filter(title=title) if title else queryset


def test_filters_that_are_declared(site, novels):
    view = type("Mine", (Cards,), {"filter_backends": [ByTitle], "list_filters": ["title"]})
    client = site(cards=view)
    for wanted in ("MISS", "HIT"):
        answer = client.get("/cards?title=B")
        assert (titles(answer), outcome(answer)) == (["B"], wanted)
    Novel.objects.create(title="B")
    assert titles(client.get("/cards?title=B")) == ["B", "B"]


def test_a_filter_by_rows_that_nobody_declared_is_said_and_not_cached(site, novels, caplog):
    class ByWriter(ByTitle):
        same_for_anonymous = True

        def filter_queryset(self, request, queryset, view):
            return queryset.filter(writer__person_ptr__name=request.query_params["name"])

    view = type("Mine", (Cards,), {"filter_backends": [ByWriter], "list_filters": ["name"]})
    client = site(cards=view)
    for _ in range(2):
        answer = client.get("/cards?name=Ann")
        assert (titles(answer), outcome(answer)) == (["A", "B"], "BYPASS")
    assert "reads bookshop_person" in caplog.text


def test_a_view_that_needs_more_than_a_url_is_said_and_not_cached(site, novels, caplog):
    class BySite(ByTitle):
        same_for_anonymous = True

        def filter_queryset(self, request, queryset, view):
            return queryset.filter(title=request.META["SITE"])

    view = type("Mine", (Cards,), {"filter_backends": [BySite]})
    answer = site(cards=view).get("/cards", SITE="B")
    assert (titles(answer), outcome(answer)) == (["B"], "BYPASS")
    assert "A page of Mine could not be made from its URL alone" in caplog.text


REASONS = {
    "it does not set rows_are_public": {"rows_are_public": False},
    "it overrides get_queryset()": {"get_queryset": lambda self: Novel.objects.all()},
    "it overrides filter_queryset()": {"filter_queryset": lambda self, found: found},
    "it uses BaseFilterBackend, which may": {"filter_backends": [BaseFilterBackend]},
    "its queryset depends on the clock or on chance": {"queryset": Novel.objects.order_by("?")},
    "its queryset depends on the clock": {
        "queryset": Novel.objects.filter(title__lt=Cast(Now(), TextField()))
    },
    "Listed has a custom list serializer": {
        "serializer_class": type(
            "Listed",
            (NovelCardSerializer,),
            {
                "Meta": type(
                    "Meta",
                    (NovelCardSerializer.Meta,),
                    {"list_serializer_class": serializers.ListSerializer},
                )
            },
        )
    },
    "its queryset cannot select the keys alone": {"queryset": Novel.objects.distinct("title")},
}


@pytest.mark.parametrize(("reason", "attributes"), REASONS.items())
def test_w033_pages_that_are_never_cached(site, novels, reason, attributes):
    if "filter_backends" in attributes:
        own = {"filter_queryset": lambda self, request, found, view: found}
        attributes = {"filter_backends": [type("Own", (BaseFilterBackend,), own)]}
        reason = "it uses Own, which may depend on the user"
    view = type("Mine", (Cards,), attributes)
    assert reason in page_rules.not_listed(view())
    client = site(cards=view)
    [problem] = [each for each in view_checks.check_views() if each.id == "cachelayer.W033"]
    assert f"Mine sets list_filters, but its pages are never cached: {reason}" in problem.msg
    if "distinct" not in reason and "keys" not in reason:
        assert outcome(client.get("/cards")) == "BYPASS"


class Fewer(viewsets.ModelViewSet):
    def list(self, request, *args, **kwargs):
        return Response({"results": []})


def test_a_list_of_a_base_of_the_projects_own_is_asked(site, novels):
    base = {name: each for name, each in vars(Cards).items() if not name.startswith("_")}
    view = type("Mine", (CachedViewMixin, Fewer), base)
    assert "Fewer overrides list()" in page_rules.not_listed(view())
    answer = site(cards=view).get("/cards")
    assert (titles(answer), outcome(answer)) == ([], "BYPASS")


def test_what_as_view_is_given_counts(novels):
    assert page_rules.not_listed(Cards()) is None
    assert page_rules.not_listed(Cards(list_filters=None))
    assert page_rules.not_listed(Cards(rows_are_public=False))
    own = type("Own", (pagination.PageNumberPagination,), {"get_page_size": lambda *args: 1})
    assert "uses Own" in page_rules.not_listed(Cards(pagination_class=own))


def test_the_first_page_of_a_redis_that_knows_no_script_is_stored(get):
    """What is filled must not be looked at before: a script that Redis has forgotten comes late."""
    transport.client().script_flush()
    assert [outcome(get()) for _ in range(2)] == ["MISS", "HIT"]


def test_a_page_without_a_place_for_rows_is_said(site, novels, caplog):
    class Empty(pagination.PageNumberPagination):
        same_for_anonymous = True
        page_size = 2

        def get_paginated_response(self, data):
            return Response({"results": list(data)[:1]})

    view = type("Mine", (Cards,), {"pagination_class": Empty})
    assert outcome(site(cards=view).get("/cards")) == "BYPASS"
    assert "leave out the rows" in caplog.text


def test_a_page_whose_path_is_another_views_by_now(get, settings):
    get()
    settings.ROOT_URLCONF = type(
        "Urls", (), {"urlpatterns": [path(get.name, lambda request: None)]}
    )
    *_, report = verify.verify()
    assert report.differing == 0


def test_w033_a_registration_without_pages(site, novels, monkeypatch):
    monkeypatch.delitem(registry._computed, "novel.page")
    site(cards=type("Mine", (Novels,), {}))
    [problem] = [each for each in view_checks.check_views() if each.id == "cachelayer.W033"]
    assert "never cached: its model is not registered with pages=True." in problem.msg


def test_a_view_has_no_list_that_it_has_not_without_us():
    class Rows(CachedViewMixin, viewsets.GenericViewSet):
        pass

    class List(CachedViewMixin, generics.ListAPIView):
        pass

    assert not hasattr(Rows, "list")
    assert not hasattr(Rows(), "list")
    assert hasattr(List, "list")
    assert page_rules.not_listed(List())


def test_a_list_that_says_nothing_is_as_it_was(site, novels):
    view = type("Mine", (Cards,), {"list_filters": None})
    answer = site(cards=view).get("/cards")
    assert titles(answer) == ["A", "B"]
    assert "X-Cache" not in answer
