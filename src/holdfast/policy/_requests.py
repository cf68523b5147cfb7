"""The request that an HTTP heartbeat sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import PolicyError

__all__ = ["HttpRequest"]

SAFE = ("GET", "HEAD", "OPTIONS")
"""RFC 9110 §9.2.1, but for TRACE, which servers refuse for good reasons."""
_TARGET = re.compile(r"/[!-~]*")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A token, RFC 9110 §5.6.2."""
_VALUE = re.compile(r"[ -~\t\x80-\xff]*")
_OURS = frozenset({"connection", "content-length", "expect", "te", "transfer-encoding", "upgrade"})
"""They say how the message is framed, and what becomes of the connection."""


@dataclass(frozen=True)
class HttpRequest:
    """See :meth:`holdfast.Heartbeat.http`, which makes it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Not shown: there may be a secret among them."""

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str] | None) -> HttpRequest:
        """Checked. Raises :class:`~holdfast.PolicyError`."""
        if method not in SAFE:
            raise PolicyError("method", method, f"must be one of {', '.join(SAFE)}: nothing else is safe")
        if not _is_target(target, method):
            rule = 'must be a path that begins with "/", of visible ASCII characters (or "*" for OPTIONS)'
            raise PolicyError("target", target, rule)
        return cls(method, target, _checked({} if headers is None else headers))


def _is_target(target: Any, method: str) -> bool:
    if not isinstance(target, str):
        return False
    # RFC 9110 §9.3.7: what the server as a whole can do.
    return bool(_TARGET.fullmatch(target)) or (target == "*" and method == "OPTIONS")


def _checked(headers: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(headers, Mapping):
        raise PolicyError("headers", headers, "must be a mapping of str to str, or None")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PolicyError("headers", name, "a name must be a str, and a token of HTTP")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            # Not the value: it may be a secret.
            raise PolicyError("headers", name, "its value must be a str in ISO-8859-1, of one line")
        if name.lower() in _OURS:
            raise PolicyError(
                "headers", name, "must not be given: how the connection goes on is not its to say"
            )
    return tuple(headers.items())
