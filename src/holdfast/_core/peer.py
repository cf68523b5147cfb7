"""What the peer said about how long it keeps a connection.

RFC 9112 §9.3 (persistence) and §9.6 (``close``); ``Keep-Alive: timeout=, max=`` as in RFC 2068
§19.7.1.1, which Tomcat, httpd, Node and nginx still send. A hint is only ever a reason to reuse
less, so a malformed one is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

__all__ = ["HTTP_1_1", "SILENT", "PeerTerms", "has_option", "read_terms"]

HTTP_1_1 = 11
NONSENSE_DIGITS = 10


@dataclass(frozen=True)
class PeerTerms:
    """The terms of the latest response."""

    persistent: bool
    idle_timeout: float | None = None
    """Seconds the peer keeps the connection idle. 0 is real: Tomcat, httpd and Node cut
    milliseconds off, so 500 ms reads ``timeout=0``. It means: do not reuse."""
    remaining: int | None = None
    """Further requests the peer will take."""


SILENT = PeerTerms(persistent=True)
"""HTTP/1.1 without a word: persistent, for an unknown time."""


# The same few header values come with every response of an origin.
@lru_cache(maxsize=512)
def read_terms(version: int, connection: str | None, keep_alive: str | None) -> PeerTerms:
    """``version`` as http.client has it (10 or 11); header values with repeats joined by commas."""
    timeout, remaining = _read_keep_alive(keep_alive) if keep_alive else (None, None)
    return PeerTerms(
        persistent=_is_persistent(version, connection),
        idle_timeout=timeout,
        remaining=remaining,
    )


@lru_cache(maxsize=512)
def has_option(connection: str | None, option: str) -> bool:
    """Whether a ``Connection`` header value lists ``option`` (RFC 9110 §7.6.1)."""
    if not connection:
        return False
    return option in (token.strip().lower() for token in connection.split(","))


def _is_persistent(version: int, connection: str | None) -> bool:
    if has_option(connection, "close"):
        return False
    return version >= HTTP_1_1 or has_option(connection, "keep-alive")


def _read_keep_alive(value: str) -> tuple[float | None, int | None]:
    found: dict[str, int] = {}
    for parameter in value.split(","):
        name, _, number = parameter.partition("=")
        name, number = name.strip().lower(), number.strip().strip('"')
        if number.isascii() and number.isdigit() and len(number) < NONSENSE_DIGITS:
            found[name] = min(int(number), found.get(name, int(number)))
    return found.get("timeout"), found.get("max")
