"""Pools do not hold each other up, and who waits is not forgotten where there is no watcher."""

from __future__ import annotations

import socket
import threading
import warnings

from socket_peer import PATIENCE, Peer

from holdfast import Heartbeat, Policy, PoolLimits, SocketPool


def test_connects_that_hang_do_not_keep_heartbeat_functions_of_another_pool_from_running() -> None:
    hanging, over = threading.Semaphore(0), threading.Event()
    asked = threading.Semaphore(0)

    def hang(address: object, timeout: float | None) -> socket.socket:
        hanging.release()
        over.wait(PATIENCE)
        raise ConnectionRefusedError

    def ask(sock: socket.socket) -> None:
        asked.release()

    policy = Policy(heartbeat=Heartbeat(call=ask, interval=0.02, timeout=0.02))
    with Peer() as peer, SocketPool(peer.address, policy=policy) as sound:
        with SocketPool(("127.0.0.1", 1), connect=hang, maxsize=8, min_idle=8):
            try:
                for _ in range(4):
                    assert hanging.acquire(timeout=PATIENCE)
                with sound.acquire():
                    pass
                for _ in range(5):
                    assert asked.acquire(timeout=PATIENCE)
            finally:
                over.set()


def test_a_lease_of_a_one_shot_pool_that_is_dropped_serves_one_who_waits() -> None:
    """Nothing is ever idle there, so no watcher runs that would notice."""
    policy = Policy(limits=PoolLimits(max_uses=1))
    with Peer() as peer, SocketPool(peer.address, policy=policy, maxsize=1) as pool:
        lease = pool.acquire()
        served = threading.Event()

        def wait() -> None:
            with pool.acquire(timeout=PATIENCE):
                served.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        while not pool.stats().waiting:
            pass
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del lease
        waiter.join()
        assert served.is_set()
