"""What a site costs, for planning: bytes, processor time and seconds, measured and extrapolated.

    python -m loadtest.bench.plan                    everything, a quarter of an hour
    python -m loadtest.bench.plan --quick            the same with fewer keys, to see that it works
    python -m loadtest.bench.plan --part memory      only this part; repeatable
    python -m loadtest.bench.plan.tables FILE        the tables of the planning page

It starts a separate lab, for the part "cluster" another one on a Redis Cluster, and for the bytes
of a key a Redis of its own. plan.json has what was measured; ``extrapolated`` is true for a figure
that is the formula's alone, because the machine had no memory for it.
"""
