"""The tests of ``test_verify.py`` on a Redis Cluster."""

from cachelayer.tests.test_verify import *  # noqa: F403  (pytest collects them)
