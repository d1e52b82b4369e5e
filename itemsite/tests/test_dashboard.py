"""What the dashboard and the alerts ask is there: a real Prometheus scrapes a site under load."""

import json
import re
import shutil
import subprocess
import threading

import pytest
import yaml

from itemsite.lab.bootstrap import ROOT
from itemsite.lab.ports import free_port
from itemsite.tests.prometheus_server import CONFIGURATION, Prometheus
from itemsite.tests.running_site import COLD, HOT, running_site, until

GRAFANA = ROOT / "docker" / "grafana"
BOARD = json.loads((GRAFANA / "dashboards" / "cache.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule
    for group in yaml.safe_load((CONFIGURATION / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
TESTED = yaml.safe_load((CONFIGURATION / "alerts_test.yml").read_text())["tests"]
#: A series as an expression names it: the metric, and its labels if any.
SERIES = re.compile(r"\b((?:cachelayer|django)_\w+|up\b)(\{[^}]*\})?")

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="there is no prometheus here (on Debian and Ubuntu: apt install prometheus)",
)


class Load:
    """Hits, misses, lists and writes until it is stopped."""

    def __init__(self, site):
        self._site = site
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def _run(self):
        number = 0
        while not self._over.wait(0.02):
            number += 1
            self._site.ask("POST", "/cache/clear")
            for path in (COLD, HOT, HOT, "/items"):
                self._site.get(path)
            self._site.ask("PATCH", HOT, {"price": number})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    with running_site(tmp_path_factory) as site:
        folder = tmp_path_factory.mktemp("monitoring") / "prometheus"
        server = Prometheus(folder, free_port(), site.web.port)
        server.start()
        try:
            # One answer of 5xx, which an alert names.
            site.postgres.stop()
            site.ask("PATCH", HOT, {"price": 1})
            site.postgres.start()
            until(site.is_well)
            with Load(site):
                yield server
        finally:
            server.stop()


@needs_prometheus
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_data(prometheus, panel):
    for target in panel["targets"]:
        until(lambda expression=target["expr"]: prometheus.query(expression), seconds=60)


@needs_prometheus
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_series_that_an_alert_names_is_there(prometheus, rule):
    named = {metric + labels for metric, labels in SERIES.findall(rule["expr"])}
    assert named
    for series in named:
        # Counters of something that must not happen are there from the start, at 0.
        until(lambda name=series: prometheus.query(name), seconds=60)


@needs_prometheus
def test_the_alerts_fire_when_they_should_and_only_then():
    command = ["promtool", "test", "rules", str(CONFIGURATION / "alerts_test.yml")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_prometheus
def test_the_configuration_is_one_that_prometheus_takes():
    command = ["promtool", "check", "config", str(CONFIGURATION / "prometheus.yml")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_seen_to_fire_and_seen_not_to():
    cases = [case for test in TESTED for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    holds = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    names = {rule["alert"] for rule in RULES}
    assert fires == holds == names
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_dashboard_is_provisioned_with_the_data_source_that_it_names():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())
    known = {(source["type"], source["uid"]) for source in sources["datasources"]}
    for panel in PANELS:
        for named in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            assert (named["type"], named["uid"]) in known, panel["title"]


def test_the_first_row_tells_the_story_and_the_board_refreshes_every_five_seconds():
    assert BOARD["refresh"] == "5s"
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["The cache", "Redis", "Postgres", "Process"]
    assert BOARD["panels"][0]["title"] == "The cache"


def test_panels_fit_the_grid_and_do_not_overlap():
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_every_panel_says_what_it_shows_and_leads_to_traces():
    for panel in PANELS:
        assert panel["description"], panel["title"]
        assert any("/search?service=api" in link["url"] for link in panel["links"])
