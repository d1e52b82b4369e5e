"""What the cache layer raises."""


class CacheUnavailable(Exception):  # noqa: N818  (Django: ObjectDoesNotExist, Http404)
    """Redis did not answer, or the gate is not closed. The caller goes on without it."""


class Barred(CacheUnavailable):
    """The gate let nobody through; Redis was not asked."""


class SwitchedOff(Barred):
    """The settings say that this process does without Redis."""

    def __init__(self) -> None:
        super().__init__(
            "The cache layer is switched off here: CACHELAYER['ENABLED'] is False. Set it to True "
            "to use the cache."
        )


class UndeclaredRead(Exception):  # noqa: N818  (as CacheUnavailable)
    """A serializer reads what is not its row: the cached row would not follow it."""
