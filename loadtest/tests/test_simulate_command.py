"""``python -m loadtest.simulate``: what it prints, and what it says when it cannot."""

import json

import pytest

from loadtest.simulate import __main__ as command
from loadtest.simulate.formula import forecast
from loadtest.simulate.site import Site


def run(capsys, *arguments):
    code = command.main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


SITE = ("--rows", "3000", "--reads", "300")


def test_the_command_says_the_forecast_for_people_and_programs(capsys):
    code, said, _ = run(capsys, *SITE, "--memory", "100KB", "--events", "--requests", "2e3")
    assert code == 0
    assert "hit rate" in said
    assert "played, hit rate" in said
    code, said, _ = run(capsys, *SITE, "--json")
    assert json.loads(said)["formula"]["hit_rate"] == pytest.approx(
        forecast(Site(rows=3000, reads=300.0)).hit_rate
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "--rows 1e6 --reads 2000 --writes 20 --memory 1GB",
        "--rows 20000 --reads 500 --memory 10MB --events",
    ],
)
def test_the_examples_of_the_planning_page_work(capsys, arguments):
    code, said, _ = run(capsys, *arguments.split())
    assert code == 0
    assert "hit rate" in said


def test_the_sites_of_the_planning_page_are_printed(capsys):
    code, said, _ = run(capsys, "--sites")
    assert (code, said.splitlines()[0]) == (0, "| | small | middle | large | large, a day |")


def test_the_command_takes_numbers_as_people_write_them(capsys):
    arguments = ("--rows", "1,000", "--reads", "1e2", "--json", "--row-bytes", "1", "--ttl", "1e6")
    rates = [
        json.loads(run(capsys, *arguments, "--memory", memory)[1])["formula"]["cached_rows"]
        for memory in ("500", "0.5KB", "0.0005 MB")
    ]
    assert rates == pytest.approx([500] * 3, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give --rows and --reads, such as --rows 1e6"),
        (("--rows", "0", "--reads", "1"), "Give --rows 1 or more."),
        ((*SITE, "--policy", "allkeys-lfu"), "Choose volatile-lru."),
        (("--sites", "/nowhere/plan.json"), "python -m loadtest.bench.plan"),
    ],
)
def test_the_command_says_what_to_do_when_it_cannot(capsys, arguments, sentence):
    code, said, error = run(capsys, *arguments)
    assert (code, said) == (2, "")
    assert sentence in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--memory", "much"), "Write 512MB, 4GB or bytes"),
        (("--rows", "many"), "Write 1000000 or 1e6"),
    ],
)
def test_arguments_that_are_no_numbers_are_refused_with_an_example(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_redis_that_would_be_full_is_said_with_what_to_do(capsys):
    code, said, _ = run(capsys, *SITE, "--memory", "1KB", "--policy", "noeviction")
    assert code == 0
    assert "Set maxmemory-policy to volatile-lru" in said
