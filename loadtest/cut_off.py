"""Hosts of the storm that can be cut off, each from one server, while all others go on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from loadtest.isolated_lab import IsolatedLab, Served
from loadtest.network import Network
from loadtest.proxy import Proxy

_GUNICORN: Final = ("-c", "python:itemsite.gunicorn")
#: The variable that says where the server is from which the fault cuts off, and its usual port.
_SERVERS: Final = {"cut": ("REDIS_URL", 6379), "cut-postgres": ("DATABASE_URL", 5432)}
#: The faults that need such a host.
FAULTS: Final = tuple(_SERVERS)


@dataclass(frozen=True, slots=True)
class CutOff:
    """A web server of one process that reaches Redis or Postgres through *proxies*."""

    served: Served
    proxies: Sequence[Proxy]

    @property
    def netloc(self) -> str:
        return urlsplit(self.served.url).netloc


def start(lab: IsolatedLab, fault: str, told: Collection[int] = ()) -> CutOff:
    """Start a host for *fault*, one of ``FAULTS``, beside those of *lab*.

    *told* are the ports of its Redis servers, if these tell addresses.
    """
    variable, usual = _SERVERS[fault]
    url = urlsplit(lab.settings[variable])
    changes = {"WEB_WORKERS": "1"}
    if fault == "cut" and told:
        network = Network({*told, urlsplit(lab.settings["DATABASE_URL"]).port or 5432})
        served = lab.serve(f"host-{fault}", _GUNICORN, changes, network=network)
        return CutOff(served, [network.proxies[port] for port in told])
    proxy = Proxy(url.port or usual)
    login = f"{url.netloc.rpartition('@')[0]}@" if "@" in url.netloc else ""
    changes[variable] = url._replace(netloc=f"{login}127.0.0.1:{proxy.port}").geturl()
    return CutOff(lab.serve(f"host-{fault}", _GUNICORN, changes), [proxy])
