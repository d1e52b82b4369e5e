"""What a reader may take over: an empty key, an invalid document, or marks that have ended.

A mark is left behind if its writer was killed or lost the answer to its COMMIT, or if its
on_commit hook never ran. No reader needs to wait for it, because the mark names its transaction,
and Postgres knows whether that has ended. A row that is loaded after that answer is not older than
the transaction.
"""

from collections.abc import Mapping, Sequence

from django.db import connections

from cachelayer.protocol import key_states, key_values
from cachelayer.protocol.key_states import Leased
from cachelayer.tracking import session

#: A null status means that the transaction is too old to be known, so it has ended. The query
#: skips xids that this server has not issued (a failover has lost them): Postgres would raise.
_ENDED = """
SELECT xid FROM unnest(%s::text[]) AS xid
WHERE CASE WHEN xid::xid8 < pg_snapshot_xmax(pg_current_snapshot())
    THEN pg_xact_status(xid::xid8) IS DISTINCT FROM 'in progress' END
"""
_MAY_FILL = """
SELECT pg_current_xact_id_if_assigned() IS NULL
    AND current_setting('transaction_isolation') = 'read committed'
"""


def free(
    using: str, values: Mapping[str, bytes | None], *, also_leases: bool = False
) -> dict[str, bytes | None]:
    """The keys of *values* whose lease may be taken, each with the value that it must still hold.

    There are none inside a transaction that has written something or does not see what others
    commit, nor in a session that reads timestamps in another time zone.
    """
    found = {
        key: value
        for key, value in values.items()
        if value is None
        or key_values.is_mark(value)
        or key_values.is_invalid(value)
        or (also_leases and key_values.is_lease(value))
    }
    if not found or not _may_fill(using):
        return {}
    xids = {xid for value in found.values() if key_values.is_mark(value) for xid in _xids(value)}
    ended = _ended(using, xids) if xids else xids
    return {
        key: value
        for key, value in found.items()
        if not key_values.is_mark(value) or _xids(value) <= ended
    }


def lease(using: str, wanted: Mapping[str, bytes | None], token: bytes) -> list[bool]:
    """Lease keys that were found ``free``; return which were leased.

    Raises ``CacheUnavailable``.
    """
    return lease_marked(using, wanted, token, key_states.lease(wanted, token))


def lease_marked(
    using: str, wanted: Mapping[str, bytes | None], token: bytes, tried: Sequence[Leased]
) -> list[bool]:
    """Like ``lease``, where an attempt to lease *wanted* has had the result *tried*."""
    found = dict(zip(wanted, tried, strict=True))
    if marked := [key for key, leased in found.items() if leased is Leased.MARKED]:
        # The marks of a killed writer may be on the plain key only.
        plain = dict(zip(marked, key_states.get_plain(marked), strict=True))
        marks = {key: value for key, value in plain.items() if key_values.is_mark(value)}
        ended = {key: wanted[key] for key in marked if key not in marks} | {
            key: wanted[key] for key in free(using, marks)
        }
        if ended:
            found |= zip(ended, key_states.lease(ended, token, marks), strict=True)
    return [leased is Leased.TAKEN for leased in found.values()]


def have_ended(using: str, marks: bytes | None) -> bool:
    """Whether all transactions that *marks* belong to have ended."""
    xids = _xids(marks)
    return xids <= _ended(using, xids)


def _xids(marks: bytes | None) -> set[int]:
    return key_values.transactions(marks) if marks else set()


def _may_fill(using: str) -> bool:
    """Whether the rows that this thread loads are committed and the latest."""
    connection = connections[using]
    if not session.is_neutral(connection):
        return False
    if connection.connection is None or connection.autocommit:
        return True
    with connection.cursor() as cursor:
        cursor.execute(_MAY_FILL)
        [may] = cursor.fetchone()
    return bool(may)


def _ended(using: str, xids: set[int]) -> set[int]:
    with connections[using].cursor() as cursor:
        cursor.execute(_ENDED, [[str(xid) for xid in xids]])
        return {int(xid) for (xid,) in cursor.fetchall()}
