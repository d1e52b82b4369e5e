"""The settings under test on other versions of Django: without what holds Django back."""

from itemsite.settings_test import *  # noqa: F403
from itemsite.settings_test import INSTALLED_APPS, MIDDLEWARE

# It measures requests for the lab; cachelayer has no need of it.
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django_prometheus"]
MIDDLEWARE = [path for path in MIDDLEWARE if not path.startswith("django_prometheus.")]
