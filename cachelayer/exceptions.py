"""The exceptions that the cache layer raises."""


class CacheUnavailable(Exception):  # noqa: N818  (Django: ObjectDoesNotExist, Http404)
    """Redis did not answer, or the gate is not closed. The caller continues without Redis."""


class Barred(CacheUnavailable):
    """The gate is not closed, so Redis was not asked."""


class BrokenConnection(CacheUnavailable):
    """The connection broke in a round trip that must not be sent again unchanged."""


class OnTheMove(CacheUnavailable):
    """On Redis Cluster, the slot of these keys is moving from one node to another."""


class SwitchedOff(Barred):
    """The settings say that this process does not use Redis."""

    def __init__(self) -> None:
        super().__init__(
            "The cache layer is switched off here: CACHELAYER['ENABLED'] is False. Set it to True "
            "to use the cache."
        )


class UndeclaredRead(Exception):  # noqa: N818  (as CacheUnavailable)
    """A serializer reads undeclared data, so the cached row could not follow its changes."""
