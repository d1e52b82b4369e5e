"""The microbenchmarks still work: each does its operation once, and looks at what came of it."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def elsewhere(url, name):
    """*url* with another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def test_every_benchmark_does_what_it_says(tmp_path):
    files = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*/tests/bench_*.py"))]
    assert len(files) == 3
    # This process has a database of tests, too, and keys in Redis.
    environment = {
        **os.environ,
        "DATABASE_URL": elsewhere(os.environ["DATABASE_URL"], "benchmarks"),
        "REDIS_URL": elsewhere(os.environ["REDIS_URL"], "1"),
    }
    arguments = ["-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pytest'}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--benchmark-disable", *arguments, *files],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
