"""What ./lab says when everything answers."""

from urllib.parse import urlsplit

from itemsite.lab.folder import State
from itemsite.lab.prepare import ADMIN

_SAMPLE = "550e8400-e29b-41d4-a716-446655440001"


def banner(state: State, admin_password: str | None, seconds: float) -> str:
    """The URLs, the admin's login, something to try, and how to stop."""
    url = state.url
    login = f"user {ADMIN}, password {admin_password}"
    if admin_password is None:
        login = f"user {ADMIN} with the password that your database has for it"
    return f"""
The lab is ready ({seconds:.1f} s).

  Console    {url}/
  API        {url}/items
  API docs   {url}/api/docs
  Health     {url}/health
  Cache      {url}/cache/stats
  Metrics    {url}/metrics
  Traces     {_traces(state)}
  Admin      {url}/admin/
             {login}
  Postgres   {_server(state, "postgres", state.database_url)}
  Redis      {_server(state, "redis", state.redis_url)}

Try, in another terminal:
  curl -i {url}/items/{_SAMPLE}
  curl -i {url}/items -H 'Content-Type: application/json' -d '{{"name": "Tea", "price": 4.2}}'
  eval "$(./lab env)"; redis-cli -u "$REDIS_URL" get item:{_SAMPLE}

Stop: Ctrl-C here, or ./lab stop. Data and logs stay in var/lab.
"""


def _traces(state: State) -> str:
    if where := state.tracing.get("TRACES_URL"):
        return f"{where} (in a terminal: ./lab trace)"
    return "not kept here; unset OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SDK_DISABLED to keep them"


def _server(state: State, name: str, url: str) -> str:
    """Where it is; never the password that its URL may carry."""
    parts = urlsplit(url)
    where = f"{parts.hostname or url.partition('://')[0]}" + (
        f":{parts.port}" if parts.port else ""
    )
    if name in state.embedded:
        return f"{where} (embedded; stop it to see what happens: ./lab {name} stop)"
    return f"{where} (yours)"
