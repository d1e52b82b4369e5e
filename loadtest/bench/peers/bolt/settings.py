"""What a project of django-bolt needs, and no more."""

SECRET_KEY = "bench"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django_bolt"]
BOLT_API = ["loadtest.bench.peers.bolt.api:api"]
USE_TZ = True
