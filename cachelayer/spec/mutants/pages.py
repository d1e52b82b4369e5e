"""What pages lack: the order of what makes them, and of what ends them."""

from cachelayer.spec.configurations import Mutant

_NOTE = " page = LEASE(r); goto note"
_LISTED = "  atomic { listed = listed | (same & ME); one = one | (same & ME) } "
_FORGETS = " same = 0; listed = 0; one = 0"
_TAKEN = "gate[r] == TRUSTING && IS_KNOWN(row) ->\n"
_LEASE = "gate[r] == TRUSTING && state == TRUSTED && !IS_KNOWN(page)"
_REFUSED = "    :: gate[r] == TRUSTING && state != TRUSTED -> gate[r] = DUE "
_FILL = ":: CONNECTED(r) && page == LEASE(r) ->"
_APPEND_STAMP = "if :: keys & OF_STAMP -> PUT_STAMP(JOINED(stamp, m, 0))"
_LOG = "log = log | BIT(w) :: else fi"

MUTANTS = (
    Mutant(
        "page-list-first",
        "page",
        "that the stamp is noted before the list is asked for: it is noted after",
        "A reader has the list; a row is written, and its marks come and go; the reader notes the "
        "new stamp and fills.",
        (
            (_FORGETS, " same = 0"),
            (_NOTE, " page = LEASE(r); goto list"),
            ("note:\n", "list:\n  atomic { listed = listed | ME; one = one | ME };\nnote:\n"),
            (_LISTED, "  atomic { skip } "),
        ),
    ),
    Mutant(
        "page-row-first",
        "page",
        "that the stamp is noted before a row is taken: it is noted after",
        "A reader takes the row; it is written, and its marks come and go; the reader notes the "
        "new stamp, asks for the list and fills.",
        (
            (_NOTE, " page = LEASE(r); goto early"),
            ("note:\n", "early:\n  atomic { rowed = rowed | (row != OLD -> ME : 0) };\nnote:\n"),
            (
                _LISTED,
                "  atomic { listed = listed | (same & ME); one = one | (rowed & ME); goto fill } ",
            ),
        ),
    ),
    Mutant(
        "page-unstable",
        "page",
        "a stamp that is stable: a page is made under marks, and compared with them",
        "A writer marks. A reader fills what is from before its COMMIT, and the writer is killed "
        "after it.",
        (("if :: stamp == VALUE -> noted", "if :: true -> noted"),),
    ),
    Mutant(
        "page-stamp-unasked",
        "page",
        "the question whether the transactions of a stamp's marks have ended",
        "A writer marks. A reader makes a new stamp in place of the mark and fills; the writer "
        "commits.",
        (("stamp != VALUE && FREE(stamp) ->", "stamp != VALUE ->"),),
    ),
    Mutant(
        "page-stamp-after-commit",
        "page",
        "the mark on the stamp: it is deleted after the COMMIT",
        "A writer commits; the page stays until it has deleted the stamp, or for good.",
        ((_APPEND_STAMP, "if :: false -> skip"),),
    ),
    Mutant(
        "page-one-mark",
        "page",
        "the set of marks on a stamp: a writer's mark replaces another's",
        "Two write rows of the table. The second ends first and takes its mark away; a reader "
        "fills what is from before the first's COMMIT.",
        ((_APPEND_STAMP, "if :: keys & OF_STAMP -> PUT_STAMP(MARKS(BIT(m), 0))"),),
    ),
    Mutant(
        "page-release-all",
        "page",
        "the marks of others: a writer that has ended deletes the stamp",
        "Two write rows of the table. One ends and deletes both marks; a reader fills what is from "
        "before the other's COMMIT.",
        (
            (
                "(SET(stamp) & ~(BIT(w) | BIT(REPAIR)) -> MARKS(SET(stamp) & ~BIT(w), 0) : ABSENT)",
                "ABSENT",
            ),
        ),
    ),
    Mutant(
        "page-no-lease",
        "page-outage",
        "the lease: a reader fills whenever the key is absent",
        "FLUSHALL takes a writer's marks and the lease. A reader whose connection is whole makes a "
        "stamp and fills; the writer commits, and the reader hits before it has looked.",
        ((_FILL, ":: CONNECTED(r) && (page == ABSENT || page == LEASE(r)) ->"),),
    ),
    Mutant(
        "page-lease-untrusted",
        "page-outage",
        "that a lease needs `trusted`",
        "FLUSHALL takes a writer's marks. A reader whose connection is whole takes the lease, "
        "makes a stamp and fills what is from before the COMMIT.",
        (
            (_REFUSED, "    :: false"),
            (_LEASE, "gate[r] == TRUSTING && !IS_KNOWN(page)"),
        ),
    ),
    Mutant(
        "page-row-untrusted",
        "page-outage",
        "that a row is taken only from a trusted Redis",
        "Redis restarts with an old row while a page is being made.",
        ((_TAKEN, "CONNECTED(r) && IS_KNOWN(row) ->\n"),),
    ),
    Mutant(
        "page-no-sweep",
        "page-outage",
        "the sweep of pages and stamps",
        "Redis restarts with an old page and the stamp under which it was made.",
        (
            (
                "          :: !(swept & 1) -> page = ABSENT; swept = swept | 1\n"
                "          :: !(swept & 2) -> PUT_STAMP(REPAIRED(stamp, 0)); swept = swept | 2\n",
                "          :: !(swept & 3) -> swept = swept | 3\n",
            ),
        ),
    ),
    Mutant(
        "page-answer-untaken",
        "page-outage",
        "that a reader answers with what it gathered only if it was filled: an unchanged stamp is "
        "enough",
        "FLUSHALL takes a writer's marks and the lease. A reader makes a stamp and asks for the "
        "list; the writer commits; the reader asks for the row: this list might not contain that "
        "row, and the stamp is unchanged.",
        (
            (
                "    fi;\n    NO_MORE;",
                "    fi;\n"
                "    if :: gate[r] == TRUSTING && same & ME -> MUST_BE(one & ME) :: else fi;\n"
                "    NO_MORE;",
            ),
        ),
    ),
    Mutant(
        "page-answer-unasked",
        "page",
        "that a reader answers with what it gathered only if the stamp is unchanged",
        "A reader has the list; a row is written so that the list would not contain it; the reader "
        "takes the new row and answers both.",
        (
            (_FORGETS, " same = 0; listed = 0"),
            (_LISTED, "  atomic { listed = listed | (same & ME); one = one | ME } "),
            ("if :: gate[r] == TRUSTING && same & ME -> MUST", "if :: gate[r] == TRUSTING -> MUST"),
        ),
    ),
    Mutant(
        "page-answer-untrusted",
        "page-outage",
        "that the answer of a fill counts only from a trusted Redis",
        "Redis restarts with old data while a page is being made: the lease and the noted stamp "
        "are back, and the marks of the writer that came between list and row are not.",
        (("if :: gate[r] == TRUSTING && same & ME -> MUST", "if :: same & ME -> MUST"),),
    ),
    Mutant(
        "page-repaired-first",
        "page-unfollowed",
        "that a repair handles rows before stamps: it handles stamps first",
        "psql commits. The stamp is repaired; a reader notes a new one and takes the old row; the "
        "row is repaired, the log row goes, the page stays.",
        (("repair(OF_ROW); repair(OF_STAMP);", "repair(OF_STAMP); repair(OF_ROW);"),),
    ),
    Mutant(
        "page-not-repaired",
        "page-unfollowed",
        "the repair of stamps: only rows are repaired",
        "psql commits; the log row goes, the page stays.",
        (("repair(OF_ROW); repair(OF_STAMP);", "repair(OF_ROW);"),),
    ),
    Mutant(
        "page-logged-in-part",
        "page-partition",
        "that a writer which logs one of its keys logs all: it logs those that it has not marked",
        "The stamp's mark is answered, the row's is not. The writer commits and releases the "
        "stamp; a reader notes a new one and takes the old row; that is repaired, the page stays.",
        ((_LOG, "log = log | BIT(w); writes[w] = writes[w] & ~marked :: else fi"),),
    ),
    Mutant(
        "page-bulk-logged-in-part",
        "page-bulk",
        "that a writer which marks the stamp alone logs it as well",
        "It commits and releases the stamp; a reader notes a new one and takes an old row; the "
        "rows are repaired, the page stays.",
        ((_LOG, "log = log | BIT(w); writes[w] = writes[w] & ~marked :: else fi"),),
    ),
    Mutant(
        "page-row-elsewhere",
        "page-partition",
        "the epoch, and the server's run_id, in the same round trip as the rows",
        "For one command a reader is led to another server, which has an old row: it is stored "
        "here, under a stamp that nothing ends.",
        (
            (
                "    :: gate[r] == TRUSTING -> skip  ",
                "    :: gate[r] == TRUSTING -> goto fill  ",
            ),
        ),
    ),
)
