"""What the protocol lacks with several Redis servers, and in ``strict``."""

from cachelayer.spec.configurations import Mutant
from cachelayer.spec.mutants.lines import SWEEP

_COUNTS = "counts = (own && its == known[w]); break"
_BELIEVED = "#define BELIEVED_IN(e) (state == TRUSTED && own && its == e)"
_REPAIRS_COUNT = "(own && its == LAST_VALUE)"
_NEXTVAL = "  atomic { nextval(); known[p] = LAST_VALUE; held = held & ~BIT(p) }\n"

MUTANTS = (
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
        "the server's run_id in a mark's answer: the epoch alone is compared",
        "A replica has a copy of the incarnation: a writer that is led to it reads the current "
        "epoch there, continues, and the row in the primary stays.",
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
        "A replica says `trusted` with the current epoch, and has rows that were never invalidated "
        "there.",
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
        "the server's run_id in a repair's answer",
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
        "that a reconcile uses the epoch that it drew: it takes the last one for its epoch",
        "Another has drawn a new one and written it as `settling` after the first had waited and "
        "swept; the first takes this epoch for its epoch and makes it `trusted`.",
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
        ((SWEEP, "repair(true, HERE) }"),),
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
                SWEEP,
                SWEEP
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
        ((SWEEP, "skip }"),),
    ),
    Mutant(
        "replica-keeps-run-id",
        "servers-outage",
        "that a server which was a replica in between counts as another server: only its run_id "
        "counts",
        "A->B->A without a reconcile in between: the first is made a replica of the second and is "
        "promoted again. It never restarted, so the incarnation names it, but it has lost its last "
        "writes.",
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
        "the server's run_id in the same round trip as the GET",
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
)
