"""How a program ends that has pools open: by its end, by os._exit, by a signal, in a daemon thread."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from socket_peer import PATIENCE, Peer

BEGINNING = """
import os, signal, socket, sys, threading, time
from holdfast import Heartbeat, Policy, SocketPool

address = ("127.0.0.1", int(sys.argv[1]))
beat = Heartbeat(send=b"PING", expect=b"PONG", interval=0.01, timeout=0.01)
pool = SocketPool(address, policy=Policy(heartbeat=beat), min_idle=2)
lease = pool.acquire()
with pool.acquire():
    pass
while pool.stats().heartbeats < 2:
    time.sleep(0.001)
"""

ENDS = {
    "by its end": "",
    "by an exception": "raise SystemExit(0)",
    "by os._exit": "os._exit(0)",
    "with pools in use by daemon threads": """
def work():
    while True:
        with pool.acquire() as lease:
            lease.sock.sendall(b"x")
            lease.sock.recv(1)

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
""",
    "with a pool used at exit": """
import atexit

def at_the_end():
    with pool.acquire() as lease:
        lease.sock.sendall(b"x")
        assert lease.sock.recv(1) == b"x"

atexit.register(at_the_end)
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_in_silence(end: str) -> None:
    with Peer() as peer:
        code = textwrap.dedent(BEGINNING) + ENDS[end]
        done = subprocess.run(
            [sys.executable, "-c", code, str(peer.address[1])],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_ends_by_exit_leaves_the_parents_connections_alone() -> None:
    with Peer() as peer:
        code = textwrap.dedent(BEGINNING) + textwrap.dedent("""
            for leave in (os._exit, sys.exit):
                child = os.fork()
                if child == 0:
                    leave(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            lease.sock.sendall(b"mine")
            assert lease.sock.recv(4) == b"mine"
            lease.release()
            while pool.stats().heartbeats < 20:
                time.sleep(0.001)
            assert not pool.stats().closed, pool.stats()
            pool.close()
            """)
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                code.replace("timeout=0.01", "timeout=0.01, misses=500"),
                str(peer.address[1]),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_while_waiting_leaves_the_pool_sound() -> None:
    with Peer() as peer:
        code = textwrap.dedent(BEGINNING) + textwrap.dedent("""
            signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if in a shell's background
            small = SocketPool(address, maxsize=1)
            held = small.acquire()
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                small.acquire(timeout=10)
            except KeyboardInterrupt:
                assert small.stats().waiting == 0
                held.release()
                with small.acquire(timeout=1) as again:
                    assert again.reused
                small.close()
                lease.release()
                pool.close()
            """)
        done = subprocess.run(
            [sys.executable, "-c", code, str(peer.address[1])],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
