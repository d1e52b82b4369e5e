"""What is optional: REST framework views, hits below Django, OpenAPI, ``/metrics``."""
