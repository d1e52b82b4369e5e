"""What ``pyproject.toml`` says of the package: its versions, its extras, its dependencies."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from itemsite.lab.bootstrap import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
CORE = {"asgiref", "django", "django-redis", "hiredis", "orjson", "psycopg", "redis"}
EXTRAS = {"rest", "openapi", "prometheus", "opentelemetry", "cli"}


def of_classifiers(name):
    found = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if name in line]
    return [version for version in found if re.fullmatch(r"\d+\.\d+", version)]


def names(requirements):
    return {each.name for each in map(Requirement, requirements)}


def test_every_version_that_is_named_is_accepted():
    assert of_classifiers("Django ::") == ["5.2", "6.0", "6.1"]
    [django] = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == "django"]
    assert all(f"{version}.1" in django.specifier for version in of_classifiers("Django ::"))
    assert of_classifiers("Python ::") == ["3.11", "3.12", "3.13", "3.14"]
    pythons = SpecifierSet(PROJECT["requires-python"])
    assert all(f"{version}.0" in pythons for version in of_classifiers("Python ::"))
    assert "3.10.14" not in pythons


def test_no_dependency_has_an_upper_end():
    """pip would take back what a project has."""
    lines = [*PROJECT["dependencies"], *(line for extra in OPTIONAL.values() for line in extra)]
    parts = [part.operator for each in map(Requirement, lines) for part in each.specifier]
    assert len(parts) > len(CORE)
    assert set(parts) == {">="}


def test_the_core_is_small_and_the_rest_are_extras():
    assert names(PROJECT["dependencies"]) == CORE
    assert set(OPTIONAL) == {*EXTRAS, "all", "schema"}
    [everything] = map(Requirement, OPTIONAL["all"])
    assert (everything.name, everything.extras) == ("cachelayer", EXTRAS)
    [former_name] = map(Requirement, OPTIONAL["schema"])
    assert (former_name.name, former_name.extras) == ("cachelayer", {"openapi"})


def test_every_package_that_cachelayer_imports_is_among_its_dependencies():
    optional = (line for extra in OPTIONAL.values() for line in extra)
    dependencies = names([*PROJECT["dependencies"], *optional])
    distributions = packages_distributions()
    missing = {
        name
        for name in third_party_imports()
        if not dependencies
        & {each.lower().replace("_", "-") for each in distributions.get(name, [])}
    }
    assert missing == set()


def third_party_imports():
    """The packages that modules of cachelayer import, but for its tests and its model."""
    found = set()
    for path in (ROOT / "cachelayer").rglob("*.py"):
        if path.relative_to(ROOT / "cachelayer").parts[0] in ("tests", "spec"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    assert {"django", "psycopg", "rest_framework"} <= found
    return found - set(sys.stdlib_module_names) - {"cachelayer"}
