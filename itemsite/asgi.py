"""The ASGI application that gunicorn's ``asgi`` worker serves: hits on its event loop."""

import os

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from itemsite import telemetry
from itemsite.environment import WebEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")

application = telemetry.wrap_on_loop(
    get_wsgi_application(), traced=WSGIHandler, threads=WebEnvironment.read().threads
)
