"""What the protocol lacks while Redis keeps what it has: leases, marks, pushes, the log."""

from cachelayer.spec.configurations import Mutant

_MARK = "  if :: w < WRITERS - UNFOLLOWED -> mark() :: else fi;\n"
_APPEND = "append(MINE(w))"
_ASKED = "!(XIDS(c) & ~ended)"
_LEASE = (
    ":: gate[r] == TRUSTING && state == TRUSTED && !IS_ROW(KEY(r)) && LEASABLE(r) ->\n"
    "       TAKE_PLAIN(r); KEY(r) = LEASE(r);"
)

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
        "that a fill needs the reader's lease: any lease is enough",
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
        "that a release leaves a mark without a transaction where its mark was the last",
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
        "Both writers mark, the first waits for the lock; the second commits and pushes, "
        "because its mark is the last; a reader hits that row after the first has committed.",
        (
            ("byte begun = 0; ", "bool locked = false; byte begun = 0; "),
            ("IN_ORDER(w) && !RUNNING ->", "IN_ORDER(w) ->"),
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
        "psql commits; the old row stays, and nobody knows.",
        (("log = (counts -> log : log | BIT(w))", "skip"),),
    ),
)
