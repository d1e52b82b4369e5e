"""``/`` and, under ``/console/``, what its page asks for: lab mode only."""

from django.urls import path

from itemsite.console import race, views

urlpatterns = [
    path("", views.home, name="home"),
    path("console/live", views.live, name="console-live"),
    path("console/list", views.listed, name="console-list"),
    path("console/traces", views.traces, name="console-traces"),
    path("console/faults/<str:name>", views.fault, name="console-fault"),
    path("console/race", race.start, name="console-race"),
    path("console/race/<uuid:pk>", race.row, name="console-race-row"),
]
