"""Mutants of ``cluster.pml``."""

from cachelayer.spec.configurations import Mutant

_FOUND = "RUNS(0, n) && BELIEVES(0, n, copy0[r]) && cell[C(0, n)] == VALUE ->\n       made"
_HIT = "RUNS(1, n) && BELIEVES(1, n, copy1[r]) && cell[C(1, n)] == made ->   /* HIT: */"

MUTANTS = (
    Mutant(
        "cluster-no-incarnation",
        "cluster-fault-document",
        "that a read compares the incarnation: it takes what the shard's node has",
        "A replica that lacks the last writes takes over; a reader finds the old document there.",
        ((_FOUND, _FOUND.replace(" && BELIEVES(0, n, copy0[r])", "")),),
    ),
    Mutant(
        "cluster-any-incarnation",
        "cluster-fault-document",
        "the server's name in the incarnation of a shard: any will do",
        "A replica takes over, with a copy of the incarnation, and its old document is believed.",
        (("state[c] != NONE && written_on[c] == name[c]", "state[c] != NONE"),),
    ),
    Mutant(
        "cluster-no-epoch",
        "cluster-former-document",
        "that a read compares the shard's epoch",
        "A replica has taken over and is reconciled, a writer has marked there; a reader finds the "
        "old document on the former primary, although it has heard of the reconcile.",
        ((" && epoch[C(s, n)] == known)", ")"),),
    ),
    Mutant(
        "cluster-mark-any-epoch",
        "cluster-former-document",
        "that a mark on a node with another epoch does not count",
        "A writer marks the former primary, which still answers; a reader fills the old document "
        "on the new one, which is reconciled.",
        (("(s == 0 -> heard0 : heard1) -> counts = false", "(s == 0 -> heard0 : heard1) -> skip"),),
    ),
    Mutant(
        "cluster-old-copy",
        "cluster-former-document",
        "that a writer's copy of the epochs is as late as its row lock: it keeps an older one",
        "As before: the former primary has the epoch of the writer's copy.",
        (
            (
                "heard0 = epochs[0]; heard1 = epochs[1]     /* the notice */",
                "heard0 = 1; heard1 = 1",
            ),
            (
                "{ if :: heard0 = epochs[0]; heard1 = epochs[1] :: true fi }   /* a later copy */",
                "{ skip }",
            ),
        ),
    ),
    Mutant(
        "cluster-stamp-unverified",
        "cluster-fault-stamp",
        "that a stamp is compared only with one from a trusted shard",
        "A replica that lacks the mark of a stamp takes over; there the stamp still has the value "
        "under which the document was made.",
        ((_HIT, _HIT.replace(" && BELIEVES(1, n, copy1[r])", "")),),
    ),
    Mutant(
        "cluster-no-revoke",
        "cluster-move-document",
        "that a writer that cannot mark takes the trust away",
        "A slot is moving, and a writer cannot mark; the move is called off, and a reader finds "
        "the old document where it was.",
        (("counts = false; revoke(s)", "counts = false"),),
    ),
    Mutant(
        "cluster-ask",
        "cluster-move-document",
        "that no mark follows an ASK redirection",
        "A slot is moving, and a writer marks the document on the node that it is not on yet; a "
        "reader finds the old one on the other.",
        (
            (
                "writes[w] & BIT(s) && RUNS(s, n) ->",
                "writes[w] & BIT(s) && (moving[s] || RUNS(s, n)) ->",
            ),
            ("-> counts = false; state[C(s, n)] = NONE", "-> counts = false"),
            ("&& !RUNS(s, n) -> counts", "&& !RUNS(s, n) && !moving[s] -> counts"),
        ),
    ),
    Mutant(
        "cluster-no-wait",
        "cluster-fault-document",
        "the wait for transactions",
        "The node is flushed and reconciled, a reader leases and loads the old row; a transaction "
        "whose mark was flushed commits, and is killed.",
        (("!(waits & ~ended) -> waits = 0", "waits = 0"),),
    ),
    Mutant(
        "cluster-no-sweep",
        "cluster-fault-document",
        "the sweep",
        "A replica that lacks the last writes takes over, and its old document is trusted.",
        (("if :: MINE(s, n, e) -> repair(s, n) :: else -> goto start fi }    /* the sweep */",
          "if :: MINE(s, n, e) -> skip :: else -> goto start fi }"),),
    ),
    Mutant(
        "cluster-no-term",
        "cluster-scan",
        "that trusted is written only if the node has been given no slots since: nobody looks",
        "A replica that lacks the last writes takes over. Its slot is on the other node while the "
        "sweep looks for keys, and comes back with the old document, which is trusted.",
        (("owner[s] == n && term[C(s, n)] == before ::", "owner[s] == n ::"),),
    ),
)  # fmt: skip
