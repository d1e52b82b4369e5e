"""A separate lab for the tests that make load."""

import json
import urllib.request

import pytest

from loadtest.isolated_lab import IsolatedLab


class Site:
    """Where the API answers, and what is there."""

    def __init__(self, lab):
        self.lab, self.url, self.port = lab, lab.url, lab.port

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            return json.load(answer)

    def items(self):
        """The newest 100."""
        return self.get("/items?limit=100")["items"]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    lab = IsolatedLab(tmp_path_factory.mktemp("load"))
    try:
        lab.start()
        yield Site(lab)
    finally:
        lab.stop()
