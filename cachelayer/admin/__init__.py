"""The cache in Django's admin: the cache page, and a panel on the pages of cached models."""

from django.contrib import admin

from cachelayer.admin.page import CachePage
from cachelayer.admin.panel import CachedRowPanel
from cachelayer.models import Cache

admin.site.register(Cache, CachePage)

__all__ = ["CachePage", "CachedRowPanel"]
