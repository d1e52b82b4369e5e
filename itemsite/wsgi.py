"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from itemsite import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")
# Before Django reads its middlewares.
telemetry.instrument()
_django = get_wsgi_application()

# Not at the top: it needs the settings.
from cachelayer.wsgi import fast_hits  # noqa: E402

application = fast_hits(_django, telemetry.sampling())
