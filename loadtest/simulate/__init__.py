"""How often a site would hit its cache, and what is left for Postgres: a forecast for planning.

    python -m loadtest.simulate --rows 1e6 --reads 2000 --writes 20 --memory 1GB
    python -m loadtest.simulate --rows 20000 --reads 500 --memory 10MB --events
    python -m loadtest.simulate --check     a real lab, beside both forecasts; two minutes
    python -m loadtest.simulate --sites     the three sites of the planning page

The forecast is a formula (``formula.py``) that takes a second for any number of rows. With
``--events``, every single read and write is played through as well (``events.py``), with the
eviction and the expiry of Redis; that is for small sites, and to see how good the formula is.

What it takes from the cache layer: a reader fills on a miss; a hit does not lengthen a row's
life; a push stores the row and begins a new life, also where the row was absent; each life is
shortened by a random share (``ROW_TTL_JITTER``). Reads and writes come independently of one
another, and the popularity of rows is Zipf's: row number n is read in proportion to n^-skew.
"""
