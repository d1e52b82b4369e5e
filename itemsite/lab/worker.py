"""A pytest plugin of ``./lab test``: each worker of pytest-xdist has separate servers."""

from pathlib import Path
from typing import Final

import pytest

from itemsite.environment import take_servers_of_worker
from itemsite.lab.bootstrap import ROOT

#: The files that take longest, longest first. They are begun first: begun last, one would keep its
#: worker long after the others have ended.
LONGEST: Final = (
    "itemsite/tests/test_lab.py",
    "cachelayer/tests/test_model.py",
    "itemsite/console/tests/test_console.py",
    "loadtest/tests/test_locustfile.py",
    "loadtest/tests/test_storm.py",
    "loadtest/tests/test_simulate.py",
    "loadtest/tests/test_bench_peers.py",
    "itemsite/tests/test_installed_package.py",
    "itemsite/tests/test_traces.py",
    "itemsite/tests/test_behind_pgbouncer.py",
    "itemsite/tests/test_spans_of_hits.py",
    "itemsite/tests/test_api_docs.py",
    "itemsite/tests/test_runbook.py",
    "loadtest/tests/test_bench.py",
    "loadtest/tests/test_plan.py",
    "cachelayer/tests/test_cluster_faults.py",
    "cachelayer/tests/test_cluster_moves.py",
    "itemsite/tests/test_outages.py",
    "itemsite/tests/test_adoption.py",
    "loadtest/tests/test_background.py",
    "itemsite/tests/test_documented_commands.py",
    "cachelayer/tests/test_sentinel.py",
    "cachelayer/tests/test_views_differ.py",
    "itemsite/tests/test_metrics_files.py",
    "itemsite/tests/test_dashboard.py",
    "itemsite/tests/test_benchmarks.py",
    "itemsite/tests/test_settings.py",
)
_RANKS = {ROOT / path: rank for rank, path in enumerate(LONGEST)}

# Before pytest-django loads the settings.
take_servers_of_worker()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _RANKS.get(Path(item.path), len(_RANKS)))
