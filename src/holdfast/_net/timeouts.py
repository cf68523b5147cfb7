"""The timeout of a socket, whoever made it."""

from __future__ import annotations

from typing import Any

__all__ = ["timeout_of"]


def timeout_of(sock: Any) -> float | None:
    """Seconds; None blocks. urllib3's own wrapper of a pyOpenSSL connection can set one but does not tell
    it; the socket below does."""
    teller = sock if hasattr(sock, "gettimeout") else sock.socket
    timeout: float | None = teller.gettimeout()
    return timeout
