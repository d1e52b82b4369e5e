"""The console is for this machine's own names."""

import pytest
from django.test import Client


@pytest.fixture
def client():
    return Client(headers={"host": "localhost"})
