"""The wheel, installed where nothing else is: beside Django 6.1, and without any extra.

These tests need the package index, and fail where it cannot be reached.
"""

import os
import shutil
import sys
import tarfile
import zipfile
from email.parser import HeaderParser

import pytest

from itemsite.lab.bootstrap import ROOT
from itemsite.tests.built_package import build, new_venv, newer_python, run
from itemsite.tests.test_adoption import (  # noqa: F401 (its tests run here in a project with the wheel)
    new_project,
    test_every_way_to_write_is_followed,
    test_pages_and_any_bytes,
    test_sql_from_another_program_is_followed,
    test_the_admin_has_the_cache_page_and_the_panel,
    test_the_checks_pass_and_no_migration_is_left_to_make,
    test_the_project_knows_nothing_of_the_lab,
    test_the_view_answers_from_the_cache,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CORE_PROJECT = "cachelayer/tests/core_project"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def project(tmp_path_factory, built):
    """The project of the adoption tests, which has installed the wheel beside the newest Django."""
    python = newer_python() or sys.executable
    venv = new_venv(
        tmp_path_factory.mktemp("adopter") / "venv",
        f"{built.wheel}[rest]",
        "psycopg[binary]",
        # What that project uses itself.
        "django-filter",
        python=python,
    )
    with new_project(tmp_path_factory, venv) as project:
        yield project


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_the_whole_of_cachelayer_and_nothing_else(built):
    """Scripts, templates and stylesheets are no modules: a forgotten one would be missing here."""
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "cachelayer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    left_out = ("cachelayer/tests/", "cachelayer/spec/")
    wanted = {name for name in wanted if not name.startswith(left_out)}
    suffixes = {name.rpartition(".")[2] for name in wanted}
    assert suffixes >= {"py", "lua", "sql", "html", "css", "typed"}
    assert "cachelayer/migrations/0001_initial.py" in wanted
    found = files_of(built.wheel)
    described = {name for name in found if ".dist-info/" in name}
    assert found - described == wanted
    assert any(name.endswith("licenses/LICENSE") for name in described)


def test_the_sdist_has_what_the_wheel_is_built_of_and_the_papers(built):
    with tarfile.open(built.sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    packaged = {name for name in files_of(built.wheel) if ".dist-info/" not in name}
    assert found >= packaged
    assert found >= {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"}
    assert not {name for name in found if name.startswith(("itemsite", "items", "loadtest"))}


def test_the_wheel_says_what_it_is(built):
    with zipfile.ZipFile(built.wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Author"] == "the cachelayer authors"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"Typing :: Typed", "Framework :: Django"} <= set(metadata.get_all("Classifier"))
    assert "all" in metadata.get_all("Provides-Extra")


def test_the_project_has_the_newest_django_that_its_python_runs(project):
    version = project.run("-m", "django", "--version").strip()
    assert version.startswith("6.1" if newer_python() else "5.2")


@pytest.fixture(scope="module")
def core(tmp_path_factory, built):
    """A Python that had a Django, to which the wheel came without any extra."""
    venv = new_venv(tmp_path_factory.mktemp("core") / "venv", "django==5.2.8", "psycopg[binary]")
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", built.wheel)
    return python


def test_a_project_keeps_its_django(core):
    assert run(core, "-m", "django", "--version").stdout.strip() == "5.2.8"
    run(core, "-m", "pip", "check")


def test_the_core_works_without_any_extra(core, tmp_path):
    shutil.copytree(ROOT / CORE_PROJECT, tmp_path / "core_project")
    environment = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "REDIS_URL")}
    ran = run(
        *(core, "-m", "django", "test", "--noinput", "core_project"),
        cwd=tmp_path,
        env=environment
        | {"DJANGO_SETTINGS_MODULE": "core_project.settings", "PYTHONPATH": str(tmp_path)},
    )
    assert "\nOK" in ran.stderr
