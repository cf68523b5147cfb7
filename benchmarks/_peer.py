"""The other end of many connections, a process of its own: it sends back what comes.

    python _peer.py

prints its port, and then, for each line "N" that it reads, hangs up on N connections, the oldest
first, and prints when it began and ended that (by the clock that all processes share).
"""

from __future__ import annotations

import resource
import select
import socket
import sys
import time

__all__: list[str] = []


class Peer:
    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._poll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self._poll.register(self._listener, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)

    def run(self) -> None:
        print(self._listener.getsockname()[1], flush=True)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor != sys.stdin.fileno():
                    self._answer(descriptor)
                elif line := sys.stdin.readline():
                    self._hang_up(int(line))
                else:
                    return

    def _accept(self) -> None:
        conn, _ = self._listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[conn.fileno()] = conn
        self._poll.register(conn, select.EPOLLIN)

    def _answer(self, descriptor: int) -> None:
        conn = self._connections.get(descriptor)
        if conn is None:
            return
        try:
            data = conn.recv(65_536)
            conn.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._close(descriptor)

    def _hang_up(self, count: int) -> None:
        began = time.monotonic()
        for descriptor in list(self._connections)[:count]:
            self._close(descriptor)
        print(began, time.monotonic(), flush=True)

    def _close(self, descriptor: int) -> None:
        self._connections.pop(descriptor).close()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Peer().run()
