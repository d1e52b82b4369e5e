"""The configurations of the protocols that are checked, and the definition of a mutant.

A configuration sets the sizes and faults of ``protocol.pml``. A mutant removes one part of the
protocol by an edit of its text, so that the protocol itself stays readable. It must give a stale
read in its configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """Macros for the protocol, and their meaning."""

    name: str
    macros: tuple[str, ...]
    about: str
    #: The file that is checked.
    protocol: str = "protocol.pml"
    #: Whether some interleaving must execute every line of the protocol.
    reaches_all: bool = False
    #: Whether it takes minutes, so that it is checked only on request.
    long: bool = False


@dataclass(frozen=True, slots=True)
class Mutant:
    """The protocol with ``edits``: pairs of a text that occurs exactly once and its replacement."""

    name: str
    configuration: str
    #: The part that the mutant lacks.
    lacks: str
    #: How a stale read comes about.
    story: str
    edits: tuple[tuple[str, str], ...]
    #: As for a configuration.
    long: bool = False


def _macros(
    writers: int, readers: int, reconcilers: int = 0, faults: int = 0, *flags: str
) -> tuple[str, ...]:
    """Every macro of ``protocol.pml`` with a value, and *flags*, which may override values."""
    sizes = {
        "WRITERS": writers,
        "READERS": readers,
        "RECONCILERS": reconcilers,
        "FAULTS": faults,
        "SERVERS": 1,
        "START": 0,
        "UNFOLLOWED": 0,
        "VARIANT": 0,
        "REMOVERS": 0,
    }
    given = {flag.partition("=")[0] for flag in flags}
    return (*(f"{name}={value}" for name, value in sizes.items() if name not in given), *flags)


def _document(
    writers: int, readers: int, stamps: int, reconcilers: int = 0, faults: int = 0, *flags: str
) -> tuple[str, ...]:
    """Like ``_macros``, for ``documents.pml``."""
    sizes = {
        "WRITERS": writers,
        "READERS": readers,
        "STAMPS": stamps,
        "RECONCILERS": reconcilers,
        "FAULTS": faults,
        "UNFOLLOWED": 0,
    }
    given = {flag.partition("=")[0] for flag in flags}
    return (*(f"{name}={value}" for name, value in sizes.items() if name not in given), *flags)


def _page(
    writers: int, readers: int, reconcilers: int = 0, faults: int = 0, *flags: str
) -> tuple[str, ...]:
    """Like ``_macros``, for ``pages.pml``."""
    sizes = {
        "WRITERS": writers,
        "READERS": readers,
        "RECONCILERS": reconcilers,
        "FAULTS": faults,
        "UNFOLLOWED": 0,
    }
    given = {flag.partition("=")[0] for flag in flags}
    return (*(f"{name}={value}" for name, value in sizes.items() if name not in given), *flags)


def _cluster(faults: int, moves: int, *flags: str) -> tuple[str, ...]:
    """Like ``_macros``, for ``cluster.pml``."""
    return ("WRITERS=1", "READERS=1", f"FAULTS={faults}", f"MOVES={moves}", *flags)


CONFIGURATIONS = (
    Configuration(
        "base",
        _macros(3, 3),
        "Redis keeps what it has: kills, rollbacks, expiry, eviction of rows and leases, clear",
    ),
    Configuration(
        "unlocked",
        _macros(3, 2, 0, 0, "UNLOCKED"),
        "the same for a row of several tables, whose writers have no lock in common",
    ),
    Configuration(
        "unfollowed",
        _macros(3, 1, 1, 0, "UNFOLLOWED=1"),
        "one of three writers is psql: only the repair log knows its write",
    ),
    Configuration(
        "outage",
        _macros(1, 2, 1, 2),
        "and Redis twice flushed, restarted empty or restarted with old data, or its incarnation "
        "deleted",
    ),
    Configuration("outage-writers", _macros(2, 1, 1, 1), "the same once, with two writers"),
    Configuration("outage-reconcilers", _macros(1, 1, 2, 1), "the same once, with two reconcilers"),
    Configuration(
        "partition",
        _macros(2, 2, 1, 0, "PARTITION"),
        "any process may get no answer from Redis at any time; its commands may arrive late",
    ),
    Configuration(
        "partition-unlocked",
        _macros(2, 2, 1, 0, "PARTITION", "UNLOCKED"),
        "partition, for a row of several tables",
    ),
    Configuration(
        "partition-outage", _macros(1, 1, 1, 2, "PARTITION"), "partition and two outages"
    ),
    Configuration(
        "strict", _macros(2, 1, 1, 0, "PARTITION", "STRICT"), "partition in the strict mode"
    ),
    Configuration(
        "strict-outage",
        _macros(1, 1, 1, 2, "PARTITION", "STRICT"),
        "partition and two outages in the strict mode",
        reaches_all=True,
    ),
    Configuration(
        "servers",
        _macros(2, 1, 1, 0, "SERVERS=2", "LEADS=2"),
        "two servers alive, the second a replica of the first; commands are led to the other one "
        "twice",
    ),
    Configuration(
        "servers-outage",
        _macros(1, 1, 1, 1, "SERVERS=2", "LEADS=3"),
        "three times, and once a flush, or one server becomes a replica of the other",
    ),
    Configuration(
        "servers-partition",
        _macros(1, 1, 1, 0, "SERVERS=2", "LEADS=3", "PARTITION"),
        "three times, and any process gets no answer",
    ),
    Configuration(
        "servers-reconcilers",
        _macros(1, 1, 2, 0, "SERVERS=2", "LEADS=2", "START=1", "UNFOLLOWED=1"),
        "twice, with two reconcilers",
    ),
    Configuration(
        "servers-strict",
        _macros(1, 1, 1, 0, "SERVERS=2", "LEADS=2", "STRICT"),
        "twice, in the strict mode",
    ),
    Configuration(
        "servers-strict-reconcilers",
        _macros(1, 1, 2, 0, "SERVERS=2", "LEADS=1", "START=1", "STRICT"),
        "and with two reconcilers",
        long=True,
    ),
    Configuration(
        "variant",
        _macros(2, 2, 0, 0, "VARIANT=1", "REMOVERS=1"),
        "two releases side by side, a reader of each; the variant is registered and removed at "
        "any moment",
    ),
    Configuration(
        "variant-removers",
        _macros(1, 1, 0, 0, "VARIANT=1", "REMOVERS=2"),
        "a variant that two processes remove at once",
    ),
    Configuration(
        "variant-unlocked",
        _macros(2, 2, 0, 0, "VARIANT=1", "REMOVERS=1", "UNLOCKED"),
        "a variant of a row of several tables",
    ),
    Configuration(
        "variant-unfollowed",
        _macros(2, 1, 1, 0, "VARIANT=1", "REMOVERS=1", "UNFOLLOWED=1"),
        "a variant, and one of two writers is psql",
    ),
    Configuration(
        "variant-partition",
        _macros(1, 1, 1, 0, "VARIANT=1", "REMOVERS=1", "PARTITION"),
        "a variant and a partition",
    ),
    Configuration(
        "variant-outage",
        _macros(1, 1, 1, 1, "VARIANT=1", "REMOVERS=1"),
        "a variant and an outage",
    ),
    Configuration(
        "variant-servers",
        _macros(1, 1, 0, 1, "VARIANT=1", "REMOVERS=1", "SERVERS=2", "LEADS=2"),
        "a variant, and two servers alive, of which one is once made a replica of the other",
    ),
    Configuration(
        "variant-servers-repair",
        _macros(1, 1, 1, 0, "VARIANT=1", "REMOVERS=1", "SERVERS=2", "LEADS=2"),
        "a variant, and two servers alive, with a reconciler",
        long=True,
    ),
    Configuration(
        "variant-outage-writers",
        _macros(2, 1, 1, 1, "VARIANT=1"),
        "a variant that is not removed, an outage, and two writers",
        long=True,
    ),
    Configuration(
        "variant-partition-writers",
        _macros(2, 1, 1, 0, "VARIANT=1", "PARTITION"),
        "a variant that is not removed, a partition, and two writers",
        long=True,
    ),
    Configuration(
        "liveness",
        _macros(1, 1, 2, 1, "LIVENESS"),
        "no stale reads, but that the gate closes again once faults have stopped, with two "
        "reconcilers, of which one may be killed",
    ),
    Configuration("outage-2-2", _macros(2, 2, 1, 1), "outage, two of each", long=True),
    Configuration(
        "partition-outage-writers",
        _macros(2, 1, 1, 1, "PARTITION"),
        "partition and one outage, with two writers",
        long=True,
    ),
    Configuration(
        "servers-3-leads", _macros(2, 1, 1, 0, "SERVERS=2", "LEADS=3"), "three times", long=True
    ),
    Configuration(
        "servers-strict-partition",
        _macros(1, 1, 1, 0, "SERVERS=2", "LEADS=2", "PARTITION", "STRICT"),
        "and any process gets no answer",
        long=True,
    ),
    Configuration(
        "document",
        _document(2, 2, 1),
        "a document of its own row and a stamp: kills, rollbacks, expiry and eviction of "
        "documents, leases and stamps",
        protocol="documents.pml",
    ),
    Configuration(
        "document-stamps",
        _document(2, 1, 2),
        "the same with two stamps",
        protocol="documents.pml",
    ),
    Configuration(
        "document-outage",
        _document(1, 1, 2, 1, 1),
        "and Redis flushed, restarted empty or restarted with old data, or its incarnation deleted",
        protocol="documents.pml",
    ),
    Configuration(
        "document-partition",
        _document(2, 1, 1, 1, 0, "PARTITION"),
        "and any writer gets no answer; a late mark arrives at any time, or never",
        protocol="documents.pml",
    ),
    Configuration(
        "document-unfollowed",
        _document(2, 1, 1, 1, 0, "UNFOLLOWED=1"),
        "one of two writers is psql: only the repair log knows its write",
        protocol="documents.pml",
    ),
    Configuration(
        "pure",
        _document(2, 2, 2, 0, 0, "PURE"),
        "a document that has no own row, and two stamps: kills, rollbacks, evictions",
        protocol="documents.pml",
    ),
    Configuration(
        "pure-outage",
        _document(1, 2, 1, 1, 1, "PURE"),
        "and Redis flushed, restarted empty or restarted with old data, or its incarnation deleted",
        protocol="documents.pml",
    ),
    Configuration(
        "pure-partition",
        _document(2, 1, 2, 1, 0, "PARTITION", "PURE", "UNFOLLOWED=1"),
        "one of two writers is psql, and the other gets no answer",
        protocol="documents.pml",
    ),
    Configuration(
        "document-2-2",
        _document(2, 2, 2),
        "two stamps, and two readers",
        protocol="documents.pml",
        long=True,
    ),
    Configuration(
        "document-outage-writers",
        _document(2, 1, 1, 1, 1),
        "an outage, and two writers",
        protocol="documents.pml",
        long=True,
    ),
    Configuration(
        "page",
        _page(2, 2),
        "a page of cached rows: kills, rollbacks, expiry and eviction of any key",
        protocol="pages.pml",
    ),
    Configuration(
        "page-bulk",
        _page(2, 1, 1, 0, "BULK"),
        "and writers that mark only the stamp, and log their rows",
        protocol="pages.pml",
    ),
    Configuration(
        "page-unfollowed",
        _page(2, 1, 1, 0, "UNFOLLOWED=1"),
        "one of two writers is psql: only the repair log knows its write",
        protocol="pages.pml",
    ),
    Configuration(
        "page-outage",
        _page(1, 1, 1, 1),
        "and Redis flushed, restarted empty or restarted with old data, or its incarnation deleted",
        protocol="pages.pml",
    ),
    Configuration(
        "page-partition",
        _page(1, 1, 1, 0, "PARTITION", "ELSEWHERE"),
        "and a writer gets no answer, or one of several; a reader is led to another server",
        protocol="pages.pml",
    ),
    Configuration(
        "page-outage-readers",
        _page(1, 2, 1, 1),
        "an outage, and two readers",
        protocol="pages.pml",
        long=True,
    ),
    Configuration(
        "page-partition-writers",
        _page(2, 1, 1, 0, "PARTITION", "ELSEWHERE", "UNFOLLOWED=1"),
        "a partition, and a second writer, which is psql",
        protocol="pages.pml",
        long=True,
    ),
    Configuration(
        "cluster-fault-document",
        _cluster(1, 0, "ONLY=0"),
        "a document and a stamp on two nodes; the document's shard is flushed, fails over to a "
        "replica that lags, or is given away without its keys",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-fault-stamp",
        _cluster(1, 0, "ONLY=1"),
        "the same happens to the stamp's shard",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-former-document",
        _cluster(1, 0, "ONLY=0", "ZOMBIE"),
        "the document's shard fails over, and the former primary still answers",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-former-stamp",
        _cluster(1, 0, "ONLY=1", "ZOMBIE"),
        "the stamp's shard does",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-move-document",
        _cluster(0, 1, "ONLY=0"),
        "the slot of the document moves to the other node, key by key, or the move is called off",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-move-stamp",
        _cluster(0, 1, "ONLY=1"),
        "the slot of the stamp does",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-scan",
        _cluster(1, 2, "ONLY=0", "SCAN"),
        "the document's shard fails over, and its slot moves away and back while it is swept",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-away",
        _cluster(0, 0, "AWAY"),
        "any node gives a writer no answer",
        protocol="cluster.pml",
    ),
    Configuration(
        "cluster-move-back",
        _cluster(0, 2, "ONLY=1"),
        "the slot of the stamp moves twice, so it may come back",
        protocol="cluster.pml",
        long=True,
    ),
    Configuration(
        "cluster-fault-move",
        _cluster(1, 1, "ONLY=1"),
        "the slot of the stamp moves, and its shard has a fault",
        protocol="cluster.pml",
        long=True,
    ),
)
