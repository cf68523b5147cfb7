"""A client that hides nothing: one socket, bytes out, bytes in. And a bare urllib3 that keeps nothing."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import urllib3

from holdfast.testing import FaultServer

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 5.0


def fetch(method: str, url: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
    """Make one request with a bare urllib3, without retries, on a connection of its own."""
    with urllib3.PoolManager(retries=False) as http:
        return http.request(method, url, headers=headers)


class RawClient:
    """One connection to a fault server, plain or TLS."""

    def __init__(self, server: FaultServer, tls: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection(server.address, timeout=PATIENCE)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, text: str) -> None:
        self.sock.sendall(text.replace("\n", "\r\n").encode())

    def ask(self, method: str, target: str, *lines: str, body: str = "") -> None:
        length = [f"Content-Length: {len(body)}"] if body else []
        self.send(
            "\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *length, *lines, "", ""]) + body
        )

    def read_answer(self) -> bytes:
        """Read one answer that has a Content-Length, and not one byte more."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._some(1)
        (length,) = (
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")
        )
        body = b""
        while len(body) < length:
            body += self._some(length - len(body))
        return head + body

    def answer_to(self, method: str, target: str, *lines: str, body: str = "") -> bytes:
        self.ask(method, target, *lines, body=body)
        return self.read_answer()

    def read_to_the_end(self) -> bytes:
        """Read until FIN; a reset raises."""
        everything = b""
        while piece := self.sock.recv(65536):
            everything += piece
        return everything

    def is_readable(self) -> bool:
        """What a pool's look at an idle connection tells: this instant, without waiting."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def _some(self, limit: int) -> bytes:
        piece = self.sock.recv(limit)
        assert piece, "the connection ended inside an answer"
        return piece
