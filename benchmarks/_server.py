"""The peer of all contestants, a process of its own.

It is cheap, so that most of the time measured is the client's, and answers with a head as services
send them. The body says how many requests this connection has carried, which is how a contestant
proves that it kept its connection.

    python _server.py [CERTIFICATE.pem]

prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import time
from email.utils import formatdate

__all__: list[str] = []

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIELDS = (
    b"Server: benchmark\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"Vary: Accept-Encoding\r\n"
    b"X-Request-Id: 7b0c3f3e-6a7e-4d43-9f5b-0d7d0c9b5a11\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Strict-Transport-Security: max-age=31536000\r\n"
)
_LENGTH_KNOWN = b"Content-Length: 22\r\n"
_ANSWERS = {
    b"/": _FIELDS + _LENGTH_KNOWN + b"\r\n",
    b"/told": _FIELDS + _LENGTH_KNOWN + b"Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n\r\n",
    b"/short": _LENGTH_KNOWN + b"\r\n",
    b"/folded": _FIELDS + _LENGTH_KNOWN + b"X-Folded: one,\r\n two\r\n\r\n",
    b"/chunked": _FIELDS + b"Transfer-Encoding: chunked\r\n\r\n16\r\n",
}
"""By path: what stands between the date and the body."""
_ENDS = {b"/chunked": b"\r\n0\r\n\r\n"}
_BODY = b'{"answered": %8d}'


class _Opening:
    """Status line and date, made anew each second, as servers do."""

    def __init__(self) -> None:
        self._second = -1
        self._bytes = b""

    def get(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._bytes = b"HTTP/1.1 200 OK\r\nDate: %s\r\n" % formatdate(second, usegmt=True).encode()
            self._second = second
        return self._bytes


def _converse(conn: socket.socket) -> None:
    opening, answered, received = _Opening(), 0, b""
    while True:
        while b"\r\n\r\n" not in received:
            piece = conn.recv(65_536)
            if not piece:
                return
            received += piece
        head, _, received = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        missing = int(length[1]) - len(received) if length else 0
        while missing > 0:
            piece = conn.recv(65_536)
            if not piece:
                return
            missing -= len(piece)
        # Nobody here pipelines: what came with a request is its body.
        received = b""
        answered += 1
        path = head.split(b" ", 2)[1]
        conn.sendall(opening.get() + _ANSWERS[path] + _BODY % answered + _ENDS.get(path, b""))


def _receive(conn: socket.socket, tls: ssl.SSLContext | None) -> None:
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with tls.wrap_socket(conn, server_side=True) if tls else conn as talking:
            _converse(talking)
    except ConnectionError:
        # A contestant's process ended; whether it ought to have is asked where it was started.
        pass


def _accept(door: socket.socket, tls: ssl.SSLContext | None) -> None:
    while True:
        conn, _ = door.accept()
        threading.Thread(target=_receive, args=(conn, tls), daemon=True).start()


def _tls(certificate: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


def _main(arguments: list[str]) -> None:
    tls = _tls(arguments[0]) if arguments else None
    door = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_accept, args=(door, tls), daemon=True).start()
    print(door.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1:])
