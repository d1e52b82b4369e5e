"""A dot says whether a tool answers, and nobody waits for that."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from itemsite.console import links


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(401)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def tool():
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent():
    """Takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _forget(monkeypatch, settings):
    monkeypatch.setattr(links, "_answers", {})
    monkeypatch.setattr(links.task, "wake", lambda: None)
    for name in ("JAEGER_URL", "GRAFANA_URL", "PROMETHEUS_URL", "LOCUST_URL"):
        setattr(settings, name, "")


def answers():
    return {link["name"]: link["answers"] for link in links.collect() if "://" in link["url"]}


def test_a_tool_that_answers_anything_is_there(settings, tool):
    settings.GRAFANA_URL = tool
    settings.LOCUST_URL = "http://127.0.0.1:1"
    assert answers() == {"Grafana": None, "Locust": None}
    links._check()
    assert answers() == {"Grafana": True, "Locust": False}


def test_it_is_checked_where_this_process_reaches_it(settings, tool):
    settings.GRAFANA_URL = "http://localhost:1"
    settings.LINK_CHECKS = {"grafana": tool}
    links._check()
    assert answers() == {"Grafana": True}
    assert links.collect()[-1]["url"] == "http://localhost:1"


def test_a_silent_one_is_given_up_and_nobody_waits(settings, silent, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(links, "_answers", {})
    settings.GRAFANA_URL = silent
    [shown] = [each for each in links.collect() if each["name"] == "Grafana"]
    assert shown["answers"] is None, "nobody waited"
    deadline = time.monotonic() + 20
    while answers()["Grafana"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answers()["Grafana"] is False


@pytest.mark.parametrize("url", ["http://", "http://[", "not a url", "http://127.0.0.1:99999"])
def test_an_address_that_makes_no_sense_does_not_answer(settings, url):
    settings.GRAFANA_URL = url
    links._check()
    assert answers().get("Grafana", False) is False
