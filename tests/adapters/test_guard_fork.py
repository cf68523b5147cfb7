"""A server that forks, with a guard."""

from __future__ import annotations

import os
import socket

import pytest

from holdfast.adapters.sockets import Guard

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def test_a_child_can_serve_a_client_though_somebody_held_all_locks_at_the_fork() -> None:
    guard = Guard()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sock:
            client = guard.accept(listener.accept()[0])
            with guard._lock, client._send_lock:
                child = os.fork()
                if child == 0:
                    sent = client.sendall(b"from the child")
                    os._exit(0 if sent and guard.stats().clients == 0 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert sock.recv(100) == b"from the child"
            assert guard.stats().clients == 1
            assert client.sendall(b"from the parent")
            assert sock.recv(100) == b"from the parent"
            client.close()
    guard.close()
