"""The mutants: the protocol without one part each. Every mutant must have a stale read."""

from cachelayer.spec.mutants import cluster, documents, outages, pages, rows, servers, shapes

MUTANTS = (
    *rows.MUTANTS,
    *outages.MUTANTS,
    *servers.MUTANTS,
    *shapes.MUTANTS,
    *documents.MUTANTS,
    *pages.MUTANTS,
    *cluster.MUTANTS,
)
