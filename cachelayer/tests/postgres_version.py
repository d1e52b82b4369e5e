"""Tests of what not every Postgres can."""

import pytest
from django.db import connection


def needs(version: int, what: str) -> None:
    """Skip the test on a Postgres before *version*, with which *what* came."""
    if connection.pg_version < version * 10_000:
        pytest.skip(f"{what} came with Postgres {version}.")
