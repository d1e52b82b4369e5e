"""The tests of ``test_repair_log.py`` on a Redis Cluster."""

from cachelayer.tests.test_repair_log import *  # noqa: F403
