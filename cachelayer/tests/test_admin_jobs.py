"""Long operations of the cache page: slice by slice, by any worker, to be stopped at any time."""

import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.http import QueryDict

import cachelayer
from cachelayer.admin import jobs
from cachelayer.models import Repair
from cachelayer.operations import clear
from cachelayer.protocol import drain, key_states, key_values, scan
from cachelayer.redis import batches, transport
from cachelayer.tests.bookshop.models import Book, Note
from cachelayer.tests.outages import NEVER_ENDS, write_unseen
from cachelayer.tracking import repair_log

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/cachelayer/cache/"
ROWS = 25


@pytest.fixture
def small_slices(monkeypatch):
    """One batch for each request, of ten keys or so."""
    for module in (scan, jobs, drain):
        monkeypatch.setattr(module, "PIPELINE", 10)
    monkeypatch.setattr(batches.batched, "__defaults__", (10,))
    monkeypatch.setattr(jobs.Job.run, "__defaults__", (-1,))


@pytest.fixture
def notes():
    return Note.objects.bulk_create(Note(text=str(n)) for n in range(ROWS))


@pytest.fixture
def book(value):
    """One that is cached: it is not when it is written, for it is a row of several tables."""
    book = Book.objects.create(title="Emma")
    cachelayer.read(Book, book.pk)
    assert key_values.name(value(f"book:{book.pk}")) == "row"
    return book


def state_in(answer):
    assert answer.status_code == 302
    url, _, query = answer["Location"].partition("?")
    assert url == f"{PAGE}job/"
    return QueryDict(query)["state"]


def step(client, state):
    headers = {"Accept": "application/json"}
    answer = client.post(f"{PAGE}job/", {"state": state}, headers=headers)
    assert answer.status_code == 200
    return answer.json()


def run(client, state):
    """Every answer until the job is finished."""
    answers = [step(client, state)]
    while not answers[-1]["finished"]:
        assert len(answers) < 100
        answers.append(step(client, answers[-1]["state"]))
    return answers


def journal():
    return list(LogEntry.objects.order_by("pk").values_list("object_repr", flat=True))


def cached_notes():
    return transport.client().keys("note:*")


class TestClear:
    def test_it_asks_with_the_scope_and_the_count(self, admin_client, notes, book):
        key_states.mark([f"note:{uuid.uuid4()}"], key_values.new_mark(NEVER_ENDS))
        answer = admin_client.get(f"{PAGE}clear/", {"model": "note"})
        html = answer.content.decode()
        assert f"{ROWS} keys" in html
        assert "<code>note:*</code>" in html
        assert "<code>book:*</code>" not in html
        assert "1 mark of transactions" in html
        count = answer.context["count"]
        assert (count.deletable, count.marks, count.exact) == (ROWS, 1, True)

    def test_it_counts_for_a_while_only(self, admin_client, notes, small_slices, monkeypatch):
        count = clear.count(["note"], seconds=-1)
        assert not count.exact
        assert count.deletable < ROWS

    def test_after_the_confirmation_it_clears_its_scope(self, admin_client, notes, book, value):
        mark = f"note:{uuid.uuid4()}"
        key_states.mark([mark], key_values.new_mark(NEVER_ENDS))
        state = state_in(admin_client.post(f"{PAGE}clear/", {"model": "note"}))
        assert len(cached_notes()) == ROWS + 1, "nothing is done before the first slice"
        answer = run(admin_client, state)[-1]
        assert (answer["seen"], answer["changed"]) == (ROWS + 1, ROWS)
        assert cached_notes() == [mark.encode()]
        assert key_values.name(value(f"book:{book.pk}")) == "row"
        assert journal() == [
            "Clear note:*: started",
            f"Clear note:*: done; {ROWS + 1} checked, {ROWS} deleted",
        ]

    def test_everything(self, admin_client, notes, book):
        run(admin_client, state_in(admin_client.post(f"{PAGE}clear/")))
        assert transport.client().keys("note:*") + transport.client().keys("book:*") == []
        assert journal()[0] == "Clear everything: started"

    def test_of_a_model_that_is_none(self, admin_client, notes):
        answer = admin_client.post(f"{PAGE}clear/", {"model": "session"}, follow=True)
        assert "No such model is cached." in answer.content.decode()
        assert len(cached_notes()) == ROWS


