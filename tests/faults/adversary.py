"""The server process: every path on a port of its own, every connection with a thread of its own.

What it does to a connection stands in the target of a request:

    /warm/FIN_CROSSES/17    an answer that tells T, then that adversary's script; the trial is 17
    /cut/length-rst/17      executed; an answer that breaks off
    /slow/0.05/17           executed and answered, so many seconds later
    /limit/1.5/rst/17       executed and answered; if nothing comes for 1.5 s: FIN, or with rst RST
    /hint/1/17              executed and answered, with Keep-Alive: timeout=1
    /early/17               answered as soon as the head was read, as a 401 or 413 would be
    anything/17             executed and answered
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

from behaviours import CUTS, SCRIPTS, answer
from cases import SERVER, Adversary, Path, Sky, port
from child import answer as tell
from child import configuration
from namespaces import enter
from peer import Gone, Ledger, Peer, Request

_BACKLOG = 1024
_GRACE = 0.02
"""Seconds that a client has to get ready for T, besides the way of the answer."""


class Server:
    def __init__(self, pem: str, delay: float) -> None:
        self.ledger = Ledger()
        self._delay = delay
        self._tls = {path: _context(pem, path) for path in Path if path.tls}
        self._peers: dict[int, set[Peer]] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._restarts: dict[int, threading.Timer] = {}
        for path in Path:
            for sky in Sky:
                self.open(port(path, sky), path)

    # -- doors

    def open(self, number: int, path: Path) -> None:
        listener = socket.create_server((SERVER, number), backlog=_BACKLOG)
        self._listeners[number] = listener
        self._peers[number] = set()
        threading.Thread(target=self._accept, args=(listener, number, path), daemon=True).start()

    def down(self, number: int, seconds: float) -> None:
        """Refuses connections for a while, as a server that is restarted."""
        if number in self._restarts:
            self._restarts.pop(number).cancel()
        listener = self._listeners[number]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # close() alone would not wake accept()
        listener.close()
        for peer in list(self._peers[number]):
            peer.shut()
        path = list(Path)[(number - 8000) // 10]
        self._restarts[number] = again = threading.Timer(seconds, self.open, (number, path))
        again.daemon = True
        again.start()

    def _accept(self, listener: socket.socket, number: int, path: Path) -> None:
        while True:
            try:
                sock, (_, client_port) = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock, client_port, number, path), daemon=True).start()

    def _run(self, sock: socket.socket, client_port: int, number: int, path: Path) -> None:
        silent = path in (Path.TLS_1_2_SILENT, Path.TLS_1_3_SILENT)
        peer = Peer(sock, client_port, self.ledger, close_notify=not silent)
        peers = self._peers[number]
        peers.add(peer)
        try:
            self._converse(peer, path)
        except (OSError, Gone):
            peer.fin()
        finally:
            peers.discard(peer)

    # -- conversation

    def _converse(self, peer: Peer, path: Path) -> None:
        if path is Path.CONNECT:
            peer.read_head()
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if path.tls:
            peer.start_tls(self._tls[path])
        while self._serve(peer):
            pass

    def _serve(self, peer: Peer) -> bool:
        """One request; False if the connection is over after it."""
        request, length = peer.read_head()
        kind, *details = request.words
        if kind == "early":
            answer(peer, request)
        peer.read_body(length)
        if kind == "warm":
            self._provoke(peer, request)
            return False
        self.ledger.execute(request, peer.client_port)
        if kind == "cut":
            CUTS[details[0]](peer)
            return False
        if kind == "limit":
            return self._keep(peer, request, float(details[0]), details[1])
        if kind == "slow":
            time.sleep(float(details[0]))
        if kind != "early":
            answer(peer, request, f"Keep-Alive: timeout={details[0]}" if kind == "hint" else "")
        return True

    def _keep(self, peer: Peer, request: Request, limit: float, how: str) -> bool:
        """As servers with a keep-alive limit do."""
        answer(peer, request)
        if not peer.quiet_until(time.monotonic() + limit):
            return True
        {"fin": peer.fin, "rst": peer.rst}[how]()
        return False

    def _provoke(self, peer: Peer, request: Request) -> None:
        moment = time.monotonic() + 3 * self._delay + _GRACE
        answer(peer, request, f"X-T: {moment!r}")
        SCRIPTS[Adversary[request.words[1]]](peer, request.number, moment)


def _context(pem: str, path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    version = ssl.TLSVersion.TLSv1_3
    if path in (Path.TLS_1_2, Path.TLS_1_2_SILENT):
        version = ssl.TLSVersion.TLSv1_2
    context.minimum_version = context.maximum_version = version
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # OpenSSL takes keys from files only
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def main() -> None:
    config = configuration()
    enter(config["namespace"])
    sys.setswitchinterval(0.0005)
    server = Server(config["pem"], config["delay"])
    tell("ready")
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if order["order"] == "down":
            server.down(order["port"], order["seconds"])
            tell("down")
        else:
            tell({"executed": server.ledger.executed, "acts": server.ledger.acts})


if __name__ == "__main__":
    main()
