"""The settings under test: the lab's, and an app whose models try the cache layer."""

from itemsite.settings import *  # noqa: F403
from itemsite.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "cachelayer.tests.bookshop"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
