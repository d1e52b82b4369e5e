"""What is checked: configurations of the protocol, and mutants of it.

A configuration gives ``protocol.pml`` its sizes and faults. A mutant takes one
part of the protocol away by editing its text, so that the protocol itself can
be read without them; it must give a stale read in its configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """Macros for ``protocol.pml``, and what they stand for."""

    name: str
    macros: tuple[str, ...]
    about: str
    #: Every line of the protocol is executed here, or something is wrong with it.
    reaches_all: bool = False
    #: Takes minutes; only checked when it is asked for.
    long: bool = False


@dataclass(frozen=True, slots=True)
class Mutant:
    """The protocol with ``edits``: pairs of a text that occurs once and its replacement."""

    name: str
    configuration: str
    #: What the protocol lacks now.
    lacks: str
    #: How it comes to a stale read.
    story: str
    edits: tuple[tuple[str, str], ...]
    #: As for a configuration.
    long: bool = False


def _macros(
    writers: int, readers: int, reconcilers: int = 0, faults: int = 0, *flags: str
) -> tuple[str, ...]:
    """Every macro of ``protocol.pml`` that has a value, and *flags*; those may give it too."""
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
        "one of three writers is psql: the repair log alone knows of it",
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
        "any process gets no answer from Redis, any time; its commands may arrive late",
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
        "strict", _macros(2, 1, 1, 0, "PARTITION", "STRICT"), "partition under the strict choice"
    ),
    Configuration(
        "strict-outage",
        _macros(1, 1, 1, 2, "PARTITION", "STRICT"),
        "partition and two outages under the strict choice",
        reaches_all=True,
    ),
    Configuration(
        "servers",
        _macros(2, 1, 1, 0, "SERVERS=2", "LEADS=2"),
        "two servers alive, the second a replica of the first; twice are commands led to the other",
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
        "twice, under the strict choice",
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
        "a variant that two remove at once",
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
        "a variant that nobody removes, an outage, and two writers",
        long=True,
    ),
    Configuration(
        "variant-partition-writers",
        _macros(2, 1, 1, 0, "VARIANT=1", "PARTITION"),
        "a variant that nobody removes, a partition, and two writers",
        long=True,
    ),
    Configuration(
        "liveness",
        _macros(1, 1, 2, 1, "LIVENESS"),
        "not whether a read is stale, but whether the gate closes again once faults have "
        "stopped, with "
        "two reconcilers, of which one may be killed",
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
)

_MARK = "  if :: w < WRITERS - UNFOLLOWED -> mark() :: else fi;\n"
_APPEND = "append(MINE(w))"
_LATE = "append(LATE(v))"
_COUNTS = "counts = (own && its == known[w]); break"
_BELIEVED = "#define BELIEVED_IN(e) (state == TRUSTED && own && its == e)"
_REPAIR = "cache = (IS_MARKS(cache) -> APPENDED(cache, REPAIR) : ABSENT)"
_ASKED = "!(XIDS(c) & ~ended)"
_LEASE = (
    ":: gate[r] == TRUSTING && state == TRUSTED && !IS_ROW(KEY(r)) && LEASABLE(r) ->\n"
    "       TAKE_PLAIN(r); KEY(r) = LEASE(r);"
)
_SWEEP = "repair(SETTLING_MINE, HERE) }"
_REPAIRS_COUNT = "(own && its == LAST_VALUE)"
_VARIANT_LEASE = "(registered == LIVE && FREE(cache))"
_VARIANT_PUSH = (
    "(second && registered == LIVE && state == TRUSTED && IS_MARKS(cache) && LAST(cache) == w)"
)
_CLOSES = "registered = CLOSING(p);\n"
_CLOSING = "(up && registered == CLOSING(p) && own && its == known[p])"
_NEXTVAL = "  atomic { nextval(); known[p] = LAST_VALUE; held = held & ~BIT(p) }\n"


def _sweep(becomes: str) -> str:
    return f"if :: CONNECTED(p) && SETTLING_MINE -> cache = {becomes} :: else -> goto start fi }}"


MUTANTS = (
    Mutant(
        "no-mark",
        "base",
        "the mark",
        "A reader loads the old row before the COMMIT and fills it; the writer is killed before "
        "its push.",
        ((_MARK, ""),),
    ),
    Mutant(
        "no-lease",
        "base",
        "the lease: a reader fills whenever the key is absent",
        "A reader loads the old row and pauses; a write comes and goes, its row is evicted; the "
        "reader fills.",
        (
            (_LEASE, _LEASE.replace(" KEY(r) = LEASE(r);", "")),
            ("CONNECTED(r) && KEY(r) == LEASE(r)", "CONNECTED(r) && KEY(r) == ABSENT"),
        ),
    ),
    Mutant(
        "fill-any-lease",
        "base",
        "that a fill needs the reader's own lease: any does",
        "A reader loads the old row and pauses; a write comes and goes, its row is evicted, and "
        "another reader takes its lease; the first fills.",
        (
            (
                "CONNECTED(r) && KEY(r) == LEASE(r)",
                "CONNECTED(r) && KEY(r) >= LEASE(0) && KEY(r) < 32",
            ),
        ),
    ),
    Mutant(
        "push-blind",
        "base",
        "the comparison in the push",
        "The push of the first writer comes after the mark of the second, overwrites it, and the "
        "second is killed after its COMMIT.",
        (
            (
                "          if\n          :: !IS_MARKS(cache)",
                "          if\n          :: cache = mine\n          :: !IS_MARKS(cache)",
            ),
        ),
    ),
    Mutant(
        "push-deletes-mark",
        "base",
        "that a push leaves another's mark",
        "The push of the first writer deletes the mark of the second; a reader fills the row that "
        "the second then replaces.",
        (
            (
                "LAST(cache) != w -> cache = MARKS(SET(cache) & ~BIT(w), LAST(cache))",
                "LAST(cache) != w -> cache = ABSENT",
            ),
        ),
    ),
    Mutant(
        "push-if-not-last",
        "base",
        "that only the last mark of the list is replaced by its row",
        "The second writer marks behind the first, which then pushes: its row hides the mark of "
        "the second, and is older once that has committed.",
        (("LAST(cache) == w && mine -> cache = mine", "mine -> cache = mine"),),
    ),
    Mutant(
        "release-bares",
        "base",
        "that a release leaves a mark of nobody's where it was the last",
        "The first writer commits and pauses; the second marks, commits and releases; the first's "
        "mark is the last again, and its push puts the older row.",
        (
            (
                "MARKS((SET(cache) & ~BIT(w)) | BIT(REPAIR), REPAIR)",
                "MARKS(SET(cache) & ~BIT(w), (SET(cache) & ~BIT(w)) / 2)",
            ),
        ),
    ),
    Mutant(
        "mark-evicted",
        "base",
        "that a mark is not evicted",
        "The mark is evicted before the COMMIT; a reader takes the lease and fills the old row; "
        "the writer commits.",
        (
            (
                "cache != ABSENT && !IS_MARKS(cache) -> cache = ABSENT",
                "cache != ABSENT -> cache = ABSENT",
            ),
        ),
    ),
    Mutant(
        "take-over-unasked",
        "base",
        "the question whether the transaction has ended",
        "A reader takes over the mark of a transaction in flight and fills the old row; the writer "
        "commits and is killed.",
        ((_ASKED, "true"),),
    ),
    Mutant(
        "take-over-unbound",
        "base",
        "that a lease is for exactly the value that GET found",
        "A reader finds the mark of an ended transaction; a writer marks behind it; the reader's "
        "lease hides that mark, and it fills the old row.",
        (
            (_LEASE, _LEASE.replace(" KEY(r) = LEASE(r);", "")),
            ("load:\n", "lease:\n  atomic { KEY(r) = LEASE(r) }\nload:\n"),
            (" seen = 0; known[r] = 0; goto load", " goto lease"),
        ),
    ),
    Mutant(
        "mark-before-lock",
        "base",
        "that the mark comes after the row lock",
        "Both writers mark, the first waits for the lock; the second commits and pushes, for its "
        "mark is the last; a reader hits that row after the first has committed.",
        (
            ("byte begun = 0; ", "bool locked = false; byte begun = 0; "),
            ("    !RUNNING -> begun = begun", "    begun = begun"),
            ("    if :: mine = ROW(db + 1) :: true fi ", "    skip "),
            (_MARK, _MARK + "  atomic { !locked -> locked = true; mine = ROW(db + 1) };\n"),
            ("    ended = ended | BIT(w);", "    ended = ended | BIT(w); locked = false;"),
        ),
    ),
    Mutant(
        "one-mark",
        "unlocked",
        "the list of marks: a mark replaces those of others",
        "The second writer's mark replaces the first's, and is released; a reader fills the old "
        "row while the first is in flight; the first commits.",
        ((_APPEND, "cache = MARKS(BIT(w), w)"),),
    ),
    Mutant(
        "only-last-asked",
        "unlocked",
        "the question about each of the marks: only the last transaction is asked",
        "The last has ended, the one before it has not: a reader takes over both marks and fills "
        "the old row; the writer commits.",
        ((_ASKED, "(!IS_MARKS(c) || LAST(c) == REPAIR || BIT(LAST(c) % 3) & ended)"),),
    ),
    Mutant(
        "push-without-lock",
        "unlocked",
        "that a writer without the row's lock releases: it pushes",
        "Both render before either has committed; the row of the one shows nothing of the "
        "other's change.",
        (
            (
                "known[w] = LAST_VALUE      /* INSERT of a link */",
                "known[w] = LAST_VALUE; mine = ROW(db + 1)",
            ),
        ),
    ),
    Mutant(
        "not-logged",
        "unfollowed",
        "the log row of a write that nobody follows",
        "psql commits; the old row stays, and nobody hears of it.",
        (("log = (counts -> log : log | BIT(w))", "skip"),),
    ),
    Mutant(
        "no-incarnation",
        "outage",
        "the look: connections are replaced silently",
        "Redis restarts with an old row, and a reader takes it.",
        (
            (
                "(!up -> OPEN : (p >= WRITERS && BELIEVED -> TRUSTING : MARKING))",
                "(!up -> OPEN : (p >= WRITERS -> TRUSTING : MARKING))",
            ),
        ),
    ),
    Mutant(
        "lease-untrusted",
        "outage",
        "that a lease needs `trusted`",
        "FLUSHALL takes the mark of a transaction in flight; a reader whose connection is whole "
        "takes the lease and fills the old row; the writer commits.",
        (
            ("    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE ", "    :: false"),
            (
                "    :: gate[r] == TRUSTING && state == TRUSTED && !IS_ROW",
                "    :: gate[r] == TRUSTING && !IS_ROW",
            ),
        ),
    ),
    Mutant(
        "mismatch-opens",
        "outage",
        "that writes mark also in a Redis that is not believed: they treat it as down",
        "FLUSHALL; a new process finds no incarnation and writes without a mark, while a reader "
        "whose connection is whole still hits what was pushed or filled there.",
        (
            (
                "(!up -> OPEN : (p >= WRITERS && BELIEVED -> TRUSTING : MARKING))",
                "(up && BELIEVED -> TRUSTING : OPEN)",
            ),
        ),
    ),
    Mutant(
        "no-reconnect",
        "outage",
        "the immediate reconnect: a broken connection opens the gate",
        "Redis restarts and is trusted again before a writer notices; its connection breaks, so "
        "it writes without a mark while readers hit.",
        (
            (
                "  :: gate[p] = LOOK(p)\n#endif\n#ifdef PARTITION",
                "  :: gate[p] = (gate[p] == BROKEN -> OPEN : LOOK(p))\n#endif\n#ifdef PARTITION",
            ),
        ),
    ),
    Mutant(
        "no-wait-for-transactions",
        "outage",
        "the wait for running transactions",
        "FLUSHALL takes the mark of a transaction in flight; the new Redis is trusted, a reader "
        "fills the old row, the writer commits.",
        (("!(noted & ~ended) -> noted = 0;", "noted = 0;"),),
    ),
    Mutant(
        "note-before-interval",
        "outage",
        "the order of the two waits: running transactions are noted before the probe interval",
        "A writer whose gate is still open begins after the note and goes without a mark; Redis "
        "is trusted, a reader fills the old row, the writer commits.",
        (
            ("i = 0; noted = RUNNING ", "i = 0 "),
            (
                "  atomic {                                             /* one probe",
                "  noted = RUNNING;\n  atomic { /* one probe",
            ),
        ),
    ),
    Mutant(
        "no-probe-interval",
        "outage",
        "the wait of one probe interval",
        "Redis is trusted again while a writer's gate is still open: it writes without a mark "
        "what readers hit.",
        (("if :: gate[i] == OPEN -> gate[i] = DUE :: else fi", "skip"),),
    ),
    Mutant(
        "no-nonce",
        "outage",
        "the comparison before `trusted`: it is written unconditionally",
        "A second FLUSHALL takes a mark while the first is being settled; the reconciler, which "
        "waited for the first one's transactions only, makes Redis trusted.",
        (
            (
                "CONNECTED(p) && SETTLING_MINE -> state = TRUSTED",
                "CONNECTED(p) -> state = TRUSTED; own = true; its = known[p]",
            ),
        ),
    ),
    Mutant(
        "no-sweep",
        "outage",
        "the sweep: the repair of every key that a new Redis has",
        "Redis restarts with an old row and is trusted.",
        ((_SWEEP, "skip }"),),
    ),
    Mutant(
        "sweep-leaves-marks",
        "outage-writers",
        "that the sweep of a new Redis adds its own mark to a list",
        "The first writer commits, the second marks behind it; Redis restarts with the first "
        "mark alone, the second commits and is killed, and the first pushes its row, which is "
        "older.",
        ((_SWEEP, _sweep("(IS_MARKS(cache) -> cache : ABSENT)")),),
    ),
    Mutant(
        "sweep-deletes-marks",
        "outage",
        "that the sweep of a new Redis leaves the marks that are there: it deletes them (or is a "
        "FLUSHDB)",
        "The sweep deletes the mark of a transaction that began after the waits had; Redis is "
        "trusted, a reader fills the old row, the writer commits.",
        ((_SWEEP, _sweep("ABSENT")),),
    ),
    Mutant(
        "no-log",
        "partition",
        "the repair log",
        "A writer that is cut off commits without a mark; the old row stays.",
        (("log = (counts -> log : log | BIT(w))", "skip"),),
    ),
    Mutant(
        "log-deleted-by-key",
        "partition",
        "that a repair deletes only the log rows it has read",
        "A write is logged for the same key between the repair and the DELETE: its log row goes, "
        "the row that it made old stays.",
        (("log = log & ~take; take = 0", "log = 0; take = 0"),),
    ),
    Mutant(
        "repair-deletes-mark",
        "partition",
        "that a repair leaves the marks that are there: it deletes them",
        "A repair deletes the mark of a transaction in flight; a reader fills the old row, the "
        "writer commits.",
        ((_REPAIR, "cache = ABSENT"),),
    ),
    Mutant(
        "repair-leaves-mark",
        "partition",
        "that a repair adds its own mark to a list: it leaves the list as it is",
        "The first writer has committed, the second, cut off, commits without a mark; the repair "
        "is done when the first pushes its row, which is older.",
        ((_REPAIR, "cache = (IS_MARKS(cache) -> cache : ABSENT)"),),
    ),
    Mutant(
        "late-mark-overrides",
        "partition",
        "that a late mark joins the list: it replaces it",
        "The mark of a transaction that has ended arrives over that of one in flight; a reader "
        "asks, takes it over and fills the old row; the writer in flight commits and is killed.",
        ((_LATE, "cache = MARKS(BIT(LATE(v)), LATE(v))"),),
    ),
    Mutant(
        "push-unsure",
        "partition",
        "that a mark without an answer is never pushed",
        "It arrives late, behind the mark of the next writer, so its push puts the older row; "
        "the next writer is killed after its COMMIT.",
        (
            (_LATE, "append(MINE(v))"),
            (
                "late = late | BIT(w); gate[w] = OPEN; break",
                "late = late | BIT(w); answered = true; break",
            ),
        ),
    ),
    Mutant(
        "no-announcement-wait",
        "strict",
        "the second between declaring an unmarked write and its COMMIT",
        "A reader that saw no declaration just before still trusts Redis.",
        (("  NOBODY_TRUSTS  ", "  skip  "),),
    ),
    Mutant(
        "no-trust-check",
        "strict",
        "that a process looks for declarations",
        "A writer that is cut off commits without a mark; a reader trusts the old row.",
        ((":: outage == 0 -> trust[i]", ":: true -> trust[i]"),),
    ),
    Mutant(
        "trust-checked-after",
        "strict",
        "that the trust is checked before the GET: it is checked after",
        "A reader gets an old row during an outage and pauses; the outage is lifted, the process "
        "trusts again, and the row counts.",
        (
            (
                "  atomic { trust[r] -> known[r] = trust[r]; seen = ROW(db) }",
                "  atomic { known[r] = trust[r]; seen = ROW(db) }",
            ),
            ("       assert(KEY(r) >= seen) ", "       row = KEY(r); known[r] = 0; goto check; "),
            (
                "load:\n",
                "check:\n  atomic { assert(row >= seen || !trust[r]); row = 0; seen = 0; goto "
                "start };\nload:\n",
            ),
            ("IS_ROW(KEY(r)) && BELIEVED_IN(known[r]) -> ", "IS_ROW(KEY(r)) -> "),
        ),
    ),
    Mutant(
        "lift-before-drain",
        "strict",
        "the drain before the declaration is lifted",
        "The declaration is gone while the old row is still there.",
        (("  /* FOR UPDATE */\n     drain();\n", "\n"),),
    ),
    Mutant(
        "lift-in-flight",
        "strict",
        "the share lock: the declaration may be lifted while an unmarked write is in flight",
        "The log is drained, the declaration lifted, readers trust; then the write commits.",
        (("outage == 1 && !held && REPAIRS_COUNT", "outage == 1 && REPAIRS_COUNT"),),
    ),
    Mutant(
        "mark-counts-anywhere",
        "servers",
        "the comparison of a mark's answer with the notice's epoch and the server's run_id",
        "A writer is led to the other server and marks there; what readers hit stays.",
        ((_COUNTS, "counts = true; break"),),
    ),
    Mutant(
        "mark-counts-by-run-id",
        "servers-outage",
        "the comparison of a mark's answer with the notice's epoch",
        "A->B->A: a writer marks in the first server, which never restarted, while readers hit "
        "what the second has, and it is the second that was reconciled last.",
        ((_COUNTS, "counts = own; break"),),
    ),
    Mutant(
        "mark-counts-by-epoch",
        "servers",
        "the server's own run_id in a mark's answer: the epoch alone is compared",
        "A replica has a copy of the incarnation: a writer that is led to it reads there the "
        "epoch of the day, goes on, and the row in the primary stays.",
        ((_COUNTS, "counts = (its == known[w]); break"),),
    ),
    Mutant(
        "look-without-epoch",
        "servers",
        "the comparison of the epochs in the look",
        "A fail-back: the first server says `trusted`, with its own run_id, and has its rows of "
        "before.",
        ((_BELIEVED, _BELIEVED.replace(" && its == e", "")),),
    ),
    Mutant(
        "look-without-run-id",
        "servers",
        "the comparison of run_id in the look",
        "A replica says `trusted` with the epoch of the day, and has rows that were never "
        "invalidated there.",
        ((_BELIEVED, _BELIEVED.replace(" && own", "")),),
    ),
    Mutant(
        "drain-elsewhere",
        "servers",
        "that a repair counts only where the answered epoch is the last one",
        "A process that is led to the old primary repairs the key there and deletes the log row; "
        "the row in the new one stays.",
        (("repair(own && its == known[p], true)", "repair(true, true)"), (_REPAIRS_COUNT, "true")),
    ),
    Mutant(
        "drain-by-epoch",
        "servers",
        "the server's own run_id in a repair's answer",
        "A process that is led to a replica repairs the key there and deletes the log row; the "
        "row in the primary stays.",
        (
            ("repair(own && its == known[p], true)", "repair(its == known[p], true)"),
            (_REPAIRS_COUNT, "(its == LAST_VALUE)"),
        ),
    ),
    Mutant(
        "drain-asks-epoch-first",
        "servers-reconcilers",
        "that a drain reads the log and the epoch in one statement: it asked for the epoch before",
        "Between the two, another server is reconciled, filled, and a write is logged; the "
        "repair counts in the old one.",
        (
            ("  :: log && REPAIRS_COUNT -> drain()", "  :: known[p] = LAST_VALUE; log -> drain()"),
            ("              :: else -> goto start fi };\n", "              :: else fi };\n"),
        ),
    ),
    Mutant(
        "drain-renews-epoch",
        "servers-reconcilers",
        "that a reconcile goes by the epoch that it drew itself: it takes the last one for its own",
        "Another has drawn a new one and written it as `settling` after the first had waited and "
        "swept; the first takes this for its own and makes it `trusted`.",
        ((":: known[p] == 0 -> known[p] = LAST_VALUE\n", ":: known[p] = LAST_VALUE\n"),),
    ),
    Mutant(
        "drain-while-epoch-moves",
        "servers-reconcilers",
        "that a reconcile drains nothing once its epoch is not the last",
        "Another reconcile of another server has swept; a write is logged; the first repairs it "
        "in its own server and deletes the log row.",
        (("              :: else -> goto start fi };\n", "              :: else fi };\n"),),
    ),
    Mutant(
        "sweep-elsewhere",
        "servers-outage",
        "that the sweep goes on only where `settling` with its epoch stands",
        "The reconciler's commands are led to the other server for the sweep, and back for "
        "`trusted`: an old row was never swept.",
        ((_SWEEP, "repair(true, HERE) }"),),
    ),
    Mutant(
        "sweep-before-wait",
        "outage-writers",
        "a sweep or a drain after the waits: it sweeps before them, and drains nothing",
        "The first writer marks after the sweep and commits; the second, whose gate is still "
        "open from before, commits without a mark; Redis is trusted, and the first pushes its "
        "row, which is older.",
        (
            (
                "  MAY_DIE;\n  drain();\n  atomic { if :: CONNECTED(p) && SETTLING_MINE",
                "  atomic { if :: CONNECTED(p) && SETTLING_MINE",
            ),
            (
                "  atomic {                                             /* one probe",
                "  repair(SETTLING_MINE, HERE); atomic { /* one probe",
            ),
            (_SWEEP, "skip }"),
        ),
    ),
    Mutant(
        "abandoned-stays",
        "liveness",
        "that a settling which was abandoned is taken over",
        "The reconciler is killed after `settling`; everybody leaves it to the dead.",
        ((" && !(dead & BIT(settler))", ""),),
    ),
    Mutant(
        "no-advisory-lock",
        "liveness",
        "the advisory lock from the look to `settling`",
        "Two reconcilers, in step: each draws a new epoch after the other has written "
        "`settling`, which is then not the last, for ever.",
        (("!BELIEVED && beginner == 0 &&", "!BELIEVED &&"),),
    ),
    Mutant(
        "drain-first",
        "liveness",
        "that a drain which cannot count is left for later",
        "The log is not empty and Redis was flushed: the repair does not count before the "
        "reconcile, and the reconcile waits for the repair.",
        (("  :: log && REPAIRS_COUNT -> drain()", "  :: log -> drain()"),),
    ),
    Mutant(
        "epoch-after-wait",
        "servers-outage",
        "that the new epoch is drawn before the waits: it is drawn after",
        "A writer that begins after the note reads the old epoch and marks the old server only, "
        "which counts; the new one is trusted, a reader fills the old row, the writer commits.",
        (
            (_NEXTVAL, "  held = held & ~BIT(p);\n"),
            (
                _SWEEP,
                _SWEEP
                + "\n  atomic { if :: CONNECTED(p) && SETTLING_MINE -> nextval(); "
                + "known[p] = LAST_VALUE; its = LAST_VALUE :: else -> goto start fi };\n",
            ),
        ),
    ),
    Mutant(
        "wait-for-nobody",
        "servers",
        "the wait for running transactions",
        "A writer has marked the old server, which counted when it did; the new one is trusted "
        "before it commits, a reader fills the old row.",
        (("!(noted & ~ended) -> noted = 0;", "noted = 0;"),),
    ),
    Mutant(
        "servers-no-sweep",
        "servers",
        "the sweep",
        "The other server has an old row from when it was last in use.",
        ((_SWEEP, "skip }"),),
    ),
    Mutant(
        "replica-keeps-run-id",
        "servers-outage",
        "that a server which was a replica in between is not itself any more: by run_id alone it "
        "is",
        "A->B->A without a reconcile in between: the first is made a replica of the second and "
        "is promoted again. It never restarted, so it takes the incarnation for its own, and it "
        "has lost its last writes.",
        (("own_of[1 - at] = false; faults++", "own_of[1 - at] = (at == 1); faults++"),),
    ),
    Mutant(
        "strict-hit-without-epoch",
        "servers-strict",
        "the epoch in the same round trip as the GET",
        "The reader's connection leads to the old primary; writers mark the new one.",
        (("BELIEVED_IN(known[r]) ->     /* HIT", "true ->     /* HIT"),),
    ),
    Mutant(
        "strict-hit-by-epoch",
        "servers-strict",
        "the server's own run_id in the same round trip as the GET",
        "The reader's connection leads to a replica, which has a copy of the incarnation, and an "
        "old row.",
        (
            (
                "BELIEVED_IN(known[r]) ->     /* HIT",
                "state == TRUSTED && its == known[r] ->     /* HIT",
            ),
        ),
    ),
    Mutant(
        "epoch-before-trust-is-out",
        "servers-strict",
        "that a new epoch is drawn only when all trust has run out",
        "A writer marks the new server, which counts, while a reader still trusts the old one.",
        (("#ifdef STRICT\n  declare(p);\n#endif\n", ""),),
    ),
    Mutant(
        "reconcile-lets-go",
        "servers-strict",
        "the share lock while a new epoch is drawn",
        "Somebody lifts the reconciler's declaration, a reader is trusted for the old epoch; "
        "then the new one is drawn.",
        (
            (
                "#ifdef STRICT\n  declare(p);\n#endif\n",
                "#ifdef STRICT\n  declare(p); held = held & ~BIT(p);\n#endif\n",
            ),
        ),
    ),
    Mutant(
        "variant-lease-blind",
        "variant",
        "that the lease of a variant asks for the marks of the plain key",
        "A writer has marked; a reader of the variant takes the lease and fills the old row; the "
        "writer commits and is killed.",
        ((_VARIANT_LEASE, "registered == LIVE"),),
    ),
    Mutant(
        "variant-lease-unasked",
        "variant",
        "that the lease of a variant asks whether it is registered",
        "Nobody has registered the variant; its reader fills, and a writer marks the plain key "
        "alone.",
        ((_VARIANT_LEASE, "FREE(cache)"),),
    ),
    Mutant(
        "variant-lease-closing",
        "variant",
        "that no lease is given while the variant is being removed",
        "Its rows have been deleted; a reader fills, the variant is taken off the register, and a "
        "writer marks the plain key alone.",
        ((_VARIANT_LEASE, "(registered && FREE(cache))"),),
    ),
    Mutant(
        "variant-take-over-unbound",
        "variant",
        "that a lease of a variant is for exactly the marks that were found in the plain key",
        "A reader finds none in flight; a writer marks; the reader's lease deletes that mark, and "
        "it fills the old row.",
        (
            ("TAKE_PLAIN(r); KEY(r) = LEASE(r); seen = 0; known[r] = 0; goto load", "goto lease"),
            (
                "load:\n",
                "lease:\n  atomic {\n    if :: KEY(r) == ABSENT && (!SECOND(r) || registered == "
                "LIVE) ->\n       TAKE_PLAIN(r); KEY(r) = LEASE(r) :: else -> goto start fi };\n"
                "load:\n",
            ),
        ),
    ),
    Mutant(
        "variant-not-marked",
        "variant",
        "that a mark deletes the variant",
        "The writer commits and is killed; the variant's old row stays.",
        (("  if :: registered -> variant = ABSENT :: else fi\n#endif\n}", "  skip\n#endif\n}"),),
    ),
    Mutant(
        "variant-mark-live-only",
        "variant",
        "that a mark deletes the variant also while it is being removed",
        "The variant is closed, and its rows are not yet deleted; a writer commits.",
        (
            (
                "  if :: registered -> variant = ABSENT :: else fi\n#endif\n}",
                "  if :: registered == LIVE -> variant = ABSENT :: else fi\n#endif\n}",
            ),
        ),
    ),
    Mutant(
        "variant-push-blind",
        "variant",
        "that a push to a variant asks whether the writer's mark is the last in the plain key",
        "The first writer commits, the second marks behind it; the first pushes its row to the "
        "variant; the second commits and is killed.",
        ((_VARIANT_PUSH, "(second && registered == LIVE && state == TRUSTED)"),),
    ),
    Mutant(
        "variant-push-unregistered",
        "variant",
        "that a push to a variant asks whether it is registered",
        "The variant has been removed; a row is pushed there, and the next writer marks the plain "
        "key alone.",
        ((_VARIANT_PUSH, _VARIANT_PUSH.replace("registered == LIVE && ", "")),),
    ),
    Mutant(
        "variant-push-closing",
        "variant",
        "that nothing is pushed to a variant while it is being removed",
        "Its rows have been deleted; a row is pushed, the variant is taken off the register, and "
        "the next writer marks the plain key alone.",
        ((_VARIANT_PUSH, _VARIANT_PUSH.replace(" == LIVE", "")),),
    ),
    Mutant(
        "variant-push-settling",
        "variant-outage-writers",
        "that nothing is pushed to a variant before its Redis is trusted",
        "Redis restarts with the mark of a writer that has committed, and without that of the "
        "next, which has committed too; the sweep comes to the variant, the first pushes its row "
        "there, which is older, and its mark is gone when the sweep comes to the plain key.",
        ((_VARIANT_PUSH, _VARIANT_PUSH.replace("state == TRUSTED && ", "")),),
        long=True,
    ),
    Mutant(
        "variant-removed-first",
        "variant",
        "that a variant is closed before it is removed: it is taken off the register, then its "
        "rows are deleted",
        "Between the two a writer marks the plain key alone; a reader hits the variant's old row.",
        ((_CLOSES, "registered = 0;\n"), (_CLOSING, "(up && registered == 0)")),
    ),
    Mutant(
        "variant-deleted-first",
        "variant",
        "that a variant is closed before it is removed: its rows are deleted, then it is taken off "
        "the register",
        "Between the two a reader fills; a writer marks the plain key alone.",
        ((_CLOSES, "\n"), (_CLOSING, "up")),
    ),
    Mutant(
        "variant-reopened",
        "variant",
        "that a variant is taken off the register only while it is closed",
        "After its rows have been deleted it is registered again and filled; it is taken off, and "
        "a writer marks the plain key alone.",
        (("CLOSING_MINE -> registered = 0", "up -> registered = 0"),),
    ),
    Mutant(
        "variant-any-token",
        "variant-removers",
        "the token of a removal: any removal's closing is taken for its own",
        "The first has deleted the rows; the variant is registered again, filled, and closed by "
        "the second; the first takes it off the register, and a writer marks the plain key alone.",
        (("#define CLOSING(p) (2 + (p))", "#define CLOSING(p) 2"),),
    ),
    Mutant(
        "variant-not-repaired",
        "variant-unfollowed",
        "that a repair deletes the variant",
        "psql commits; the log row goes, the variant's old row stays.",
        (("if :: registered && named -> variant = ABSENT :: else fi;", ""),),
    ),
    Mutant(
        "variant-repair-live-only",
        "variant-unfollowed",
        "that a repair deletes the variant also while it is being removed",
        "The variant is closed, and its rows are not yet deleted; psql commits, the log row goes.",
        (("if :: registered && named", "if :: registered == LIVE && named"),),
    ),
    Mutant(
        "variant-not-swept",
        "variant-outage",
        "that the sweep of a new Redis finds the variant's keys by their names",
        "Redis restarts with an old row in the variant and none in the plain key.",
        (
            (
                "-> variant = ABSENT :: else -> goto start fi }\n}",
                "-> skip :: else -> goto start fi }\n}",
            ),
        ),
    ),
    Mutant(
        "variant-removed-elsewhere",
        "variant-servers",
        "that each step of a removal is for the server of the first: only the token is compared",
        "The variant is closed, and the other server becomes a replica; commands are led there, "
        "its rows are deleted there, and back: it is taken off the register with an old row.",
        ((_CLOSING, "(up && registered == CLOSING(p))"),),
    ),
    Mutant(
        "variant-removed-by-epoch",
        "variant-servers",
        "the server's own run_id in the steps of a removal: token and epoch are compared",
        "The replica has a copy of both.",
        ((_CLOSING, _CLOSING.replace(" && own", "")),),
    ),
)
