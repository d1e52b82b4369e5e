"""What the protocol lacks when two releases show a row differently."""

from cachelayer.spec.configurations import Mutant

_VARIANT_LEASE = "(registered == LIVE && FREE(cache))"
_VARIANT_PUSH = (
    "(second && registered == LIVE && state == TRUSTED && IS_MARKS(cache) && LAST(cache) == w)"
)
_CLOSES = "registered = CLOSING(p);\n"
_CLOSING = "(up && registered == CLOSING(p) && own && its == known[p])"

MUTANTS = (
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
        "the token of a removal: the closing of any removal counts",
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
        "that each step of a removal needs the server of the first step: only the token is "
        "compared",
        "The variant is closed, and the other server becomes a replica; commands are led there, "
        "its rows are deleted there, and back: it is taken off the register with an old row.",
        ((_CLOSING, "(up && registered == CLOSING(p))"),),
    ),
    Mutant(
        "variant-removed-by-epoch",
        "variant-servers",
        "the server's run_id in the steps of a removal: token and epoch are compared",
        "The replica has a copy of both.",
        ((_CLOSING, _CLOSING.replace(" && own", "")),),
    ),
)
