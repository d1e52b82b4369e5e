"""System checks of documents: the cache can follow what they show."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from cachelayer.representation import computed, registry
from cachelayer.representation.registration import CachedModel


@register()
def check_documents(**kwargs: Any) -> list[CheckMessage]:
    """Rows that show other rows, and documents that functions compute."""
    problems = [each for cached in registry.all_cached() for each in _wrong_dependencies(cached)]
    for found in registry.all_computed():
        if why := computed.problem_of(found):
            problems.append(
                Error(
                    f"The cache cannot follow the document {found.prefix!r}: {why}",
                    hint="In its depends_on, name models of one database, or their columns.",
                    id="cachelayer.E017",
                )
            )
    return problems


def _wrong_dependencies(cached: CachedModel) -> Iterator[CheckMessage]:
    """Errors for shown rows that the cache cannot follow."""
    try:
        shown = cached.shown
    except ImproperlyConfigured as error:
        yield Error(str(error), obj=cached.model, id="cachelayer.E007")
        return
    for each in shown.each_model() if shown else ():
        if router.db_for_write(each) != cached.database:
            yield Error(
                f"{cached.model._meta.label} shows rows of {each._meta.label}, which are in "
                "another database: no transaction can write both.",
                hint="Show only the keys of these rows, and read the rows separately.",
                obj=cached.model,
                id="cachelayer.E007",
            )
