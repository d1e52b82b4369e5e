"""The protocol with one part taken away at a time: each must come to a stale read."""

from cachelayer.spec.mutants import documents, outages, pages, rows, servers, shapes

MUTANTS = (
    *rows.MUTANTS,
    *outages.MUTANTS,
    *servers.MUTANTS,
    *shapes.MUTANTS,
    *documents.MUTANTS,
    *pages.MUTANTS,
)
