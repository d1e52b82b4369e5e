from django.contrib import admin

from cachelayer.admin import CachedRowPanel

from .models import Book


@admin.register(Book)
class BookAdmin(CachedRowPanel, admin.ModelAdmin):
    pass
