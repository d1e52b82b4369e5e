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


def _macros(
    writers: int, readers: int, reconcilers: int = 0, faults: int = 0, *flags: str
) -> tuple[str, ...]:
    sizes = {
        "WRITERS": writers,
        "READERS": readers,
        "RECONCILERS": reconcilers,
        "FAULTS": faults,
    }
    return (*(f"{name}={value}" for name, value in sizes.items() if value), *flags)


CONFIGURATIONS = (
    Configuration(
        "base",
        _macros(2, 3),
        "Redis keeps what it has: kills, rollbacks, expiry, eviction of rows and leases, clear",
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
    Configuration("base-3-writers", _macros(3, 3), "base with three writers", long=True),
    Configuration("outage-2-2", _macros(2, 2, 1, 1), "outage, two of each", long=True),
    Configuration(
        "partition-outage-writers",
        _macros(2, 1, 1, 1, "PARTITION"),
        "partition and one outage, with two writers",
        long=True,
    ),
    Configuration(
        "strict-outage-writers",
        _macros(2, 1, 1, 1, "PARTITION", "STRICT"),
        "partition and one outage under the strict choice, with two writers",
        long=True,
    ),
)

_UPDATE = "  atomic { lock == FREE -> lock = w }                  /* UPDATE */\n"
_COMMIT_OR_ROLLBACK = """\
  :: atomic { db++; mine = ROW(db);                    /* COMMIT, of the log too */
              log = (marked -> log : log | BIT(w)); lock = FREE; held = false }
  :: atomic { lock = FREE; held = false }              /* ROLLBACK: an error, or killed */
"""
_NOTE = (
    "  noted = lock;                                        /* the transactions that run now */\n"
)
_SWEEP = "  repair();                                            /* every key that Redis has */\n"


def _sweep(becomes: str) -> str:
    return f"  atomic {{ if :: CONNECTED(p) -> cache = {becomes} :: else -> goto start fi }}\n"


_MARK_BECOMES_NOBODYS = "CONNECTED(p) && IS_MARK -> cache = MARK(NOBODY); guard = lock"
_MARK_EXPIRES = "(cache == MARK(NOBODY) -> guard : cache - MARK(0)) != lock ->"
#: For the mutants whose transactions do not hold the lock while they are marked.
_NO_EXPIRY = (_MARK_EXPIRES, "false ->")
_UNTRUSTED_LEASE = (
    "gate[r] == TRUSTING && incarnation == TRUSTED && cache == ABSENT -> cache = LEASE(r)",
    "gate[r] == TRUSTING && cache == ABSENT -> cache = LEASE(r)",
)
_LOOK = "(!up -> OPEN : (incarnation == TRUSTED -> TRUSTING : MARKING))"

MUTANTS = (
    Mutant(
        "no-mark",
        "base",
        "the mark",
        "A reader loads the old row before the COMMIT and fills it; the writer is killed before "
        "its push.",
        ((_UPDATE + "  mark();\n", _UPDATE),),
    ),
    Mutant(
        "no-lease",
        "base",
        "the lease: a reader fills whenever the key is absent",
        "A reader loads the old row and pauses; a write comes and goes, its row is evicted; the "
        "reader fills.",
        (
            (_UNTRUSTED_LEASE[0], _UNTRUSTED_LEASE[0].replace("cache = LEASE(r)", "skip")),
            ("CONNECTED(r) && cache == LEASE(r)", "CONNECTED(r) && cache == ABSENT"),
        ),
    ),
    Mutant(
        "push-blind",
        "base",
        "the comparison in the push",
        "The push of the first writer comes after the mark of the second, overwrites it, and the "
        "second is killed after its COMMIT.",
        (("CONNECTED(w) && cache == MARK(w) -> cache = mine", "CONNECTED(w) -> cache = mine"),),
    ),
    Mutant(
        "push-deletes-mark",
        "base",
        "that a push leaves another's mark",
        "The push of the first writer deletes the mark of the second; a reader fills the row that "
        "the second then replaces.",
        (("&& IS_MARK -> break           /*", "&& IS_MARK -> cache = ABSENT; break /*"),),
    ),
    Mutant(
        "mark-evicted",
        "base",
        "that a mark stays until its transaction has ended: it may expire early, or be evicted",
        "The mark is evicted before the COMMIT; a reader takes the lease and fills the old row; "
        "the writer commits.",
        ((_MARK_EXPIRES, "true ->"),),
    ),
    Mutant(
        "mark-before-lock",
        "base",
        "that the mark comes after the row lock",
        "Both writers mark, the first waits for the lock; the second commits and pushes over its "
        "own mark; a reader hits that row after the first has committed.",
        ((_UPDATE + "  mark();\n", "  mark();\n" + _UPDATE), _NO_EXPIRY),
    ),
    Mutant(
        "autocommit",
        "base",
        "the transaction: save() in autocommit, with the mark in pre_save",
        "A marks, B marks, B updates and pushes; A updates, which commits at once: B's row is "
        "stale, and if A is killed it stays so.",
        (
            (
                _UPDATE + "  mark();\n",
                "  mark();\n  atomic { lock == FREE -> db++; mine = ROW(db) }\n",
            ),
            (_COMMIT_OR_ROLLBACK, "  :: true\n"),
            _NO_EXPIRY,
        ),
    ),
    Mutant(
        "no-incarnation",
        "outage",
        "the incarnation check: connections are replaced silently",
        "Redis restarts with an old row, and a reader takes it.",
        ((_LOOK, "(!up -> OPEN : TRUSTING)"), _UNTRUSTED_LEASE),
    ),
    Mutant(
        "lease-untrusted",
        "outage",
        "that a lease needs `trusted`",
        "FLUSHALL takes the mark of a transaction in flight; a reader whose connection is whole "
        "takes the lease and fills the old row; the writer commits.",
        (_UNTRUSTED_LEASE,),
    ),
    Mutant(
        "mismatch-opens",
        "outage",
        "that writes mark also in a Redis that is not trusted: they treat it as down",
        "FLUSHALL; a new process finds no incarnation and writes without a mark, while a reader "
        "whose connection is whole still hits what was pushed or filled there.",
        ((_LOOK, "(up && incarnation == TRUSTED -> TRUSTING : OPEN)"),),
    ),
    Mutant(
        "no-reconnect",
        "outage",
        "the immediate reconnect: a broken connection opens the gate",
        "Redis restarts and is trusted again before a writer notices; its connection breaks, so "
        "it writes without a mark while readers hit.",
        (("    :: gate[p] = LOOK\n", "    :: gate[p] = (gate[p] == BROKEN -> OPEN : LOOK)\n"),),
    ),
    Mutant(
        "no-wait-for-transactions",
        "outage",
        "the wait for running transactions",
        "FLUSHALL takes the mark of a transaction in flight; the new Redis is trusted, a reader "
        "fills the old row, the writer commits.",
        (("  noted == FREE || lock != noted;", "  skip;"),),
    ),
    Mutant(
        "note-before-interval",
        "outage",
        "the order of the two waits: running transactions are noted before the probe interval",
        "A writer whose gate is still open begins after the note and goes without a mark; Redis "
        "is trusted, a reader fills the old row, the writer commits.",
        ((_NOTE, ""), (_SWEEP, _NOTE + _SWEEP)),
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
        "the nonce: `trusted` is written unconditionally",
        "A second FLUSHALL takes a mark while the first is being settled; the reconciler, which "
        "waited for the first one's transactions only, makes Redis trusted.",
        (("CONNECTED(p) && incarnation == SETTLING && nonce == p ->", "CONNECTED(p) ->"),),
    ),
    Mutant(
        "no-sweep",
        "outage",
        "the repair of every key that a new Redis has",
        "Redis restarts with an old row and is trusted.",
        ((_SWEEP, ""),),
    ),
    Mutant(
        "no-drain-when-settled",
        "outage-writers",
        "the draining of the repair log after the waits",
        "The first writer marks and commits; the second, whose gate is still open from before, "
        "commits without a mark; Redis is trusted, and the first pushes its row, which is older.",
        (
            (
                "lock != noted;                      /* they have ended */\n  drain();\n",
                "lock != noted;\n",
            ),
        ),
    ),
    Mutant(
        "sweep-leaves-marks",
        "outage-writers",
        "that the sweep of a new Redis replaces marks",
        "The first writer commits, the second marks over its mark; Redis restarts with the first "
        "mark, the second commits and is killed, and the first pushes its row, which is older.",
        ((_SWEEP, _sweep("(IS_MARK -> cache : ABSENT)")),),
    ),
    Mutant(
        "sweep-deletes-marks",
        "outage-reconcilers",
        "that the sweep of a new Redis replaces marks: it deletes them (or is a FLUSHDB)",
        "Two reconcilers: one has made Redis trusted when the sweep of the other deletes the mark "
        "of a transaction in flight; a reader fills the old row, the writer commits.",
        ((_SWEEP, _sweep("ABSENT")),),
    ),
    Mutant(
        "no-log",
        "partition",
        "the repair log",
        "A writer that is cut off commits without a mark; the old row stays.",
        (("log = (marked -> log : log | BIT(w)); lock = FREE", "lock = FREE"),),
    ),
    Mutant(
        "log-deleted-by-key",
        "partition",
        "that a repair deletes only the log rows it has read",
        "A write is logged for the same key between the repair and the DELETE: its log row goes, "
        "the row that it made old stays.",
        (("atomic { log = log & ~take; take = 0 }", "atomic { log = 0; take = 0 }"),),
    ),
    Mutant(
        "repair-deletes-mark",
        "partition",
        "that a repair replaces a mark by its own: it deletes it",
        "A repair deletes the mark of a transaction in flight; a reader fills the old row, the "
        "writer commits.",
        ((_MARK_BECOMES_NOBODYS, "CONNECTED(p) && IS_MARK -> cache = ABSENT"),),
    ),
    Mutant(
        "repair-leaves-mark",
        "partition",
        "that a repair replaces a mark by its own: it leaves it",
        "The first writer has committed, the second, cut off, commits without a mark; the repair "
        "is done when the first pushes its row, which is older.",
        ((_MARK_BECOMES_NOBODYS, "CONNECTED(p) && IS_MARK"),),
    ),
    Mutant(
        "push-unsure",
        "partition",
        "that a writer whose mark got no answer does not push",
        "Its mark arrives late, over the mark of the next writer; so its push puts the older row, "
        "and the next writer is killed after its COMMIT.",
        (
            ("bool marked = false;", "bool marked = false, unsure = false;"),
            ("late = late | BIT(w); gate[w] = OPEN;", "late = BIT(w); unsure = true;"),
            ("if :: marked -> push()", "if :: marked || unsure -> push()"),
            (
                "late = late & (late - 1); cache = MARK(NOBODY); guard = lock",
                "cache = MARK((late == 2 -> 1 : 0)); late = 0",
            ),
            _NO_EXPIRY,
        ),
    ),
    Mutant(
        "no-announcement-wait",
        "strict",
        "the second between announcing an unmarked write and its COMMIT",
        "A reader that saw no announcement just before still trusts Redis.",
        (("  trust == 0 ", "  skip "),),
    ),
    Mutant(
        "no-trust-check",
        "strict",
        "that a process looks for announcements",
        "A writer that is cut off commits without a mark; a reader trusts the old row.",
        ((":: outage == 0 -> trust = trust | BIT(i)", ":: true -> trust = trust | BIT(i)"),),
    ),
    Mutant(
        "trust-checked-after",
        "strict",
        "that the trust is checked before the GET: it is checked after",
        "A reader gets an old row during an outage and pauses; the outage is lifted, the process "
        "trusts again, and the row counts.",
        (
            ("if :: trust & BIT(r) -> seen = ROW(db) :: else -> goto start fi", "seen = ROW(db)"),
            ("assert(cache >= seen)  ", "row = cache; goto check  "),
            (
                "\nlease:\n",
                "\ncheck:\n  atomic { assert(row >= seen || !(trust & BIT(r))); row = 0; seen = 0; "
                "goto start }\nlease:\n",
            ),
        ),
    ),
    Mutant(
        "lift-before-drain",
        "strict",
        "the drain before the announcement is lifted",
        "The announcement is gone while the old row is still there.",
        (("  /* FOR UPDATE */\n     drain();\n", "\n"),),
    ),
    Mutant(
        "lift-in-flight",
        "strict",
        "the share lock: the announcement may be lifted while an unmarked write is in flight",
        "The log is drained, the announcement lifted, readers trust; then the write commits.",
        (("outage == 1 && !held -> outage = 2", "outage == 1 -> outage = 2"),),
    ),
)
