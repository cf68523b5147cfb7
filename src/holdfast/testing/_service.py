"""How a server behaves where no fault intervenes: what it answers, and whether the connection stays."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from holdfast.testing._http import Headers, Request, Response
from holdfast.testing.faults import FaultServerError, Via

__all__ = ["Service", "named_answer"]


def named_answer(request: Request) -> Response:
    """Answer with the request's own name, so that a client can tell its answer from another's."""
    return Response(body=f"{request.method} {request.target}".encode("latin-1"))


@dataclass(frozen=True, kw_only=True)
class Service:
    """The settings of a server that have nothing to do with faults."""

    ssl_context: ssl.SSLContext | None = None
    via: Via = Via.DIRECT
    headers: Mapping[str, str] = field(default_factory=dict)
    respond: Callable[[Request], Response] = named_answer
    keep_alive_only_if_asked: bool = False
    close_notify: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.via, Via):
            raise TypeError(f"via must be a member of Via, not {self.via!r}")
        context = self.ssl_context
        if context is not None and context.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "ssl_context must be a server's: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) and a certificate"
            )

    def answer(self, request: Request, *, closing: bool = False) -> tuple[Response, bool]:
        """Return the answer, and whether it is the last one of its connection."""
        own = self._respond(request)
        closing = closing or not request.wants_to_stay or _says_close(own.headers)
        fields = {**_without(self.headers, own.headers), **own.headers}
        if closing:
            fields = {**_without(fields, {"Connection", "Keep-Alive"}), "Connection": "close"}
        elif request.asks_for_keep_alive:
            fields = {"Connection": "keep-alive", **_without(fields, {"Connection"})}
        elif self.keep_alive_only_if_asked:
            fields = _without(fields, {"Keep-Alive"})
        return Response(own.status, fields, own.body), closing

    def _respond(self, request: Request) -> Response:
        try:
            return self.respond(request)
        # Also an OSError: the caller would take it for a client that left.
        except Exception as error:
            raise FaultServerError(
                f"respond() failed for {request.method} {request.target}: {error!r}"
            ) from error


def _says_close(fields: Mapping[str, str]) -> bool:
    return Headers(fields.items()).has_token("Connection", "close")


def _without(fields: Mapping[str, str], names: Mapping[str, str] | set[str]) -> dict[str, str]:
    unwanted = {name.lower() for name in names}
    return {name: value for name, value in fields.items() if name.lower() not in unwanted}
