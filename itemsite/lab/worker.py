"""A pytest plugin of ``./lab test``: each worker of pytest-xdist has servers of its own."""

from itemsite.environment import take_servers_of_worker

# Before pytest-django loads the settings.
take_servers_of_worker()
