from items.tests.conftest import api, item  # noqa: F401
