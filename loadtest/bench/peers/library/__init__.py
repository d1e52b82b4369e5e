"""An app of documents, for ``loadtest/bench/peers/documents.py``: the README's books."""
