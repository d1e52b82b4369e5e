"""Items in the admin."""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from django.contrib import admin, messages
from django.db import DataError, IntegrityError, transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from cachelayer.admin import CachedRowPanel
from items.models import Item

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Item]
else:
    _ModelAdmin = admin.ModelAdmin

_TENTH: Final = Decimal("0.10")


@admin.register(Item)
class ItemAdmin(CachedRowPanel, _ModelAdmin):
    list_display = ["name", "price", "created_at", "updated_at", "id"]
    list_filter = ["created_at", "updated_at"]
    search_fields = ["name", "description", "id"]
    date_hierarchy = "created_at"
    fields = ["id", "name", "description", "price", "created_at", "updated_at"]
    readonly_fields = ["id", "created_at", "updated_at"]
    actions = ["raise_price", "lower_price"]

    @admin.action(description=_("Raise the price by 10 %%"), permissions=["change"])
    def raise_price(self, request: HttpRequest, queryset: "QuerySet[Item]") -> None:
        self._multiply_price(request, queryset, 1 + _TENTH)

    @admin.action(description=_("Lower the price by 10 %%"), permissions=["change"])
    def lower_price(self, request: HttpRequest, queryset: "QuerySet[Item]") -> None:
        self._multiply_price(request, queryset, 1 - _TENTH)

    def _multiply_price(
        self, request: HttpRequest, queryset: "QuerySet[Item]", factor: Decimal
    ) -> None:
        try:
            with transaction.atomic():
                count = queryset.update(price=F("price") * factor, updated_at=timezone.now())
        except (DataError, IntegrityError):
            message = _("No price was changed: one of them would become too high.")
            self.message_user(request, message, messages.ERROR)
            return
        changed = ngettext(
            "The price of %(count)d item was changed.",
            "The prices of %(count)d items were changed.",
            count,
        )
        self.message_user(request, changed % {"count": count}, messages.SUCCESS)
