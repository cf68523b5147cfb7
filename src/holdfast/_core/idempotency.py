"""Is it safe to execute this request twice, and can it be sent a second time at all?

RFC 9110 §9.2.2: GET, HEAD, OPTIONS, TRACE, PUT and DELETE are idempotent. A request that carries
an ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header; ``X-Idempotency-Key`` is the
older spelling) is made so by its server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["IDEMPOTENT_METHODS", "is_idempotent", "is_replayable"]

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
IDEMPOTENCY_HEADERS = frozenset({"idempotency-key", "x-idempotency-key"})


def is_idempotent(method: str, header_names: Iterable[str | bytes]) -> bool:
    """Methods are case-sensitive (RFC 9110 §9.1), but http.client users send them in any case."""
    if method.upper() in IDEMPOTENT_METHODS:
        return True
    return any(_lower(name) in IDEMPOTENCY_HEADERS for name in header_names)


def is_replayable(body: object) -> bool:
    """Whether a body can be sent again from its start.

    A generator cannot: whoever repeats such a request sends the rest of it, and the server takes
    it for the whole. Nor can an iterable of unknown make: many only pass on what they iterate over
    themselves. A file can if it tells its position; that it also goes back there is checked
    when it is needed.
    """
    if body is None or isinstance(body, (str, bytes, Sequence)) or _is_buffer(body):
        return True
    return hasattr(body, "seek") and hasattr(body, "tell")


def _is_buffer(body: object) -> bool:
    try:
        memoryview(body)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _lower(name: str | bytes) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else name).lower()
