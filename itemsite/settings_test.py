"""The settings under test: the lab's, and an app whose models try the cache layer."""

from itemsite.settings import *  # noqa: F403
from itemsite.settings import CACHELAYER as _CACHELAYER
from itemsite.settings import CACHES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "cachelayer.tests.bookshop", "cachelayer.tests.twins"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# No test fails because a busy machine answered late; those on timeouts set their own.
CACHES["default"]["OPTIONS"] |= {"SOCKET_CONNECT_TIMEOUT": 10, "SOCKET_TIMEOUT": 10}
CACHELAYER = {
    "REQUEST_BUDGET": 20.0,
    "TRACE_LINK": _CACHELAYER["TRACE_LINK"],
    "BASE_URL": "http://testserver",  # Where Django's test client sends its requests.
}
