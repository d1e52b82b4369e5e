"""The OpenAPI document is valid, is what the API does, and can be read by a person."""

import subprocess
import sys

import pytest
import yaml
from django.core.management import call_command
from rest_framework.authtoken.models import Token

from items.models import Item
from itemsite.lab.bootstrap import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

WRITES = [
    ("/items", "post"),
    ("/items/{id}", "put"),
    ("/items/{id}", "patch"),
    ("/items/{id}", "delete"),
    ("/cache/clear", "post"),
]


@pytest.fixture
def document(tmp_path):
    """Make and check it, as ``manage.py spectacular --validate --fail-on-warn`` does."""

    def make():
        file = tmp_path / "schema.yml"
        call_command("spectacular", validate=True, fail_on_warn=True, file=str(file))
        return yaml.safe_load(file.read_text())

    return make


def operations(document):
    return {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("lab", [True, False])
def test_it_is_valid_and_has_every_operation(settings, document, lab):
    settings.LAB = lab
    reads = [("/items", "get"), ("/items/{id}", "get"), ("/cache/stats", "get")]
    plain = [("/health", "get"), ("/health/live", "get"), ("/metrics", "get")]
    found = operations(document())
    assert sorted(found) == sorted([*WRITES, *reads, *plain])
    for operation in found.values():
        assert operation["summary"]
        assert operation["tags"]


def test_outside_the_lab_writing_needs_a_token_or_a_session(settings, document):
    settings.LAB = False
    found = operations(document())
    for name, operation in found.items():
        if name in WRITES:
            assert operation["security"] == [{"tokenAuth": []}, {"cookieAuth": []}]
            assert {"401", "403"} <= operation["responses"].keys()
        else:
            assert "security" not in operation
            assert not {"401", "403"} & operation["responses"].keys()


def test_in_the_lab_nobody_logs_in(settings, document):
    settings.LAB = True
    found = document()
    assert "securitySchemes" not in found["components"]
    for operation in operations(found).values():
        assert "security" not in operation
        assert not {"401", "403"} & operation["responses"].keys()


@pytest.mark.parametrize(
    ("operation", "code", "headers"),
    [
        (("/items/{id}", "get"), "200", {"X-Cache", "ETag", "Cache-Control", "Server-Timing"}),
        (("/items/{id}", "get"), "304", {"X-Cache", "ETag", "Cache-Control", "Server-Timing"}),
        (("/items", "post"), "201", {"Location", "ETag", "Cache-Control", "Server-Timing"}),
        (("/items/{id}", "put"), "200", {"ETag", "Cache-Control", "Server-Timing"}),
        (("/items/{id}", "delete"), "204", {"Server-Timing"}),
        (("/items", "post"), "429", {"Retry-After"}),
        (("/items/{id}", "patch"), "503", {"Retry-After"}),
        (("/cache/clear", "post"), "503", {"Retry-After"}),
        (("/cache/stats", "get"), "200", {"Cache-Control"}),
        (("/health", "get"), "503", {"Cache-Control"}),
    ],
)
def test_headers_are_documented(document, operation, code, headers):
    answer = operations(document())[operation]["responses"][code]
    assert set(answer["headers"]) == headers
    assert all(header["required"] for header in answer["headers"].values())


def test_conditions_are_documented(document):
    found = operations(document())
    for path, method, header in [
        ("/items/{id}", "get", "If-None-Match"),
        ("/items/{id}", "put", "If-Match"),
        ("/items/{id}", "patch", "If-Match"),
        ("/items/{id}", "delete", "If-Match"),
    ]:
        names = {parameter["name"] for parameter in found[path, method]["parameters"]}
        assert names == {"id", header}


@pytest.fixture
def fuzz(tmp_path):
    """Run schemathesis, always with the same choices; what it said when it found something."""
    return lambda url, *arguments: _fuzz(tmp_path, url, arguments)


def _fuzz(folder, url, arguments):
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(ROOT / "schemathesis.toml")),
            *("run", f"{url}/api/schema", "--seed", "1", "--max-examples", "12"),
            *("--generation-database", "none", "--no-color", "--request-timeout", "60"),
            *("--suppress-health-check", "all", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=200,
        # Where it may leave what it remembers.
        cwd=folder,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_no_request_gets_a_5xx_or_an_answer_that_is_not_documented(settings, live_server, fuzz):
    settings.LAB = True
    Item.objects.create(pk="550e8400-e29b-41d4-a716-446655440001", name="Tea", price=1)
    said = fuzz(live_server.url)
    assert not said, said


@pytest.mark.timeout(240)
def test_nor_outside_the_lab_with_and_without_a_login(settings, live_server, admin_user, fuzz):
    settings.LAB = False
    token = Token.objects.create(user=admin_user)
    Item.objects.create(pk="550e8400-e29b-41d4-a716-446655440001", name="Tea", price=1)
    phases = ["--phases", "examples,coverage"]
    said = fuzz(live_server.url, "--header", f"Authorization: Token {token.key}", *phases)
    assert not said, said
    said = fuzz(live_server.url, *phases)
    assert not said, said


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [(390, 844), (1440, 900)])
def test_the_page_shows_every_operation_and_needs_nobody_else(page, live_server, color_scheme):
    page.goto(f"{live_server.url}/api/docs")
    page.wait_for_selector(".opblock-summary-path >> text=/metrics")
    assert page.locator(".opblock").count() == 11
    is_dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
    assert is_dark is (color_scheme == "dark")
    page.locator("#operations-items-items_read .opblock-summary-control").click()
    page.wait_for_selector("text=Never older than the last acknowledged write.")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0


def test_a_request_can_be_tried_on_the_page(page, live_server):
    item = Item.objects.create(pk="550e8400-e29b-41d4-a716-446655440001", name="Tea", price=1)
    page.goto(f"{live_server.url}/api/docs")
    page.locator("#operations-items-items_read .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.wait_for_selector(".live-responses-table")
    said = page.locator(".live-responses-table").inner_text()
    assert "x-cache: HIT" in said
    assert str(item.pk) in said
