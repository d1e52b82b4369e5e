"""Whether Redis may evict marks, and whether it is full.

Marks have no TTL. ``noeviction`` and every ``volatile-*`` policy spare them; ``allkeys-*`` evicts
them like rows at the memory limit. INFO has limit and policy. Some managed services hide them
there; then CONFIG GET is asked. A server that shows neither is not trusted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

#: What to ask if INFO does not say; one parameter each, because old versions take only one.
QUESTIONS: Final = (("CONFIG", "GET", "maxmemory"), ("CONFIG", "GET", "maxmemory-policy"))
SPARING: Final = "volatile-lru, volatile-lfu, volatile-ttl, volatile-random or noeviction"
FULL: Final = (
    "Redis is full and refuses writes. Raise its maxmemory, or set its maxmemory-policy to "
    "volatile-lru, so that it evicts rows."
)


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's memory limit ("0": none) and policy; None if the server does not say."""

    limit: str | None
    policy: str | None

    @property
    def is_known(self) -> bool:
        return self.is_safe or None not in (self.limit, self.policy)

    @property
    def is_safe(self) -> bool:
        """Whether marks are never evicted."""
        return self.limit == "0" or _spares_marks(self.policy or "")

    @property
    def danger(self) -> str:
        """Why a mark may be evicted, and what to do; "" if none can be."""
        if self.is_safe:
            return ""
        if self.is_known:
            return (
                f"This Redis may evict marks: its maxmemory-policy is {self.policy}. "
                f"Set it to {SPARING}."
            )
        hidden = "maxmemory_policy" if self.policy is None else "maxmemory"
        return (
            f"This Redis does not say whether it may evict marks: INFO shows no {hidden}, and "
            "CONFIG GET was refused or shows none either. Allow CONFIG GET to its user (ACL "
            "SETUSER <user> +config|get), or use a Redis that shows it."
        )


def said(info: Any) -> Memory:
    """Limit and policy from INFO."""
    return Memory(field(info, "maxmemory"), field(info, "maxmemory_policy"))


def memory(info: Any, ask: Callable[..., list[Any]]) -> Memory:
    """Limit and policy from INFO; if one is missing, *ask* puts the ``QUESTIONS``."""
    found = said(info)
    if found.is_known:
        return found
    limit, policy = map(value, ask(*QUESTIONS))
    return replace(found, limit=found.limit or limit, policy=found.policy or policy)


def field(info: Any, name: str) -> str | None:
    """The value of *name* in an answer to INFO; None if it is missing."""
    for line in text(info).splitlines():
        if line.startswith(f"{name}:"):
            return line.removeprefix(f"{name}:").strip() or None
    return None


def text(answer: Any) -> str:
    # A path in INFO may have another encoding, and a key may hold anything.
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)


def means_full(error: BaseException) -> bool:
    # redis-py has a class for it. Redis 6 reports it from a script as a text within a text.
    return "used memory > 'maxmemory'" in str(error)


def _spares_marks(policy: str) -> bool:
    return policy == "noeviction" or policy.startswith("volatile-")


def value(answer: Any) -> str | None:
    """The value in an answer to CONFIG GET: a list (RESP2), a map (RESP3), or a refusal."""
    pair = list(*answer.items()) if isinstance(answer, dict) and len(answer) == 1 else answer
    return text(pair[1]) if isinstance(pair, list) and len(pair) == 2 else None
