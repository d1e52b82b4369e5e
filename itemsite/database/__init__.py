"""Django's Postgres backend, which looks at an idle connection before it asks the server."""
