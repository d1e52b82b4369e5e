"""What the protocol lacks when Redis loses what it had, or a process is cut off from it."""

from cachelayer.spec.configurations import Mutant
from cachelayer.spec.mutants.lines import SWEEP

_LATE = "append(LATE(v))"
_REPAIR = "cache = (IS_MARKS(cache) -> APPENDED(cache, REPAIR) : ABSENT)"


def _sweep(becomes: str) -> str:
    return f"if :: CONNECTED(p) && SETTLING_MINE -> cache = {becomes} :: else -> goto start fi }}"


MUTANTS = (
    Mutant(
        "no-incarnation",
        "outage",
        "the question of a new connection who the server is: connections are replaced silently",
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
        "that writes also mark a Redis that is not trusted: they treat it as down",
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
        "A writer whose gate is still open begins after the note and goes without a mark; Redis is "
        "trusted, a reader fills the old row, the writer commits.",
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
        ((SWEEP, "skip }"),),
    ),
    Mutant(
        "sweep-leaves-marks",
        "outage-writers",
        "that the sweep of a new Redis adds a mark to a list",
        "The first writer commits, the second marks behind it; Redis restarts with the first "
        "mark alone, the second commits and is killed, and the first pushes its row, which is "
        "older.",
        ((SWEEP, _sweep("(IS_MARKS(cache) -> cache : ABSENT)")),),
    ),
    Mutant(
        "sweep-deletes-marks",
        "outage",
        "that the sweep of a new Redis leaves the marks that are there: it deletes them (or is a "
        "FLUSHDB)",
        "The sweep deletes the mark of a transaction that began after the waits had; Redis is "
        "trusted, a reader fills the old row, the writer commits.",
        ((SWEEP, _sweep("ABSENT")),),
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
        "that a repair adds a mark to a list: it leaves the list as it is",
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
            (SWEEP, "skip }"),
        ),
    ),
    Mutant(
        "abandoned-stays",
        "liveness",
        "that a settling which was abandoned is taken over",
        "The reconciler is killed after `settling`; all others wait for it.",
        ((" && !(dead & BIT(settler))", ""),),
    ),
    Mutant(
        "no-advisory-lock",
        "liveness",
        "the advisory lock from the look to `settling`",
        "Two reconcilers, in step: each draws a new epoch after the other has written `settling`, "
        "which is then never the last.",
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
)
