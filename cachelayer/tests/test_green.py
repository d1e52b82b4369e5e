"""Under gevent: a Redis that hangs costs its time-out, as it does in a thread."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from django.conf import settings as django_settings

from cachelayer.tests.bookshop.models import Note
from cachelayer.tests.commands import environment_here

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds that one answer of Redis may take there.
_TIMEOUT = 0.3

_WORKER = f"""
from gevent import monkey
monkey.patch_all()
import json, sys, time
from django.conf import settings
settings.CACHES["default"]["OPTIONS"] |= {{
    "SOCKET_TIMEOUT": {_TIMEOUT}, "SOCKET_CONNECT_TIMEOUT": {_TIMEOUT}}}
import django
django.setup()
import gevent
import cachelayer
from cachelayer.redis import transport
from cachelayer.redis.gate import CacheUnavailable, gate
from cachelayer.tests.bookshop.models import Note

def timed(call):
    start = time.perf_counter()
    try:
        said = call()
    except CacheUnavailable as error:
        said = str(error)
    return said, time.perf_counter() - start

def tick():
    while True:
        gevent.sleep(0.01)
        ticks.append(1)

key = sys.argv[1]
print(json.dumps(cachelayer.read(Note, key).outcome), flush=True)
sys.stdin.readline()  # Redis is stopped now.
ticks = []
others = gevent.spawn(tick)
refused, took = timed(lambda: transport.get([f"note:{{key}}"]))
others.kill()
read, read_took = timed(lambda: cachelayer.read(Note, key).outcome)
print(json.dumps([refused, took, len(ticks), read, read_took, gate.state.reason]), flush=True)
sys.stdin.readline()
"""


def _environment(redis):
    # The settings that a test has changed are of no module.
    module = {"DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"]}
    return {**environment_here(), **module, "REDIS_URL": redis.url}


@contextmanager
def worker(redis, pk):
    """A process with gevent's sockets that has read *pk*; its answers are lines of JSON."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(pk)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(redis),
        cwd=django_settings.BASE_DIR,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_redis_that_hangs_costs_a_time_out_and_holds_up_no_other_greenlet(own_redis):
    note = Note.objects.create(stars=1)
    with worker(own_redis, note.pk) as process:
        assert json.loads(process.stdout.readline()) == "hit"
        own_redis.pause()
        try:
            process.stdin.write("paused\n")
            process.stdin.flush()
            # Where the time-out does not hold, this ends when the test's own time is over.
            said = json.loads(process.stdout.readline())
        finally:
            own_redis.resume()
    refused, took, ticks, read, read_took, reason = said
    assert "Timeout" in refused
    assert _TIMEOUT * 0.9 < took < 10
    assert ticks > 1, "others were served meanwhile"
    assert read == "bypass"
    assert read_took < 10
    assert "Timeout" in reason
