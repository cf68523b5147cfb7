"""Network namespaces and TUN devices, by system call: nothing to install, nothing left behind.

A namespace here has no name. It lives as long as somebody holds a descriptor of it, runs in it, or
has a socket in it; so whatever kills a test, the kernel clears up.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

__all__ = ["enter", "inside", "new_namespace", "new_tun", "why_not"]

T = TypeVar("T")

_TUN = "/dev/net/tun"
_NET = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000  # sched.h
_TUNSETIFF = 0x400454CA  # if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFTXQLEN = 0x8914, 0x8916, 0x891C, 0x8943
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_QUEUE = 5000
"""Packets. The default of 500 drops where 64 connections start at the same time."""


def why_not() -> str | None:
    """Why there can be no wire on this machine; None if there can."""
    if sys.platform != "linux":
        return "a wire needs Linux (network namespaces, TUN)"
    if os.geteuid() != 0:
        return "a wire needs root (network namespaces, TUN)"
    if not Path(_TUN).exists():
        return f"a wire needs {_TUN}, which is not there"
    try:
        namespace = new_namespace()
        try:
            os.close(new_tun(namespace, "probe0", "10.77.0.1"))
        finally:
            os.close(namespace)
    except OSError as error:
        return f"a wire needs network namespaces and TUN, and here: {error}"
    return None


def new_namespace() -> int:
    """A descriptor of a network namespace in which nothing is."""
    return _in_its_own_thread(_unshare)


def new_tun(namespace: int, name: str, address: str) -> int:
    """A descriptor that reads what is sent out of the namespace and writes what comes in. The device
    is up, its address has a /24; it goes when the last copy of the descriptor is closed."""

    def make() -> int:
        enter(namespace)
        device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        _set_up("lo")
        _set_up(name, address)
        return device

    return _in_its_own_thread(make)


def enter(namespace: int) -> None:
    """This thread's next sockets are made there, and so are those of the threads it starts."""
    _check(_libc().setns(namespace, _CLONE_NEWNET))


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """As ``enter``, and back again. A socket stays where it was made."""
    before = os.open(_NET, os.O_RDONLY)
    try:
        enter(namespace)
        yield
        enter(before)
    finally:
        os.close(before)


def _in_its_own_thread(make: Callable[[], T]) -> T:
    # Which namespace one is in is a matter of the thread: one that ends need not find its way back.
    with ThreadPoolExecutor(1) as once:
        return once.submit(make).result()


def _unshare() -> int:
    _check(_libc().unshare(_CLONE_NEWNET))
    return os.open(_NET, os.O_RDONLY)


def _set_up(name: str, address: str | None = None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if address is not None:
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0")):
                sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), sockaddr))
            fcntl.ioctl(control, _SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), _QUEUE))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), _IFF_UP | _IFF_RUNNING))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
