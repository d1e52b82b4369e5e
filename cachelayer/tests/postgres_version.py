"""Tests of what not every Postgres can."""

from typing import Any

import pytest
from django.db import connection


def needs(version: int, what: str) -> None:
    """Skip the test on a Postgres before *version*, with which *what* came."""
    postgres: Any = connection
    if postgres.pg_version < version * 10_000:
        pytest.skip(f"{what} came with Postgres {version}.")
