"""Locust as people start it: headless, with several processes, from the browser."""

import json
import os
import shlex
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from loadtest.isolated_lab import free_port, wait_until
from loadtest.tests.stale_api import stale_api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LOCUSTFILE = str(ROOT / "loadtest" / "locustfile.py")
#: A machine that is busy with other tests answers late.
PATIENT = ("--max-p95", "20000")


def command(*arguments):
    return [sys.executable, "-m", "locust", "-f", LOCUSTFILE, *arguments]


def run(url, *arguments):
    """A headless run to its end: its exit code, and what it said."""
    done = subprocess.run(
        command("--headless", "--host", url, "--only-summary", *arguments),
        capture_output=True,
        text=True,
        timeout=200,
        # It must not matter where it is started, and no setting of this shell may.
        cwd="/",
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )
    return done.returncode, done.stdout + done.stderr


def test_every_stage_is_reached_and_nothing_fails_in_the_outage(site):
    before = {item["id"] for item in site.items()}
    lab = shlex.join(site.lab.command("redis"))
    stop, start = (f"cd {shlex.quote(str(site.lab.root))} && {lab} {x}" for x in ("stop", "start"))
    commands = ["--outage-command", stop, "--recovery-command", start]
    code, said = run(site.url, "--users", "8", "--run-time", "40s", *commands, *PATIENT)
    assert code == 0, said
    beginnings = ["warm up begins", "steady begins", "Redis outage begins", "recovery begins"]
    places = [said.index(beginning) for beginning in beginnings]
    assert places == sorted(places)
    for stage in ("warm up", "steady", "Redis outage", "recovery"):
        assert f"loadtest: {stage}: " in said
    assert said.count(": done") == 2, said
    for name in ("[id] hit", "[id] bypass", "?limit=[n]", "?cursor=[cursor]"):
        assert f"/items{name}" in said.replace("/items/[id]", "/items[id]"), said
    assert "Traceback" not in said
    assert site.get("/health")["dependencies"]["redis"] == "ok"
    assert {item["id"] for item in site.items()} == before


def test_a_test_that_is_stopped_in_the_outage_starts_redis_again(site, tmp_path):
    mark = tmp_path / "mark"
    with (tmp_path / "said").open("w+") as output:
        locust = subprocess.Popen(
            command(
                *("--headless", "--host", site.url, "--only-summary"),
                *("--users", "2", "--run-time", "4s", *PATIENT),
                *("--outage-command", f"touch {mark} && kill -TERM $PPID"),
                *("--recovery-command", f"rm {mark}"),
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        assert locust.wait(timeout=100) == 0
        output.seek(0)
        said = output.read()
    assert "recovery begins" not in said
    assert f"rm {mark}: done" in said, said
    assert not mark.exists()


def test_a_command_that_fails_is_said_and_fails_the_run(site):
    commands = ["--outage-command", "echo no such server >&2; exit 3", "--recovery-command", "true"]
    code, said = run(site.url, "--users", "2", "--run-time", "8s", *commands, *PATIENT)
    assert code == 1
    assert "ended with 3: no such server" in said


def test_without_commands_the_person_is_asked(site):
    code, said = run(site.url, "--users", "2", "--run-time", "8s", *PATIENT)
    assert code == 0, said
    assert said.index("Stop Redis now: ./lab redis stop") < said.index("Start Redis again: ")


def test_several_processes_share_one_run(site):
    before = {item["id"] for item in site.items()}
    port = str(free_port())
    own = ["--master-bind-port", port, "--master-port", port]
    arguments = ["--plain", "--users", "8", "--spawn-rate", "8", "--run-time", "12s"]
    code, said = run(site.url, "--processes", "2", *own, *arguments, *PATIENT)
    assert code == 0, said
    assert "2 workers connected" in said
    assert "begins" not in said
    assert {item["id"] for item in site.items()} == before


def test_tags_choose_what_is_done(site):
    arguments = ["--plain", "--users", "6", "--spawn-rate", "6", "--run-time", "5s"]
    code, said = run(site.url, "--tags", "list", *arguments, *PATIENT)
    assert code == 0, said
    assert "GET      /items?limit=[n]" in said
    assert "POST" not in said


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        (("--max-p95", "0.001"), "95 % of the answers took up to"),
        (("--max-fail-ratio", "-1"), "0.00% of the requests failed; -100.00% may."),
    ],
)
def test_a_gate_that_does_not_hold_is_exit_code_1(site, gate, sentence):
    arguments = ["--plain", "--users", "2", "--run-time", "4s", *PATIENT, *gate]
    code, said = run(site.url, *arguments)
    assert code == 1, said
    assert sentence in said


def test_an_api_that_is_not_there_is_exit_code_1():
    url = f"http://127.0.0.1:{free_port()}"
    code, said = run(url, "--plain", "--users", "2", "--run-time", "4s")
    assert code == 1
    assert "The API does not answer" in said
    assert "of the requests failed; 1.00% may." in said


def test_an_editor_who_does_not_read_what_it_wrote_fails_the_run():
    with stale_api() as url:
        lenient = ["--max-fail-ratio", "1", *PATIENT]
        code, said = run(url, "--plain", "--users", "2", "--run-time", "4s", *lenient, "Editor")
    assert code == 1
    assert "stale read: not the row that was written last" in said
    assert "reads were older than their own writer's last write." in said


@pytest.fixture
def browser(site, tmp_path):
    """The web UI's address."""
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with (tmp_path / "locust.out").open("w+") as output:
        arguments = ["--host", site.url, "--web-host", "127.0.0.1", "--web-port", str(port)]
        locust = subprocess.Popen(command(*arguments), stdout=output, stderr=output)
        try:
            assert wait_until(lambda: ask(page), 60), output.seek(0) or output.read()
            yield page
        finally:
            locust.terminate()
            locust.wait(timeout=60)


def ask(url, form=None):
    data = urllib.parse.urlencode(form).encode() if form else None
    try:
        with urllib.request.urlopen(url, data, timeout=20) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_the_browser_chooses_the_persons_and_the_shape(site, browser):
    page = ask(browser)
    for offered in ("RedisOutage", "Editor", "max_fail_ratio", "max_p95", "api_token"):
        assert offered in page
    # Who reaches the page must not run commands on this machine.
    assert "outage_command" not in page
    form = {"user_count": 3, "spawn_rate": 3, "run_time": "60s", "user_classes": "Reader"}
    started = json.loads(ask(f"{browser}/swarm", {**form, "shape_class": "RedisOutage"}))
    assert started["success"], started
    assert "RedisOutage" in started["message"]

    def readers_have_read():
        stats = json.loads(ask(f"{browser}/stats/requests"))
        return any(s["name"] == "/items/[id] hit" and s["num_requests"] for s in stats["stats"])

    assert wait_until(readers_have_read, 60)
    names = {s["name"] for s in json.loads(ask(f"{browser}/stats/requests"))["stats"]}
    assert {name.split()[0] for name in names} == {"/items/[id]", "Aggregated"}
    ask(f"{browser}/stop")
