"""The tests of ``test_inspect_key.py`` on a Redis Cluster."""

from cachelayer.tests.test_inspect_key import *  # noqa: F403  (pytest collects them)
