"""Long operations of the admin page, in bounded slices, one per request.

A job consists of its state only. The page carries the signed state from one request to the next.
So no job blocks a worker, any worker may continue it, a killed worker costs one slice, which the
page sends again, and to cancel means to send no more requests.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from django.core import signing

from cachelayer.operations import verify, warm
from cachelayer.protocol import drain, key_states, scan
from cachelayer.redis import transport
from cachelayer.redis.batches import PIPELINE
from cachelayer.representation import registry
from cachelayer.representation.registration import CachedModel
from cachelayer.representation.registry import Cached
from cachelayer.tracking import repair_log

#: Seconds after which a request starts no further batch.
SLICE: Final = 0.5
#: Seconds for which a job may be continued from a state.
LIFETIME: Final = 3600
#: How many differing keys a verify lists; ``cache_verify`` lists more.
LISTED: Final = 50

_SALT: Final = "cachelayer.admin.jobs"


class Expired(ValueError):  # noqa: N818  (as CacheUnavailable)
    """The state is too old, was changed, or belongs to another user."""


@dataclass(slots=True)
class Job:
    """The progress of a job.

    ``prefixes`` are the key prefixes that remain. The first one is in progress, at ``cursor``.
    In a repair they are database aliases.
    """

    kind: str
    user: str
    scope: list[str]
    prefixes: list[str]
    cursor: str = scan.START
    #: Batches done of the first prefix, and roughly how many keys or rows it has.
    batches: int = 0
    total: int = 0
    #: Keys or rows checked; those deleted, filled, differing or repaired.
    seen: int = 0
    changed: int = 0
    listed: list[str] = field(default_factory=list)
    #: Separate from the counts, because Redis may grow and a scan may see more than ``total``.
    finished: bool = False

    @property
    def share(self) -> float:
        """The estimated share of the work that is done, from 0 to 1."""
        if self.finished:
            return 1.0
        parts = max(1, len(self.scope))
        done = parts - len(self.prefixes)
        within = min(1.0, self.batches * PIPELINE / max(self.total, PIPELINE))
        return min(0.99, (done + within) / parts)

    def dump(self) -> str:
        return signing.dumps(asdict(self), salt=_SALT, compress=True)

    def run(self, seconds: float = SLICE) -> None:
        """Continue for *seconds*. Raises ``CacheUnavailable`` and ``DatabaseError``."""
        deadline = time.monotonic() + seconds
        while not self.finished:
            if not self.prefixes:
                self.finished = True
            elif _BATCHES[self.kind](self, self.prefixes[0]):
                self.batches += 1
            else:
                self.prefixes.pop(0)
                self.cursor, self.batches, self.total = scan.START, 0, 0
            if time.monotonic() > deadline:
                return


def start(kind: str, user: Any, scope: Sequence[str] | None = None) -> Job:
    """A new job over the prefixes in *scope*, or over all prefixes if it is None."""
    if kind not in _BATCHES:
        raise ValueError(f"There is no job {kind!r}. Use clear, warm, verify or repair.")
    if kind == "repair":
        parts = sorted(registry.databases())
    else:
        parts = prefixes(kind)
        if scope is not None:
            parts = [prefix for prefix in parts if prefix in scope]
    return Job(kind, str(user.pk), scope=parts, prefixes=list(parts))


def prefixes(kind: str) -> list[str]:
    """All prefixes that a job of this *kind* can work on."""
    # Documents of a function cannot be warmed, because their arguments are not known.
    found = registry.all_cached() if kind == "warm" else registry.every()
    return [cached.prefix for cached in found]


def load(text: str, user: Any) -> Job:
    """The job whose state is *text*. Raises ``Expired`` unless it belongs to *user*."""
    try:
        job = Job(**signing.loads(text, salt=_SALT, max_age=LIFETIME))
    except (signing.BadSignature, TypeError) as error:
        raise Expired("This job is too old, or its state was changed on the way.") from error
    if job.user != str(user.pk):
        raise Expired("Another user has started this job.")
    return job


def _clear(job: Job, prefix: str) -> bool:
    keys = _scan(job, prefix)
    if keys:
        job.changed += key_states.drop(keys)
        job.seen += len(keys)
    return job.cursor != scan.START


def _verify(job: Job, prefix: str) -> bool:
    keys = _scan(job, prefix)
    compared, found = verify.compare(_cached(prefix), keys)
    job.seen += compared
    job.changed += len(found)
    job.listed += [difference.key for difference in found][: LISTED - len(job.listed)]
    return job.cursor != scan.START


def _warm(job: Job, prefix: str) -> bool:
    cached = _cached(prefix)
    assert isinstance(cached, CachedModel)
    name = cached.lookup
    rows = cached.rows().exclude(**{f"{name}__isnull": True}).order_by(name)
    if not job.batches:
        job.total = rows.count()
    else:
        rows = rows.filter(**{f"{name}__gt": cached.to_python(job.cursor)})
    pks = list(rows.values_list(name, flat=True)[:PIPELINE])
    if pks:
        job.changed += warm.fill(cached, pks)
        job.seen += len(pks)
        job.cursor = str(pks[-1])
    return len(pks) == PIPELINE


def _repair(job: Job, using: str) -> bool:
    if not job.batches:
        job.total = repair_log.backlog().keys
        # The ping finds out whether this Redis is trusted. If not, the gate's thread reconciles.
        transport.ping()
    repaired = drain.drain_batch(using)
    job.seen += repaired
    job.changed += repaired
    return repaired > 0


def _scan(job: Job, prefix: str) -> list[str]:
    if not job.batches:
        [job.total] = transport.round_trip(("DBSIZE",))
    job.cursor, keys = scan.scan(_cached(prefix).start, job.cursor)
    return list(dict.fromkeys(keys))


def _cached(prefix: str) -> Cached:
    return registry.of_key(f"{prefix}:")


#: For each kind, a function that does one batch and returns whether the prefix has more.
_BATCHES: Final[dict[str, Callable[[Job, str], bool]]] = {
    "clear": _clear,
    "warm": _warm,
    "verify": _verify,
    "repair": _repair,
}
