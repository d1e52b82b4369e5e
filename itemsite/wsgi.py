"""The WSGI application that gunicorn serves."""

import os

from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from itemsite import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")
_django = get_wsgi_application()

# Not at the top: it needs the settings.
from cachelayer.contrib.wsgi import fast_hits  # noqa: E402

application = telemetry.wrap(fast_hits(_django), traced=WSGIHandler)
