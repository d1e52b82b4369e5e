"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from itemsite import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itemsite.settings")
# Before Django reads its middlewares.
telemetry.instrument()
application = get_wsgi_application()
