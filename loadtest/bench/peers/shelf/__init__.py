"""An app of few models, for ``loadtest/bench/peers/orm.py``."""
