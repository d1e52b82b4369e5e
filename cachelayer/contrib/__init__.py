"""Optional parts: REST framework views, hits below Django, OpenAPI, ``/metrics``."""
