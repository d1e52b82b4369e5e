from django.urls import path

from cachelayer.contrib.rest.endpoints import ClearView, StatsView

app_name = "cachelayer"
urlpatterns = [
    path("stats", StatsView.as_view(), name="stats"),
    path("clear", ClearView.as_view(), name="clear"),
]
