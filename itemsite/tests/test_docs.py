"""The docs say what is so: every name in them exists, and what the code has is in them."""

import pkgutil
import re
import tomllib
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import resolve

import cachelayer
from cachelayer.checks import redis as redis_checks
from cachelayer.management.commands import cache_settings
from cachelayer.models import Cache
from itemsite.environment import Environment
from itemsite.lab import cli, suite
from itemsite.lab.bootstrap import ROOT
from itemsite.tests.documented import CHANGELOG, DOCS, EVERYTHING, PAGES, PAPERS, README, RUNBOOK

REFERENCE = DOCS / "reference"
#: Folders of the repository; a name in code that begins with one is a path.
FOLDERS = "cachelayer|docker|docs|items|itemsite|loadtest"


def reference(name):
    return (REFERENCE / f"{name}.md").read_text()


def sources():
    """The code of cachelayer without its tests."""
    package = Path(cachelayer.__file__).parent
    found = (path for path in package.rglob("*.py") if "tests" not in path.parts)
    return "\n".join(path.read_text() for path in found)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_it_is_said_how_long_the_tests_take():
    readme = " ".join(README.read_text().split())
    assert f"On 2 cores it takes about {suite.MINUTES} minutes" in readme
    assert f"about {suite.ALL_MINUTES} minutes on 2 cores" in readme
    said = f"about {suite.MINUTES} minutes on 2 cores, with `--all` (the slow tests too) about"
    assert f"{said} {suite.ALL_MINUTES} |" in reference("commands")


def test_the_table_of_options_is_the_one_that_the_code_makes():
    """Mend it with ``./lab manage cache_settings --markdown``."""
    assert cache_settings.markdown() in reference("settings")


def test_the_commands_for_a_redis_user_are_those_that_the_cache_sends():
    guide = (DOCS / "how-to" / "managed-redis.md").read_text()
    [listed] = re.findall(
        r"^The commands among the rules are:\n\n```\n(.*?)```", guide, re.M | re.S
    )
    assert listed.split() == [f"+{name}" for name in redis_checks.commands()]


def test_every_command_that_is_named_exists():
    named = set(re.findall(r"(?:manage\.py|lab manage) ([a-z_]+)", EVERYTHING))
    assert named
    assert named - set(get_commands()) == set()


def test_every_cache_command_is_in_the_reference():
    ours = {name for name, app in get_commands().items() if app == "cachelayer"}
    assert ours
    assert ours - set(re.findall(r"`manage\.py (\w+)", reference("commands"))) == set()


def test_every_command_of_the_lab_is_in_the_reference_and_no_other():
    named = set(re.findall(r"(?:^|[`\s])\./lab ([a-z]+)", EVERYTHING))
    assert named - {*cli._COMMANDS, "help"} == set()
    listed = set(re.findall(r"`\./lab ([a-z]+)", reference("commands")))
    assert {*cli._COMMANDS} - listed == {"start"}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`[A-Z, ]*GET (/[a-z/]*)", EVERYTHING))))
def test_every_address_that_is_named_is_served(path):
    assert resolve(path)


def test_every_environment_variable_that_is_named_is_read():
    [paragraph] = re.findall(r"^Environment: (.*?)\n\n", reference("settings"), re.M | re.S)
    named = {name.lower() for name in re.findall(r"`([A-Z_]+)(?:=1)?`", paragraph)}
    read = {field.name for field in fields(Environment)}
    assert named
    assert named <= read


@pytest.mark.parametrize(
    "page", [README, RUNBOOK, CHANGELOG, *PAGES, *PAPERS], ids=lambda page: page.name
)
def test_every_file_that_is_linked_exists(page):
    """Beside the built pages: the links work in the repository, too."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    links += re.findall(r"^```\{include\} (\S+)", page.read_text(), re.M)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_path_that_is_named_exists():
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", EVERYTHING + RUNBOOK.read_text()))
    assert [path for path in named if not [*ROOT.glob(path)]] == []


def test_every_check_is_in_the_reference_and_no_other():
    raised = set(re.findall(r'id="(cachelayer\.[A-Z]\d{3})"', sources()))
    assert raised
    assert set(re.findall(r"^\| `(cachelayer\.\w+)` \|", reference("checks"), re.M)) == raised
    assert set(re.findall(r"cachelayer\.[A-Z]\d{3}", EVERYTHING)) == raised


@pytest.mark.django_db
def test_every_metric_is_in_the_reference_and_no_other(client):
    exposed = client.get("/metrics").content.decode()
    names = set(re.findall(r"^# TYPE (cachelayer_\w+)(?<!_created) ", exposed, re.M))
    listed = re.findall(r"^\|([^|]+)\|", reference("metrics"), re.M)
    assert set(re.findall(r"`(cachelayer_\w+)", "".join(listed))) == names


def test_every_span_is_in_the_reference_and_no_other():
    made = set(re.findall(r'^@events\.(?:operation|background)\("(\w+)"', sources(), re.M))
    assert made
    assert set(re.findall(r"^\| `cache\.(\w+)` \|", reference("spans"), re.M)) == made


def test_every_public_name_is_in_the_reference():
    described = set(re.findall(r"^\.\. auto\w+:: cachelayer\.(\w+)$", reference("api"), re.M))
    assert described == set(cachelayer.__all__)


def test_every_alert_is_in_the_table_and_no_other():
    [table] = re.findall(r"^\| alert \| says \|\n(.*?)\n\n", reference("metrics"), re.M | re.S)
    rules = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    listed = re.findall(r"`([A-Za-z]+)`", "".join(re.findall(r"^\|[^|]+\|", table, re.MULTILINE)))
    assert sorted(listed) == sorted(re.findall(r"- alert: (\w+)", rules))


def test_every_extra_is_in_the_guide_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    guide = (DOCS / "how-to" / "adopt.md").read_text()
    [table] = re.findall(r"^\| extra \| gives \|\n(.*?)\n\n", guide, re.M | re.S)
    listed = re.findall(r"^\| `([\w-]+)` \|", table, re.M)
    assert {*listed} == {*project["optional-dependencies"]}


def test_every_package_of_cachelayer_has_a_purpose_in_the_explanation():
    """The packages that `lint-imports` orders; what stands above or below them is a module."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [rooms] = [
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["cachelayer"]
    ]
    layers = [name.strip() for layer in rooms for name in layer.split(":")]
    package = Path(cachelayer.__file__).parent
    packages = {name for name in layers if (package / name / "__init__.py").exists()}
    page = (DOCS / "explanation" / "protocol.md").read_text()
    described = set(re.findall(r"^\| `cachelayer/(\w+)` \|", page, re.M))
    apart = {"admin", "checks", "management", "migrations", "templatetags"}
    assert described == packages - apart


def test_every_python_name_that_is_named_exists():
    """And is no former name, which warns."""
    named = set(re.findall(r"\b(cachelayer(?:\.[a-zA-Z]\w*)+)\b(?!\.\w)", EVERYTHING))
    permissions = {f"cachelayer.{name}" for name, _ in Cache._meta.permissions}
    names = {name for name in named if not re.search(r"\.[A-Z]\d{3}$", name)} - permissions
    assert len(names) > 10
    with warnings.catch_warnings(action="error"):
        for name in names:
            assert pkgutil.resolve_name(name), name
