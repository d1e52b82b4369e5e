"""``--pgbouncer`` puts a pooler before the tests of cachelayer: some of them pass behind it."""

import os
import subprocess
import sys

import pytest

from cachelayer.tests.pgbouncer import PROGRAM
from itemsite.lab.bootstrap import ROOT

#: Fast ones, of every kind: this process's reads and writes, threads, other processes, migrate.
SOME = ("test_write", "test_many_to_many", "test_threads", "test_commands", "test_keyspace")


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="there is no PgBouncer here")
@pytest.mark.timeout(600)
def test_tests_pass_behind_a_pooler_of_transactions():
    named = [f"cachelayer/tests/{name}.py" for name in SOME]
    # None of this test run's own: it starts separate servers.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "LAB", "DATABASE_URL", "REDIS_URL"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "itemsite.lab", "test", "--pgbouncer", "-q", *named],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
