"""Every test starts with an empty Redis, a closed gate and no counts."""

from collections.abc import Iterator

import hypothesis
import pytest
from django.db import connection

from cachelayer import conf
from cachelayer.operations import live_check
from cachelayer.protocol import documents, watchdog
from cachelayer.redis import keyspace
from cachelayer.telemetry import counters
from cachelayer.tests import emptied, pgbouncer
from cachelayer.tests.fresh import TEST_DATABASE, trust_redis
from itemsite.lab import ports

pytest_plugins = [
    "itemsite.tests.browser",
    "itemsite.tests.own_redis",
    "itemsite.tests.redis_cluster",
    "itemsite.tests.sentinel",
    "pytester",
]


emptied.use_instead_of_flush()
# No example fails because a busy machine is slow; each test has pytest's timeout.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_configure(config: pytest.Config) -> None:
    if worker := getattr(config, "workerinput", None):  # Of pytest-xdist.
        ports.take_share(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compose",
        action="store_true",
        help="Also run the tests that start docker-compose.yml, on its real ports.",
    )
    parser.addoption(
        "--pgbouncer",
        action="store_true",
        help="Put a PgBouncer in transaction pooling between Django and Postgres.",
    )


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """No name by which a process beside this one knows a test database: keys are plain here."""
    settings = connection.settings_dict
    settings["TEST"]["NAME"] = f"{settings['NAME']}{TEST_DATABASE}"


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[None]:
    """The test database; with ``--pgbouncer``, Django reaches it through a PgBouncer."""
    if request.config.getoption("--pgbouncer"):
        with pgbouncer.in_between(pgbouncer.MANY):
            yield
    else:
        yield


@pytest.fixture(autouse=True)
def _fresh_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    conf.get.cache_clear()
    monkeypatch.setattr(keyspace, "is_for_tests", lambda using: False)
    # Said once in a process, in which the same test may run on a cluster, too.
    monkeypatch.setattr(documents, "_complained", set())
    # No test depends on a look that comes or does not come in time.
    monkeypatch.setattr(watchdog.task, "wake", lambda: None)
    monkeypatch.setattr(live_check.task, "wake", lambda: None)
    counters.flush()
    trust_redis()
    yield
    trust_redis()
