"""An app of documents, for ``loadtest/bench/peers/documents.py``: the books of the docs."""
