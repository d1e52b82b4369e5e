"""The benchmark: what this project costs and saves, against what it could be compared with.

    python -m loadtest.bench            every row, about half an hour
    python -m loadtest.bench --quick    every row, short and small
    python -m loadtest.bench --row hit --row page --repeats 9

It starts a separate lab, and beside it the peers in ``peers/``: the same service as
plain REST framework without the cache layer, or with django-cacheops (``plain.py``), a naive
write-through cache (``loadtest/control_app.py``), WSGI applications of a few lines (``bare.py``),
and async services on FastAPI (``fast_api.py``) and django-bolt (``bolt``). A peer whose packages
are not installed leaves its rows out, and says what to install. The row ``orm`` needs no server:
it compares writes of one project (``orm.py``) with the cache layer and without. Nor does the row
``documents``, in which one document is served by this project, by django-cacheops and by
django-cachalot (``documents.py``; without the packages of requirements-load.txt they are left
out). The load of the row ``mixed`` is Locust's (``story.py``). Those that are compared are
measured in turns, so that what else the machine does falls on all; what counts is the ratio.

Single operations, requests and layers: ``./lab test */tests/bench_*.py``, without a server.
"""
