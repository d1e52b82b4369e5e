"""The tests of ``test_bulk.py`` on a Redis Cluster."""

from cachelayer.tests.test_bulk import *  # noqa: F403  (pytest collects them)
