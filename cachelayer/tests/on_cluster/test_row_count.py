"""The tests of ``test_row_count.py`` on a Redis Cluster."""

from cachelayer.tests.test_row_count import *  # noqa: F403  (pytest collects them)
