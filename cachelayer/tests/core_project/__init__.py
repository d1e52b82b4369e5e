"""A Django project with the core dependencies only, and what it does with the cache layer.

It is a package whose name is not fixed, so that a copy of it can be tried beside an installed
wheel: ``python -m django test core_project --settings core_project.settings``.
"""
