"""django-bolt, whose HTTP server is written in Rust, with one GET by redis.asyncio.

``DJANGO_SETTINGS_MODULE=loadtest.bench.peers.bolt.settings python -m django runbolt``. It does the
least that it can: no logs, no metrics, no traces, no compression, no database behind the cache.
What it needs is in loadtest/requirements.txt.
"""
