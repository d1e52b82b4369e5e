"""The tests of ``test_pages.py`` on a Redis Cluster."""

from cachelayer.tests.test_pages import *  # noqa: F403  (pytest collects them)
