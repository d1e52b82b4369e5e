"""The light traffic goes on whatever happens, and leaves nothing behind."""

import random
import signal
import subprocess
import sys

import pytest

from loadtest.api import Api, NoAnswer
from loadtest.background import NAME, Traffic
from loadtest.isolated_lab import wait_until
from loadtest.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def background(tmp_path):
    """Start one that makes 100 requests a second to a port."""
    started = []

    def start(port):
        output = (tmp_path / f"{len(started)}.out").open("w+")
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "loadtest.background", "--url", url, "--rate", "100"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        process.said = lambda: (output.seek(0), output.read())[1]
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def its_rows(site):
    return {item["id"]: item["updated_at"] for item in site.items() if item["name"] == NAME}


def end(process):
    process.send_signal(signal.SIGTERM)
    # At once: a busy machine may need a while to say so.
    assert process.wait(timeout=20) == 0, process.said()


def test_it_reads_and_writes_and_deletes_its_rows_when_it_is_stopped(site, background):
    before = site.get("/cache/stats")
    process = background(site.port)
    assert wait_until(lambda: len(its_rows(site)) >= 2, 60), process.said()
    assert wait_until(
        lambda: site.get("/cache/stats")["total_hits"] > before["total_hits"] + 50, 60
    )
    end(process)
    assert its_rows(site) == {}
    assert process.said().splitlines() == [
        f"background: 100 requests a second to {site.url}",
        "background: stopped; its rows are deleted",
    ]


def test_it_never_has_more_than_five_rows(site, background):
    process = background(site.port)
    seen = set()

    def twenty_came_and_went():
        now = its_rows(site)
        assert len(now) <= 5
        seen.update(now)
        return len(seen) >= 20

    assert wait_until(twenty_came_and_went, 120), process.said()
    end(process)


def test_the_next_one_takes_over_the_rows_of_one_that_was_killed(site, background):
    first = background(site.port)
    assert wait_until(lambda: len(its_rows(site)) >= 2, 60), first.said()
    first.kill()
    first.wait()
    assert its_rows(site)
    second = background(site.port)
    left = its_rows(site)
    assert wait_until(lambda: its_rows(site) != left, 60), second.said()
    end(second)
    assert its_rows(site) == {}


@pytest.mark.parametrize("fault", ["refuse", "swallow"])
def test_it_waits_for_an_api_that_is_away_and_goes_on(site, background, fault):
    proxy = Proxy(site.port)
    process = background(proxy.port)
    assert wait_until(lambda: its_rows(site), 60), process.said()
    getattr(proxy, fault)()
    looks = [its_rows(site)]

    def nothing_arrives_any_more():
        looks.append(its_rows(site))
        return len(looks) > 5 and looks[-1] == looks[-2] == looks[-3]

    assert wait_until(nothing_arrives_any_more, 60)
    assert process.poll() is None
    proxy.mend()
    assert wait_until(lambda: its_rows(site) != looks[-1], 60), process.said()
    end(process)
    assert its_rows(site) == {}
    proxy.close()


def test_without_an_answer_it_stops_at_once_all_the_same(site, background):
    proxy = Proxy(site.port)
    process = background(proxy.port)
    # Two: it has had the answer to the first, and so has a row to delete.
    assert wait_until(lambda: len(its_rows(site)) > 1, 60), process.said()
    proxy.swallow()
    end(process)
    assert process.said().endswith("background: stopped; the next one takes over its rows\n")
    proxy.close()
    # So that the table is as before.
    cleaner = background(site.port)
    left = its_rows(site)
    assert wait_until(lambda: its_rows(site) != left, 60)
    end(cleaner)


@pytest.mark.parametrize("rate", ["0", "-1", "1001", "x"])
def test_a_rate_that_does_not_do_is_refused(rate):
    command = [sys.executable, "-m", "loadtest.background", "--rate", rate]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--rate" in done.stderr


def test_a_row_whose_creation_was_not_answered_is_deleted_as_well(site):
    class Losing(Api):
        def request(self, method, *args, **kwargs):
            answer = super().request(method, *args, **kwargs)
            if method == "POST":
                raise NoAnswer("It was on its way.")
            return answer

    choice = random.Random(1)
    traffic = Traffic(Losing(site.url), choice)
    choice.choices = lambda *args, **kwargs: [traffic._create]
    with pytest.raises(NoAnswer):
        traffic.step()
    assert len(its_rows(site)) == 1
    traffic.clean_up()
    assert its_rows(site) == {}
