"""Each viewset of ``views`` under its name, with some bases."""

from django.urls import path
from rest_framework.routers import DefaultRouter
from rest_framework.urlpatterns import format_suffix_patterns
from rest_framework.viewsets import ViewSetMixin

from cachelayer.tests.twins.views import TWINS


class Urls:
    """A URLconf."""

    def __init__(self, *bases):
        router = DefaultRouter()
        self.urlpatterns = []
        for name, (make, _) in TWINS.items():
            view = make(*bases)
            if not issubclass(view, ViewSetMixin):
                self.urlpatterns += format_suffix_patterns(
                    [path(f"{name}/<pk>/", view.as_view(), name=name)]
                )
            else:
                prefix = r"of_owner/(?P<owner>[^/.]+)" if name == "of_owner" else name
                router.register(prefix, view, basename=name)
        self.urlpatterns += router.urls
