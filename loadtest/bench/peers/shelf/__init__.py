"""An app of two models, for ``loadtest/bench/peers/orm.py``."""
