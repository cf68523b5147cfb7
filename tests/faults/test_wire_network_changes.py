"""What the kernel tells of its network, in a namespace where nobody else changes anything."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from firewall import why_no_firewall
from namespaces import inside, new_namespace
from on_the_wire import demand

from holdfast._net.network_changes import Ears, prick_up

pytestmark = pytest.mark.wire

PATIENCE = 20.0
SOON = 0.05
"""Seconds. What the kernel does at once it also tells at once."""
_SIOCGIFFLAGS = 0x8913
_IFF_RUNNING = 0x40


@pytest.fixture(scope="module")
def _possible() -> None:
    demand(why_no_firewall())


@pytest.fixture
def ears(_possible: None) -> Iterator[Ears]:
    """On a host with a cable, two addresses of each kind and a default route."""
    namespace = new_namespace()
    try:
        with inside(namespace):
            ip("link set lo up")
            ip("link add name near type veth peer name far")
            for end in ("near", "far"):
                ip(f"link set {end} up")
            wait_for(is_running)
            for address in ("10.1.0.1/24", "10.1.0.7/24", "fd00::1/64", "fd00::7/64"):
                ip(f"address add {address} dev near" + " nodad" * (":" in address))
            ip("route add default via 10.1.0.2")
            ip("route add default via fd00::2 dev near")
            ears = prick_up()
            assert ears is not None
            try:
                yield ears
            finally:
                ears.close()
    finally:
        os.close(namespace)


def ip(command: str) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    subprocess.run(["ip", *command.split()], check=True, capture_output=True, env={"PATH": path})


def is_running() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        told = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh22x", b"near", 0))
    return bool(struct.unpack_from("16xH", told)[0] & _IFF_RUNNING)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def hears(ears: Ears, within: float = PATIENCE) -> bool:
    """Whether there is news that matters."""
    poll = select.poll()
    poll.register(ears.fileno(), select.POLLIN)
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0:
        if poll.poll(left * 1000) and ears.heard():
            return True
    return False


@pytest.mark.parametrize(
    "change",
    [
        "address del 10.1.0.7/24 dev near",
        "address del fd00::7/64 dev near",
        "route replace default via 10.1.0.3",
        "route change default via 10.1.0.3",
        "route del default",
        "-6 route replace default via fd00::3 dev near",
        "-6 route del default",
        "route add default via 10.1.0.4 metric 5",
        "route add 128.0.0.0/1 via 10.1.0.4",
        "link set near down",
        "link set far down",
        "link del near",
    ],
)
def test_what_takes_connections_their_way(ears: Ears, change: str) -> None:
    ip(change)
    assert hears(ears)


@pytest.mark.parametrize(
    "change",
    [
        "address add 10.1.0.9/24 dev near",
        "address add fd00::9/64 dev near nodad",
        "neighbour add 10.1.0.3 lladdr 02:00:00:00:00:01 dev near",
        "route add 10.9.0.0/16 via 10.1.0.2",
        "link set near mtu 1400",
        "link add name another type veth peer name one",
    ],
)
def test_what_takes_them_nothing(ears: Ears, change: str) -> None:
    ip(change)
    assert not hears(ears, SOON)
    # And it was not deaf.
    ip("address del 10.1.0.7/24 dev near")
    assert hears(ears)


def test_a_route_to_somewhere_is_nobodys_loss(ears: Ears) -> None:
    ip("route add 10.9.0.0/16 via 10.1.0.2")
    ip("route del 10.9.0.0/16")
    assert not hears(ears, SOON)


def test_it_is_told_once(ears: Ears) -> None:
    ip("route del default")
    assert hears(ears)
    assert not ears.heard()


def test_a_link_that_comes_up_and_goes_down_again(ears: Ears) -> None:
    near = socket.if_nametoindex("near")
    for _ in range(2):
        ip("link set far down")
        assert hears(ears)
        ip("link set far up")

        def is_known_to_run() -> bool:
            ears.heard()  # what else came of it may still be told
            return near in ears._running

        wait_for(is_known_to_run)


def test_too_much_to_keep_may_have_been_anything(ears: Ears) -> None:
    ears._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(20, 60):
        ip(f"address add 10.1.0.{number}/24 dev near")
    assert ears.heard()
    assert not ears.heard()


def test_closed_ears_hear_nothing(ears: Ears) -> None:
    ears.close()
    assert not ears.heard()
