"""Connections that are shared: psycopg's pool with no connection to spare, and PgBouncer."""

import shutil
import socket
import subprocess
import sys
import time

import psycopg
import pytest
from django.conf import settings as django_settings

from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here
from cachelayer.tests.pgbouncer import direct_parameters
from cachelayer.tests.truth import hit, logged, told

pytestmark = pytest.mark.django_db(transaction=True)

#: As many writers as the pool has connections, each in a transaction before any commits.
WRITERS = """
import threading
import django
from django.conf import settings
database = settings.DATABASES["default"]
database.update(CONN_MAX_AGE=0, ENGINE="django.db.backends.postgresql")
database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 3, "timeout": 5}
settings.CACHELAYER = {"PARTITION": "strict", "TRUST_LIFETIME": 0.3, "PROBE_INTERVAL": 0.05}
django.setup()
from django.db import connections, transaction
from cachelayer.tests.bookshop.models import Note

everybody = threading.Barrier(3)
refused = []

def write(n):
    try:
        with transaction.atomic():
            note = Note.objects.create(stars=n)
            everybody.wait(20)
        for stars in (10, 20):
            Note.objects.filter(pk=note.pk).update(stars=n + stars)
    except Exception as error:
        refused.append(repr(error))
    finally:
        connections.close_all()

threads = [threading.Thread(target=write, args=[n]) for n in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("refused:", refused)
"""


def free_port():
    """One that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**environment_here(), **environment},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize("redis", ["away", "there"])
def test_strict_needs_no_connection_of_a_pool_whose_writers_have_them_all(redis):
    """Redis is away, and each of them has to declare it before its COMMIT: none is refused."""
    away = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"} if redis == "away" else {}
    done = run(WRITERS, **away)
    assert "refused: []" in done.stdout, done.stdout + done.stderr
    assert sorted(Note.objects.values_list("stars", flat=True)) == [20, 21, 22]
    if redis == "away":
        assert logged() == {f"note:{note.pk}" for note in Note.objects.all()}


#: A project's settings, and nothing that a pooler might refuse.
PROJECT = """
import django
from django.conf import settings
database = settings.DATABASES["default"]
database["OPTIONS"] = {"connect_timeout": 5}
database["DISABLE_SERVER_SIDE_CURSORS"] = True
django.setup()
from django.db import transaction
import cachelayer
from cachelayer.tests.bookshop.models import Film, Note, Tag
"""


@pytest.fixture
def pgbouncer(tmp_path):
    """PgBouncer in transaction pooling, with one connection to the server for everybody."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    here, port = direct_parameters(), free_port()
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o755)
    (tmp_path / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={here["host"]} port={here["port"]} user={here["user"]} password={here["password"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
"""
    )
    (tmp_path / "pgbouncer.ini").chmod(0o644)
    server = subprocess.Popen(
        [program, "-u", "nobody", "pgbouncer.ini"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    url = f"postgres://x@127.0.0.1:{port}/{here['dbname']}"
    try:
        for _ in range(100):
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, server.stderr.read()
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_a_project_behind_pgbouncer_is_followed(pgbouncer):
    """Nothing that a connection says of itself is needed, and none of it leaks to the next."""
    note = Note.objects.create(stars=1)
    hit(Note, note.pk)
    script = f"""{PROJECT}
note = Note.objects.get()
note.stars = 2
note.save()
assert cachelayer.read(Note, note.pk).outcome == "hit"
with transaction.atomic():
    Note.objects.update(stars=3)
    film = Film.objects.create(title="f")
    film.tags.add(Tag.objects.create(name="t"))
assert cachelayer.read(Film, film.pk).outcome == "miss"
Film.tags.through.objects.all().delete()
"""
    done = run(script, DATABASE_URL=pgbouncer)
    assert done.returncode == 0, done.stderr
    assert told(Note, note.pk)["stars"] == 3
    assert logged() == set(), "all of it was said to who listens"
    with psycopg.connect(pgbouncer, autocommit=True, prepare_threshold=None) as psql:
        # On the same connection of the server's, and it is another program's statement.
        psql.execute("UPDATE bookshop_note SET stars = 4")
    assert logged() == {f"note:{note.pk}"}