def test_a_long_job_takes_many_requests_and_tells_how_far_it_is(admin_client, notes, small_slices):
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "verify", "model": "note"}))
    answers = run(admin_client, state)
    assert len(answers) > 2
    shares = [answer["share"] for answer in answers]
    assert shares == sorted(shares)
    assert shares[0] < 1 == shares[-1]
    assert answers[-1]["seen"] == ROWS


def test_warm_fills_what_is_absent(admin_client, notes, small_slices):
    transport.client().delete(*cached_notes()[:17])
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "warm", "model": "note"}))
    answer = run(admin_client, state)[-1]
    assert (answer["seen"], answer["changed"]) == (ROWS, 17)
    assert len(cached_notes()) == ROWS
    assert journal()[-1] == f"Warm note:*: done; {ROWS} checked, 17 filled"


def test_warm_goes_by_an_integer_key_as_well(admin_client, small_slices):
    Book.objects.bulk_create(Book(title=str(n)) for n in range(ROWS))
    assert transport.client().keys("book:*") == []
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "warm", "model": "book"}))
    assert run(admin_client, state)[-1]["changed"] == ROWS


def test_a_project_with_atomic_requests_warms_outside_of_a_transaction(
    admin_client, notes, monkeypatch
):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    transport.client().delete(*cached_notes())
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "warm", "model": "note"}))
    assert run(admin_client, state)[-1]["changed"] == ROWS


def test_verify_lists_what_differs_with_links(admin_client, notes):
    write_unseen("UPDATE bookshop_note SET text = 'other' WHERE id = %s", [notes[3].pk])
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "verify"}))
    answer = run(admin_client, state)[-1]
    assert (answer["seen"], answer["changed"]) == (ROWS, 1)
    assert f'href="{PAGE}?key=note%3A{notes[3].pk}#look-up"' in answer["html"]


def test_repair_drains_the_log(admin_client, notes, value, small_slices):
    keys = [f"note:{note.pk}" for note in notes]
    with transaction.atomic():
        repair_log.log(connection, keys)
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "repair"}))
    answers = run(admin_client, state)
    assert len(answers) > 2
    assert answers[-1]["changed"] == ROWS
    assert not Repair.objects.exists()
    assert cached_notes() == []


def test_a_slice_that_is_sent_again_does_no_harm(admin_client, notes, small_slices):
    """Its worker was killed, or its answer was lost."""
    transport.client().delete(*cached_notes())
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "warm", "model": "note"}))
    step(admin_client, state)
    answer = run(admin_client, state)[-1]
    assert answer["seen"] == ROWS
    assert len(cached_notes()) == ROWS


def test_stopping_it(admin_client, notes, small_slices):
    state = state_in(admin_client.post(f"{PAGE}clear/", {"model": "note"}))
    answer = step(admin_client, state)
    left = len(cached_notes())
    assert 0 < left < ROWS
    data = {"state": answer["state"], "cancel": "1"}
    page = admin_client.post(f"{PAGE}job/", data, follow=True).content.decode()
    assert "Clear note:* was stopped" in page
    assert len(cached_notes()) == left
    assert journal()[-1].startswith("Clear note:*: stopped; ")


def test_without_a_script_a_button_goes_on(admin_client, notes, small_slices):
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "verify", "model": "note"}))
    page = admin_client.get(f"{PAGE}job/", {"state": state}).content.decode()
    assert "Continue" in page
    for _ in range(20):
        state = state_in(admin_client.post(f"{PAGE}job/", {"state": state}))
    page = admin_client.get(f"{PAGE}job/", {"state": state}).content.decode()
    assert f"{ROWS} checked" in page
    assert journal().count(f"Verify note:*: done; {ROWS} checked, 0 differing from Postgres") == 1


def test_while_redis_is_away_it_waits(admin_client, own_redis):
    Note.objects.create()
    state = state_in(admin_client.post(f"{PAGE}start/", {"kind": "verify"}))
    own_redis.stop()
    answer = admin_client.post(
        f"{PAGE}job/", {"state": state}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 503
    assert "Redis does not answer" in answer.json()["error"]


def test_a_job_that_is_none(admin_client):
    answer = admin_client.post(f"{PAGE}start/", {"kind": "delete"}, follow=True)
    assert "There is no job" in answer.content.decode()
    assert journal() == []
