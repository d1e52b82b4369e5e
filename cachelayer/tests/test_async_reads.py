"""Reads from async code: a hit takes no thread, all else is as in one, and nothing is stale."""

import asyncio

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ValidationError
from django.db import transaction

import cachelayer
from cachelayer.exceptions import CacheUnavailable
from cachelayer.protocol import reads
from cachelayer.redis import loop_transport, transport
from cachelayer.redis.gate import gate
from cachelayer.tests.bookshop.documents import calls, titles_of, titles_of_later
from cachelayer.tests.bookshop.models import Note, Novel, Writer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("quick")]


@pytest.fixture
def threads(monkeypatch):
    """The reads that took a thread."""
    taken = []
    for name in ("read_one", "read_many"):
        read = getattr(reads, name)

        def note(*args, read=read, **kwargs):
            taken.append(args)
            return read(*args, **kwargs)

        monkeypatch.setattr(reads, name, note)
    return taken


async def connected():
    for _ in range(1000):
        try:
            await loop_transport.get("a key that nobody has")
            return
        except CacheUnavailable:
            await asyncio.sleep(0.01)
    pytest.fail("The loop has no connection.")


def in_a_loop(test):
    """What *test*, a coroutine function, answers in a loop that has its connection."""

    async def run():
        await connected()
        return await test()

    return async_to_sync(run)()


def test_a_hit_takes_no_thread(threads):
    note = Note.objects.create(stars=1)
    found = in_a_loop(lambda: cachelayer.aread(Note, note.pk))
    assert (found.outcome, found.row, threads) == ("hit", cachelayer.render(note), [])


def test_a_miss_is_filled_in_a_thread_and_read_from_redis_once(threads, round_trips):
    note = Note.objects.create()
    transport.client().delete(f"note:{note.pk}")

    async def twice():
        round_trips.clear()
        return await cachelayer.aread(Note, note.pk), await cachelayer.aread(Note, note.pk)

    first, second = in_a_loop(twice)
    assert (first.outcome, second.outcome) == ("miss", "hit")
    assert first.row == second.row == cachelayer.render(note)
    assert len(threads) == 1
    assert ["GET"] not in round_trips, "the loop has asked, and the thread has not asked again"


def test_a_loop_without_a_connection_reads_in_a_thread(threads):
    note = Note.objects.create()
    found = async_to_sync(cachelayer.aread)(Note, note.pk)
    assert (found.outcome, len(threads)) == ("hit", 1)


def test_a_gate_that_is_not_closed_goes_to_postgres(monkeypatch):
    note = Note.objects.create()
    monkeypatch.setattr(gate, "reconcile", lambda gate: None)

    async def read():
        gate.settle("A test says so.")
        return await cachelayer.aread(Note, note.pk)

    found = in_a_loop(read)
    assert (found.outcome, found.row) == ("bypass", cachelayer.render(note))


def test_what_an_open_transaction_has_written_is_read_in_its_thread():
    """Also where it was written by synchronous code, and the cache has the row of before."""
    note = Note.objects.create(stars=1)

    async def read():
        return (await cachelayer.aread(Note, note.pk)).row

    @sync_to_async
    def write(stars):
        Note.objects.filter(pk=note.pk).update(stars=stars)

    async def both():
        inside = transaction.atomic()
        await sync_to_async(inside.__enter__)()
        await write(2)
        seen = await read()
        await sync_to_async(inside.__exit__)(None, None, None)
        return seen, await read()

    inside, after = in_a_loop(both)
    assert b'"stars":2' in inside
    assert inside == after


def test_a_document_is_not_read_past_what_an_open_transaction_has_written():
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer)
    cachelayer.read(Novel, novel.pk)

    async def both():
        inside = transaction.atomic()
        await sync_to_async(inside.__enter__)()
        await sync_to_async(Writer.objects.update)(name="Bob")
        seen = (await cachelayer.aread(Novel, novel.pk)).row
        await sync_to_async(inside.__exit__)(None, None, None)
        return seen

    assert b"Bob" in in_a_loop(both)


def test_djangos_async_orm_is_followed():
    async def write_and_read():
        note = await Note.objects.acreate(stars=1)
        seen = [await cachelayer.aread(Note, note.pk)]
        note.stars = 2
        await note.asave()
        seen.append(await cachelayer.aread(Note, note.pk))
        await Note.objects.filter(pk=note.pk).aupdate(stars=3)
        seen.append(await cachelayer.aread(Note, note.pk))
        await note.adelete()
        return [*seen, await cachelayer.aread(Note, note.pk)]

    *rows, gone = in_a_loop(write_and_read)
    assert [f'"stars":{n}'.encode() in found.row for n, found in enumerate(rows, 1)] == [True] * 3
    assert [found.outcome for found in rows] == ["hit"] * 3
    assert gone.row is None


def test_many_hits_take_no_thread_and_one_miss_takes_one(threads):
    notes = [Note.objects.create(stars=stars) for stars in range(5)]
    pks = [note.pk for note in notes]
    found = in_a_loop(lambda: cachelayer.aread_many(Note, [*map(str, pks)]))
    assert [*found] == pks
    assert [each.row for each in found.values()] == [*map(cachelayer.render, notes)]
    assert threads == []
    transport.client().delete(f"note:{pks[2]}")
    found = in_a_loop(lambda: cachelayer.aread_many(Note, pks))
    assert [each.outcome for each in found.values()].count("miss") == 1
    assert len(threads) == 1


def test_by_another_column(threads):
    writer = Writer.objects.create(name="Ann")
    novel = Novel.objects.create(title="One", writer=writer, isbn="0-19-853453-1")
    cachelayer.read_by(Novel, isbn=novel.isbn)
    threads.clear()
    found = in_a_loop(lambda: cachelayer.aread_by(Novel, isbn=novel.isbn))
    assert (found.outcome, found.row, threads) == ("hit", cachelayer.render(novel), [])
    with pytest.raises(TypeError, match="one column"):
        in_a_loop(lambda: cachelayer.aread_by(Novel, isbn="1", title="2"))


def test_what_is_no_key_is_said_as_in_a_thread():
    with pytest.raises(ValidationError):
        in_a_loop(lambda: cachelayer.aread(Note, "no id"))


def test_a_document_of_an_async_function():
    writer = Writer.objects.create(name="Ann")
    Novel.objects.create(title="One", writer=writer)

    async def read():
        return await titles_of_later(writer.pk), await titles_of_later.aread(writer.pk)

    calls.clear()
    shown, again = in_a_loop(read)
    assert shown == b'["One"]'
    assert (again.outcome, again.row) == ("hit", shown)
    assert calls == [("titles_of_later", writer.pk)]
    Novel.objects.create(title="Two", writer=writer)
    assert in_a_loop(lambda: titles_of_later(writer.pk)) == b'["One","Two"]'


def test_a_document_of_a_plain_function_is_read_from_async_code():
    writer = Writer.objects.create(name="Ann")
    Novel.objects.create(title="One", writer=writer)
    first = in_a_loop(lambda: titles_of.aread(writer.pk))
    assert first.row == titles_of(writer.pk)
