"""The server as a proxy: forwarding, and opening tunnels to itself."""

from __future__ import annotations

import ssl

import pytest
import urllib3
from raw_client import RawClient

from holdfast.testing import Fault, Via, on_fresh, on_reuse
from holdfast.testing.fixtures import StartFaultServer


def test_a_forward_proxy_reduces_the_absolute_form_to_the_path(fault_server: StartFaultServer) -> None:
    server = fault_server(via=Via.FORWARD)
    with urllib3.ProxyManager(server.proxy_url) as proxy:
        assert proxy.request("GET", f"{server.url}/r?a=b").data == b"GET /r?a=b"
        assert proxy.request("GET", "http://elsewhere.invalid").data == b"GET /"
    assert [entry.identity for entry in server.ledger] == [("GET", "/r?a=b"), ("GET", "/")]
    assert (server.connections, server.tunnels) == (1, 0)


def test_a_forward_proxy_with_tls_is_an_https_proxy(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(via=Via.FORWARD, ssl_context=server_tls)
    assert (server.proxy_url[:8], server.url[:7]) == ("https://", "http://")
    with urllib3.ProxyManager(server.proxy_url, proxy_ssl_context=client_tls) as proxy:
        assert proxy.request("GET", f"{server.url}/r").data == b"GET /r"


def test_a_tunnel_leads_to_the_server_itself(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(via=Via.CONNECT, ssl_context=server_tls)
    with urllib3.ProxyManager(server.proxy_url, ssl_context=client_tls) as proxy:
        assert proxy.request("GET", f"{server.url}/1").data == b"GET /1"
        assert proxy.request("GET", f"{server.url}/2").data == b"GET /2"
    assert (server.tunnels, server.connections, len(server.ledger)) == (1, 1, 2)


def test_a_tunnel_proxy_serves_nothing_outside_a_tunnel(fault_server: StartFaultServer) -> None:
    server = fault_server(via=Via.CONNECT)
    with RawClient(server) as client:
        client.ask("GET", "/r")
        assert client.read_to_the_end().startswith(b"HTTP/1.1 405 ")
    assert (len(server.ledger), server.tunnels) == (0, 0)


def test_a_plan_counts_requests_and_not_the_connect(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = fault_server(on_reuse(Fault.READ_THEN_RESET), via=Via.CONNECT, ssl_context=server_tls)
    with urllib3.ProxyManager(server.proxy_url, ssl_context=client_tls) as proxy:
        proxy.request("GET", f"{server.url}/1")
        with pytest.raises(urllib3.exceptions.HTTPError):
            proxy.request("GET", f"{server.url}/2", retries=False)
    assert (server.tunnels, len(server.ledger)) == (1, 2)


@pytest.mark.parametrize("via", [Via.FORWARD, Via.CONNECT])
def test_bare_urllib3_executes_one_post_four_times_through_a_proxy(
    fault_server: StartFaultServer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, via: Via
) -> None:
    plans = [on_fresh(Fault.READ_THEN_RESET)] * 4
    server = fault_server(*plans, via=via, ssl_context=server_tls if via is Via.CONNECT else None)
    proxy = urllib3.ProxyManager(server.proxy_url, ssl_context=client_tls)
    with proxy, pytest.raises(urllib3.exceptions.MaxRetryError):
        proxy.request("POST", f"{server.url}/order", body=b"one")
    assert server.ledger.count("POST", "/order") == 4
    assert server.ledger.executed_twice() == [("POST", "/order")]


def test_a_server_that_is_no_proxy_has_no_proxy_url(fault_server: StartFaultServer) -> None:
    with pytest.raises(ValueError, match="via="):
        _ = fault_server().proxy_url
