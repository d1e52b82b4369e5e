"""The cache in Django's admin: a page of its own, and a panel for cached models' pages."""

from django.contrib import admin

from cachelayer.admin.page import CachePage
from cachelayer.admin.panel import CachedRowPanel
from cachelayer.models import Cache

admin.site.register(Cache, CachePage)

__all__ = ["CachePage", "CachedRowPanel"]
