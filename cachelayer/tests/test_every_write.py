"""Whatever writes a row, and however: after each write, every reader is told what Postgres has.

A random walk over the bookshop's tables, with reads by this process and by a second one after
every step. In the suite it is short and always the same. For a long one with steps of its own::

    EVERY_WRITE_STEPS=10000 ./lab test cachelayer/tests/test_every_write.py
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import cachelayer
from cachelayer.protocol import drain, key_values
from cachelayer.redis import transport
from cachelayer.representation import registry
from cachelayer.representation.loading import read_rows
from cachelayer.tests import every_write
from cachelayer.tests.every_write import POOL
from cachelayer.tests.truth import logged, outside

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]

#: Steps of all walks; a walk begins with empty tables.
STEPS = int(os.environ.get("EVERY_WRITE_STEPS", "300"))
WALK = 25
TABLES = [
    "author", "publisher", "tag", "note", "book", "book_tags", "audiobook", "film", "film_tags",
    "film_sequels", "film_alike", "role", "shelf", "parcel", "reply",
]  # fmt: skip

numbers = st.integers(0, 5)
taken: Counter[str] = Counter()


class Walk(RuleBasedStateMachine):
    reader: "subprocess.Popen[str]"

    def __init__(self):
        super().__init__()
        with outside() as other:
            other.execute(f"TRUNCATE {', '.join(f'bookshop_{table}' for table in TABLES)}")
        drain.drain()
        self.look()

    @rule(way=st.sampled_from(every_write.FOLLOWED), a=numbers, b=numbers)
    def in_autocommit(self, way, a, b):
        self.step("autocommit", way, a, b)

    @rule(
        way=st.sampled_from([*every_write.FOLLOWED, *every_write.IN_TRANSACTIONS]),
        around=st.sampled_from(list(every_write.TRANSACTIONS)),
        a=numbers,
        b=numbers,
    )
    def in_a_transaction(self, way, around, a, b):
        self.step(around, way, a, b)

    @rule(
        ways=st.lists(st.sampled_from(every_write.FOLLOWED), min_size=2, max_size=4),
        around=st.sampled_from(["atomic", "without autocommit", "a savepoint by hand"]),
        a=numbers,
        b=numbers,
    )
    def several_in_a_transaction(self, ways, around, a, b):
        def write(a, b):
            for n, way in enumerate(ways):
                with transaction.atomic(savepoint=bool(n % 2)):
                    way(a + n, b)

        write.__name__ = "several"
        self.step(around, write, a, b)

    @rule(way=st.sampled_from(every_write.IN_TRANSACTIONS), a=numbers, b=numbers)
    def unfollowed_in_autocommit(self, way, a, b):
        self.step("autocommit", way, a, b, may_log=True)

    @rule(
        way=st.sampled_from(every_write.LOGGED),
        around=st.sampled_from(["autocommit", "atomic", "taken back", "a commit that fails"]),
        a=numbers,
        b=numbers,
    )
    def past_the_listener(self, way, around, a, b):
        self.step(around, way, a, b, may_log=True)

    @rule(way=st.sampled_from(every_write.OUTSIDE), a=numbers, b=numbers)
    def by_another_program(self, way, a, b):
        self.step("autocommit", way, a, b, may_log=True)

    def step(self, around, way, a, b, *, may_log=False):
        taken[f"{way.__name__}, {around}"] += 1
        try:
            if around == "autocommit":
                way(a, b)
            else:
                with every_write.TRANSACTIONS[around]():
                    way(a, b)
        except (DatabaseError, CommandError):
            pass  # Two rows of one key, say. What it wrote was taken back.
        if may_log:
            drain.drain()
        # A TRUNCATE is swept by its writer; its word in the log is for the case that it dies.
        assert {key for key in logged() if not key.endswith(":*")} == set(), "logged, not followed"
        self.look()

    def look(self):
        """Compare what both processes are told with what there is."""
        there = {}
        for model, pks in POOL.items():
            cached = registry.get(model)
            rows = read_rows(None, cached, [cached.to_python(pk) for pk in pks])
            there |= {(cached.prefix, str(pk)): unordered(row) for pk, row in rows.items()}
        assert self.others(there) == there, "the other process is told something else"
        for (prefix, pk), row in there.items():
            cached = registry.of_prefix(prefix)
            told = cachelayer.read(cached.model, pk).row or key_values.NULL
            assert unordered(told) == row, f"{prefix}:{pk}"
            held = transport.client().get(f"{prefix}:{pk}")
            # A null lives for seconds only.
            assert held is None or unordered(held) == row

    def others(self, there):
        self.reader.stdin.write(json.dumps(list(there)) + "\n")
        self.reader.stdin.flush()
        answers = map(unordered, json.loads(self.reader.stdout.readline()))
        return dict(zip(there, answers, strict=True))


def unordered(row):
    """A row whose links are in one order: Postgres gives them in any."""
    found = json.loads(row)
    if isinstance(found, dict):
        return {n: sorted(v) if isinstance(v, list) else v for n, v in found.items()}
    return found


@pytest.fixture
def reader():
    name = connection.settings_dict["NAME"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cachelayer.tests.reader", name],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.stdin.close()
    process.wait(20)


def test_after_every_write_every_reader_is_told_what_there_is(reader):
    Walk.reader = reader
    is_long = "EVERY_WRITE_STEPS" in os.environ
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=max(1, STEPS // WALK),
            stateful_step_count=WALK,
            deadline=None,
            derandomize=not is_long,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    if is_long:
        sys.stdout.write(f"{sum(taken.values())} steps of {len(taken)} kinds\n")
