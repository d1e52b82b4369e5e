"""The tests of ``test_documents.py`` on a Redis Cluster."""

from cachelayer.tests.test_documents import *  # noqa: F403  (pytest collects them)
