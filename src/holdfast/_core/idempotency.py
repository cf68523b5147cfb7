"""Is it safe to execute this request twice, and can it be sent a second time at all?

RFC 9110 §9.2.2: GET, HEAD, OPTIONS, TRACE, PUT and DELETE are idempotent. A request that carries
an ``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header; ``X-Idempotency-Key`` is the
older spelling) is made so by its server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "IDEMPOTENCY_HEADERS",
    "IDEMPOTENT_METHODS",
    "has_idempotency_key",
    "is_idempotent",
    "is_replayable",
]

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
IDEMPOTENCY_HEADERS = frozenset({"idempotency-key", "x-idempotency-key"})
"""In small letters."""
LONGEST_KEY = 255


def is_idempotent(method: str, headers: Mapping[Any, Any] | None) -> bool:
    """Methods are case-sensitive (RFC 9110 §9.1), but http.client users send them in any case.
    ``headers``: None if it is known that none of :data:`IDEMPOTENCY_HEADERS` is among them."""
    return method.upper() in IDEMPOTENT_METHODS or (headers is not None and has_idempotency_key(headers))


def has_idempotency_key(headers: Mapping[Any, Any]) -> bool:
    """Whether there is one that a server can be expected to keep. Servers refuse an empty one, or take
    it for none; and the longest that any is known to take is 255 characters (Stripe)."""
    return any(
        _text(name).lower() in IDEMPOTENCY_HEADERS and 0 < len(_text(headers[name]).strip()) <= LONGEST_KEY
        for name in headers
    )


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


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
