"""The WSGI application that gunicorn serves."""

import os

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from itemsite import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")

application = telemetry.wrap(get_wsgi_application(), traced=WSGIHandler)
