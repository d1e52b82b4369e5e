"""What documents lack: stamps, and when they are made and compared."""

from cachelayer.spec.configurations import Mutant

_APPENDED = "#define APPENDED(c, m) MARKS((IS_MARKS(c) -> SET(c) : 0) | BIT(m))"
_FILL = "       key[0] = DOCUMENT; fresh[STORED]"
_NOTE = "       for (k : 1 .. KEYS - 1) { note() };\n       k = 0;\n"
_SWEEP = "if :: key[j] != ABSENT -> PUT(j, REPAIRED(key[j])) :: else fi; j++"

MUTANTS = (
    Mutant(
        "document-one-mark",
        "document",
        "the set of marks: a writer's mark replaces another's",
        "Two writers mark a stamp. The second ends first and takes its mark away; a reader makes a "
        "new stamp and fills what is from before the first's COMMIT.",
        ((_APPENDED, "#define APPENDED(c, m) MARKS(BIT(m))"),),
    ),
    Mutant(
        "document-no-mark",
        "document",
        "the marks on stamps",
        "A writer of what the document shows commits; the document stays.",
        (
            (
                "if :: writes[w] & BIT(k) -> PUT(k, APPENDED(key[k], m)) :: else fi",
                "if :: writes[w] & BIT(k) && k == 0 -> PUT(k, APPENDED(key[k], m)) :: else fi",
            ),
        ),
    ),
    Mutant(
        "document-stamps-late",
        "document",
        "stamps that are read before the load: they are read when it is filled",
        "A reader loads; a write comes and goes; the reader makes a new stamp and fills.",
        ((_NOTE, "       k = 0;\n"), (_FILL, _NOTE + _FILL)),
    ),
    Mutant(
        "document-stamps-not-compared",
        "document",
        "the comparison of the stamps: a document that is there is a hit",
        "A writer of what the document shows commits; the document stays.",
        (("(key[0] == DOCUMENT && same[STORED] == STAMPED)", "(key[0] == DOCUMENT)"),),
    ),
    Mutant(
        "document-unstable",
        "document",
        "stamps that are stable: a document is made under marks, and compared with them",
        "A writer marks a stamp. A reader loads and fills; the writer commits; the marks are still "
        "those under which the document was made.",
        (("  :: key[k] == VALUE -> same[ME]", "  :: true -> same[ME]"),),
    ),
    Mutant(
        "document-no-lease",
        "document",
        "the lease: a reader fills whenever the key is absent",
        "A reader loads the row and pauses; a write of it comes and goes; the reader fills.",
        (("key[0] == LEASE(r) ->", "(key[0] == ABSENT || key[0] == LEASE(r)) ->"),),
    ),
    Mutant(
        "document-lease-untrusted",
        "document-outage",
        "that a lease, and with it new stamps, needs `trusted`",
        "FLUSHALL takes the marks of a writer in flight. A reader whose connection is whole takes "
        "the lease, makes stamps and fills what is from before the COMMIT.",
        (
            ("    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE ", "    :: false"),
            (
                "gate[r] == TRUSTING && state == TRUSTED && !IS_VALID",
                "gate[r] == TRUSTING && !IS_VALID",
            ),
        ),
    ),
    Mutant(
        "document-stamp-unasked",
        "document",
        "the question whether the transactions of a stamp's marks have ended",
        "A writer marks a stamp. A reader makes a new one in its place, loads and fills; the "
        "writer commits.",
        (("if :: key[k] != VALUE && FREE(key[k]) ->", "if :: key[k] != VALUE ->"),),
    ),
    Mutant(
        "document-release-all",
        "document",
        "the marks of others: a writer that has ended deletes the stamp",
        "Two writers mark a stamp. One ends and deletes both marks; a reader fills what is from "
        "before the other's COMMIT.",
        (
            (
                "(SET(key[k]) & ~(BIT(w) | BIT(REPAIR)) -> MARKS(SET(key[k]) & ~BIT(w)) : ABSENT)",
                "ABSENT",
            ),
        ),
    ),
    Mutant(
        "document-no-sweep",
        "document-outage",
        "the sweep",
        "Redis restarts with an old document and the stamps under which it was made.",
        ((_SWEEP, "j++"),),
    ),
    Mutant(
        "document-stamps-not-repaired",
        "document-unfollowed",
        "the repair of stamps: only rows are repaired",
        "psql writes what the document shows; the log row goes, the document stays.",
        (
            (
                "if :: take & BIT(i) && writes[i] & BIT(j) ->",
                "if :: take & BIT(i) && writes[i] & BIT(j) && j == 0 ->",
            ),
        ),
    ),
    Mutant(
        "pure-one-stamp",
        "pure",
        "the comparison of every stamp: one unchanged stamp is enough",
        "A writer of what the other stamp stands for commits; the document stays.",
        (("same[STORED] == STAMPED)", "same[STORED])"),),
    ),
    Mutant(
        "pure-stamps-late",
        "pure",
        "stamps that are read before the load: they are read when it is filled",
        "A reader loads; a write comes and goes, and nobody marks the document's key; the reader "
        "makes a new stamp and fills.",
        ((_NOTE, "       k = 0;\n"), (_FILL, _NOTE + _FILL)),
    ),
    Mutant(
        "pure-unstable",
        "pure",
        "stamps that are stable: a document is made under marks, and compared with them",
        "A writer marks a stamp. A reader loads and fills; the writer commits; the marks are still "
        "those under which the document was made.",
        (("  :: key[k] == VALUE -> same[ME]", "  :: true -> same[ME]"),),
    ),
    Mutant(
        "pure-no-lease",
        "pure-outage",
        "the lease: a reader fills whenever the key is absent",
        "FLUSHALL takes a writer's marks and the lease. A reader whose connection is whole makes "
        "stamps, loads and fills; the writer commits, and the reader hits before it has looked.",
        (("key[0] == LEASE(r) ->", "(key[0] == ABSENT || key[0] == LEASE(r)) ->"),),
    ),
    Mutant(
        "pure-no-sweep",
        "pure-outage",
        "the sweep",
        "Redis restarts with an old document and the stamps under which it was made.",
        ((_SWEEP, "j++"),),
    ),
    Mutant(
        "pure-not-repaired",
        "pure-partition",
        "the repair of stamps: only rows are repaired",
        "psql writes what the document shows; the log row goes, the document stays.",
        (
            (
                "if :: take & BIT(i) && writes[i] & BIT(j) ->",
                "if :: take & BIT(i) && writes[i] & BIT(j) && j == 0 ->",
            ),
        ),
    ),
)
